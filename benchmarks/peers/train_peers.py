"""One training by `adapters` or `peft`, measured: prints one line of JSON. Runs in .venv-peers.

The peers get what a careful user would choose: SDPA attention, fused AdamW, no dropout (polygraft has none in its base
either), polygraft's own batches in a plain loop, or AdapterTrainer with dynamic padding and rows grouped by length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from batches import IGNORE, Padded, Rows, read_batches, read_order, read_rows
from measure import Job, Meter, divide, report, sum_cross_entropy
from safetensors.torch import load_file
from torch import Tensor, nn
from works import Work

NAME = "graft"
LOADING: dict[str, Any] = {
    "attn_implementation": "sdpa",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "torch_dtype": torch.float32,
}
WARMUP = 0.06
"""Share of the steps over which the learning rate rises, as polygraft's default has it."""
DEFAULT_ROWS = 8
"""Sentences of a batch, where a user of the example script says nothing."""
NAMES: tuple[tuple[str, str], ...] = (
    (r"bottleneck\.layers\.(\d+)\.ffn\.down\.", r"encoder.layer.\1.output.adapters.graft.adapter_down.0."),
    (r"bottleneck\.layers\.(\d+)\.ffn\.up\.", r"encoder.layer.\1.output.adapters.graft.adapter_up."),
    (r"invertible\.([FG])\.down\.", r"invertible_adapters.graft.\1.0."),
    (r"invertible\.([FG])\.up\.", r"invertible_adapters.graft.\1.2."),
)
"""polygraft's names of a graft's tensors, and the ends of `adapters`' names for the same."""
HEAD_NAMES = {"dense.": "0.", "norm.": "2.", "bias": "3.bias"}


def fill(parameters: dict[str, nn.Parameter], end: str, value: Tensor) -> None:
    """Set the one parameter whose name ends so."""
    found = [name for name in parameters if name.endswith(end)]
    if len(found) != 1:
        raise SystemExit(f"{len(found)} parameters end with '{end}' where 1 was expected: {found}.")
    parameters[found[0]].data.copy_(value)


def make_adapters_model(job: Job, meter: Meter) -> nn.Module:
    """Load the base with an adapter and a head of polygraft's first values; all else is frozen."""
    from adapters import AutoAdapterModel, SeqBnConfig, SeqBnInvConfig

    work = job.work
    model = AutoAdapterModel.from_pretrained(str(job.base), **LOADING)
    meter.note_base(model)
    # With an inverse in the masked-LM head, as the flexible heads have it and BertForMaskedLM has not.
    make_config = SeqBnInvConfig if work.kind == "mlm" else SeqBnConfig
    leave_out = [] if job.side == "adapters-all-layers" else list(work.skip_layers)
    model.add_adapter(NAME, config=make_config(reduction_factor=work.reduction, leave_out=leave_out))
    start = load_file(job.folder / "start.safetensors")
    if work.kind == "mlm":
        # Converted from BertForMaskedLM, without its bias.
        head_values = load_file(job.base / "head.safetensors")
        head = model.heads["default"]
    else:
        # The masked-LM head of the base's file has no part in this.
        model.delete_head("default")
        model.add_tagging_head(NAME, num_labels=len(start["head.out.bias"]))
        head_values = {}
        head = model.heads[NAME]
    model.train_adapter(NAME)
    parameters = dict(model.named_parameters())
    for name, value in start.items():
        for pattern, other in NAMES:
            if re.match(pattern, name):
                fill(parameters, re.sub(pattern, other, name), value)
    head_parameters = dict(head.named_parameters())
    for name, value in head_values.items():
        own, other = next(pair for pair in HEAD_NAMES.items() if name.startswith(pair[0]))
        fill(head_parameters, f"{other}{name.removeprefix(own)}", value)
    if work.kind == "mlm":
        head.requires_grad_(False)
    else:
        fill(head_parameters, "1.weight", start["head.out.weight"])
        fill(head_parameters, "1.bias", start["head.out.bias"])
    return model


def make_peft_model(job: Job, meter: Meter) -> nn.Module:
    """Load the base with LoRA on query and value, of a rank that has about as many values as polygraft's graft."""
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForMaskedLM, AutoModelForTokenClassification

    work, facts = job.work, job.read_facts()
    start = load_file(job.folder / "start.safetensors")
    if work.kind == "mlm":
        model = AutoModelForMaskedLM.from_pretrained(str(job.base), **LOADING)
        head = {
            "dense.": "dense.",
            "norm.": "yer_norm." if work.base == "xlmr" else "LayerNorm.",
            "bias": "bias",
        }
        parameters = {
            name: value for name, value in model.named_parameters() if name.startswith(("cls.", "lm_head."))
        }
        for name, value in load_file(job.base / "head.safetensors").items():
            own, other = next(pair for pair in head.items() if name.startswith(pair[0]))
            if name == "bias":
                model.get_output_embeddings().bias.data.copy_(value)
            else:
                fill(parameters, f"{other}{name.removeprefix(own)}", value)
    else:
        num_labels = len(start["head.out.bias"])
        model = AutoModelForTokenClassification.from_pretrained(
            str(job.base), num_labels=num_labels, **LOADING
        )
        model.classifier.weight.data.copy_(start["head.out.weight"])
        model.classifier.bias.data.copy_(start["head.out.bias"])
    meter.note_base(model)
    layers = [layer for layer in range(model.config.num_hidden_layers) if layer not in work.skip_layers]
    config = LoraConfig(
        r=facts["lora_rank"],
        target_modules=["query", "value"],
        layers_to_transform=layers,
        lora_dropout=0.0,
        task_type=None if work.kind == "mlm" else TaskType.TOKEN_CLS,
    )
    return get_peft_model(model, config)


