"""What `adapters` and `peft` compute for rows and adapters together, against each alone: prints one line of JSON.

Runs in the peers' environment, on a tiny random BERT; needs nothing of polygraft.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from adapters import BertAdapterModel, PrefixTuningConfig, PromptTuningConfig, SeqBnConfig, SeqBnInvConfig
from adapters.composition import Average, BatchSplit, Parallel, Stack
from peft import IA3Config, LNTuningConfig, PeftConfig, get_peft_model
from transformers import BertConfig, BertModel

CONFIG = BertConfig(
    vocab_size=60,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=48,
    initializer_range=0.3,
)
IDS = torch.randint(5, 60, (2, 6), generator=torch.Generator().manual_seed(1))
FEED_FORWARD = ["output.dense"]


def fill(model: Any, name: str, *, like: str | None = None) -> None:
    """Give an adapter random values, or those of another."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    values = dict(model.named_parameters())
    for key, value in values.items():
        if f".{name}." in key:
            other = None if like is None else values[key.replace(f".{name}.", f".{like}.")]
            value.data.copy_(
                torch.randn(value.shape, generator=generator) * 0.3 if other is None else other.data
            )


def make_model() -> Any:
    """A model with two languages that have invertible adapters, two that have none, two tasks, prefixes and prompts."""
    torch.manual_seed(0)
    model = BertAdapterModel(CONFIG).eval()
    for name in ("en", "qu"):
        model.add_adapter(name, config=SeqBnInvConfig(reduction_factor=2))
        fill(model, name)
    for name in ("l1", "l2", "ner", "pos"):
        model.add_adapter(name, config=SeqBnConfig(reduction_factor=2))
        fill(model, name)
    for name, length in (("short", 2), ("long", 5), ("also_long", 5)):
        model.add_adapter(name, config=PrefixTuningConfig(prefix_length=length, flat=True))
        fill(model, name)
    for name in ("hint", "cue"):
        model.add_adapter(name, config=PromptTuningConfig(prompt_length=3))
        fill(model, name)
    model.add_adapter("ner_too", config=SeqBnConfig(reduction_factor=2))
    fill(model, "ner_too", like="ner")
    return model


@torch.no_grad()
def run(model: Any, active: Any, rows: slice = slice(None)) -> torch.Tensor:
    """The last hidden state of some rows."""
    model.active_adapters, model.active_head = active, None
    return model(input_ids=IDS[rows], attention_mask=torch.ones_like(IDS[rows]))[0]


def split(model: Any, *parts: Any) -> float:
    """The largest difference between rows in a BatchSplit and the same rows alone."""
    routed = run(model, BatchSplit(*parts, batch_sizes=[1, 1]))
    alone = [run(model, part, slice(row, row + 1))[0] for row, part in enumerate(parts)]
    return max(float((one - two).abs().max()) for one, two in zip(routed, alone, strict=True))


def lay_side_by_side(model: Any, *parts: str) -> float:
    """The largest difference between what adapters give in a Parallel and what they give alone."""
    together = run(model, Parallel(*parts)).chunk(len(parts))
    alone = [run(model, part) for part in parts]
    return max(float((one - two).abs().max()) for one, two in zip(together, alone, strict=True))


def load_damaged(model: Any) -> str:
    """Load an adapter that lacks a tensor and has an unknown one; say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_adapter(folder, "ner", with_head=False)
        path = Path(folder) / "pytorch_adapter.bin"
        tensors = torch.load(path, weights_only=True)
        tensors.pop(next(iter(tensors)))
        torch.save({**tensors, "bert.encoder.layer.0.zz": torch.zeros(1)}, path)
        try:
            BertAdapterModel(CONFIG).load_adapter(folder, load_as="damaged")
        except Exception as error:  # noqa: BLE001 (whatever the other library raises)
            return type(error).__name__
    return "loaded"


IA3 = IA3Config(
    target_modules=["key", *FEED_FORWARD], feedforward_modules=FEED_FORWARD, init_ia3_weights=False
)
NORMS = LNTuningConfig(target_modules=["LayerNorm"])


@torch.no_grad()
def name_rows(config: PeftConfig) -> float:
    """The same as `split` for `peft`'s adapter_names."""
    torch.manual_seed(0)
    model: Any = get_peft_model(BertModel(CONFIG).eval(), config, adapter_name="one")
    model.add_adapter("two", config)
    for name in ("one", "two"):
        fill(model, name)
    model.eval()
    mask = torch.ones_like(IDS)
    routed = model(input_ids=IDS, attention_mask=mask, adapter_names=["one", "two"])[0]
    differences: list[float] = []
    for row, name in enumerate(("one", "two")):
        model.set_adapter(name)
        alone = model(input_ids=IDS[row : row + 1], attention_mask=mask[row : row + 1])[0][0]
        differences.append(float((routed[row] - alone).abs().max()))
    return max(differences)


def main() -> None:
    """Print all differences."""
    model = make_model()
    same = run(model, Average("ner", "ner_too")) - run(model, "ner")
    found = {
        "single adapters in a split": split(model, "ner", "pos"),
        "stacks in a split": split(model, Stack("l1", "ner"), Stack("l2", "pos")),
        "invertible adapters in a split": split(model, "en", "qu"),
        "prefixes of one length in a split": split(model, "long", "also_long"),
        "prefixes of two lengths in a split": split(model, "long", "short"),
        "prompts in a split": split(model, "hint", "cue"),
        "single adapters side by side": lay_side_by_side(model, "ner", "pos"),
        "invertible adapters side by side": lay_side_by_side(model, "en", "qu"),
        "prefixes of two lengths side by side": lay_side_by_side(model, "long", "short"),
        "average of two that are the same": float(same.abs().max()),
        "named rows of (IA)3": name_rows(IA3),
        "named rows of LayerNorms": name_rows(NORMS),
        "damaged adapter": load_damaged(model),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