def group_parameters(model: nn.Module, work: Work) -> list[dict[str, Any]]:
    """Split what is trained into the adapter and the head, whose learning rate is a multiple."""
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    is_head = re.compile(r"\bheads\.|classifier")
    groups = [
        ([value for name, value in trained if not is_head.search(name)], work.lr),
        ([value for name, value in trained if is_head.search(name)], work.lr * work.head_lr_factor),
    ]
    return [{"params": values, "lr": lr} for values, lr in groups if values]


def make_optimiser(
    model: nn.Module, work: Work, *, total: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """Make AdamW and polygraft's own schedule: a linear rise, then a linear fall."""
    optimiser = torch.optim.AdamW(group_parameters(model, work), weight_decay=0.0, fused=True)
    rise = round(WARMUP * total)

    def factor(step: int) -> float:
        return (step + 1) / rise if step < rise else max(0.0, (total - step) / (total - rise))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def train_in_loop(model: nn.Module, job: Job, meter: Meter) -> None:
    """Train on polygraft's batches, with nothing around it."""
    batches = list(read_batches(job.folder / "train.npz"))
    trained = [value for value in model.parameters() if value.requires_grad]
    optimiser, schedule = make_optimiser(model, job.work, total=len(batches))
    model.train()
    meter.start()
    for batch in batches:
        loss = model(**batch._asdict()).loss
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        meter.step(tokens=batch.num_tokens, loss=float(loss.detach()))


class RowList(torch.utils.data.Dataset):
    """Rows one by one, as a Trainer wants them."""

    def __init__(self, rows: Rows, order: Iterable[int]) -> None:
        self.rows = rows
        self.order = list(order)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.order)

    def __getitem__(self, place: int) -> dict[str, list[int]]:
        """Give a row without padding."""
        span = slice(self.rows.starts[self.order[place]], self.rows.starts[self.order[place] + 1])
        return {"input_ids": self.rows.ids[span].tolist(), "labels": self.rows.labels[span].tolist()}


def collate(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Pad rows to the longest of them."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), width), 1)
    labels = torch.full((len(rows), width), IGNORE)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for place, row in enumerate(rows):
        size = len(row["input_ids"])
        ids[place, :size] = torch.tensor(row["input_ids"])
        labels[place, :size] = torch.tensor(row["labels"])
        mask[place, :size] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def train_with_trainer(model: nn.Module, job: Job, meter: Meter) -> None:
    """Train with AdapterTrainer: as many rows a batch as polygraft's batches have on average."""
    from adapters import AdapterTrainer
    from transformers import TrainerCallback, TrainingArguments

    work, is_default = job.work, job.side == "adapters-defaults"
    order = read_order(job.folder / "train.npz")
    rows = read_rows(job.folder / ("train.npz" if work.kind == "mlm" else "rows.npz"))
    mean = max(1, round(sum(len(batch) for batch in order) / len(order)))
    size = DEFAULT_ROWS if is_default else mean
    steps_an_epoch = -(-rows.num_rows // size)
    total = work.steps or steps_an_epoch * (work.epochs or 1)
    arguments = TrainingArguments(
        output_dir=str(job.folder / "trainer"),
        per_device_train_batch_size=size,
        max_steps=total,
        max_grad_norm=1.0,
        group_by_length=not is_default,
        seed=work.seed,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    sizes: list[int] = []

    def collate_and_count(batch: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        sizes.append(sum(len(row["input_ids"]) for row in batch))
        return collate(batch)

    class Watch(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **options: Any) -> None:
            meter.start()

        def on_step_end(self, *arguments: Any, **options: Any) -> None:
            meter.step(tokens=sizes[len(meter.tokens)])

    AdapterTrainer(
        model=model,
        args=arguments,
        data_collator=collate_and_count,
        train_dataset=RowList(rows, range(rows.num_rows)),
        optimizers=make_optimiser(model, work, total=total),
        callbacks=[Watch()],
    ).train()


def iterate_scores(model: nn.Module, path: Path) -> Iterator[tuple[Padded, Tensor]]:
    """Give each batch with the model's scores [B, T, labels or pieces]."""
    for batch in read_batches(path):
        yield batch, model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits


def evaluate(model: nn.Module, path: Path, *, kind: str) -> dict[str, Any]:
    """Measure the loss on what is held out, and the labels that score best."""
    losses: list[tuple[float, int]] = []
    predicted: list[list[int]] = []
    model.eval()
    with torch.inference_mode():
        for batch, scores in iterate_scores(model, path):
            losses.append(sum_cross_entropy(scores, batch.labels))
            if kind != "mlm":
                is_word = batch.labels >= 0
                predicted += [row[at].tolist() for row, at in zip(scores.argmax(-1), is_word, strict=True)]
    return {"loss": divide(losses), "predicted": predicted}


def main() -> None:
    """Do the job of the command line."""
    job = Job.read()
    kind = job.work.kind
    meter = Meter(warm=job.work.warm)
    model = (make_peft_model if job.side == "peft" else make_adapters_model)(job, meter)
    before = evaluate(model, job.folder / "held_out.npz", kind=kind)
    uses_trainer = job.side in ("adapters-trainer", "adapters-defaults")
    (train_with_trainer if uses_trainer else train_in_loop)(model, job, meter)
    result = meter.stop()
    after = evaluate(model, job.folder / "held_out.npz", kind=kind)
    num_values = sum(value.numel() for value in model.parameters() if value.requires_grad)
    report({**result, "initial_loss": before["loss"], "num_values": num_values, **after})


if __name__ == "__main__":
    main()
