"""Write what every side starts from: bases, rows, batches and the first values of the grafts.

    python benchmarks/peers/prepare.py '{"work": {...}, "side": "", "folder": "build/peers/full", "threads": 2}'

It runs in polygraft's environment; the peers read its files and never its code.
"""

from __future__ import annotations

import json
import os
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batches import IGNORE, Rows, write_rows
from measure import Job
from safetensors.torch import save_file
from train_polygraft import list_parts, plan_training
from transformers import BertForMaskedLM, XLMRobertaConfig, XLMRobertaForMaskedLM
from works import Work

from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named
from polygraft.base.base import Base
from polygraft.base.load import load_base
from polygraft.data.batches import plan_eval_batches
from polygraft.data.collate import collate
from polygraft.data.conll import read_conll
from polygraft.data.encode import EncodedTags, EncodedText, collect_labels, encode_tags, encode_text
from polygraft.data.masking import Masking, mask_batch
from polygraft.data.text import read_text
from polygraft.parts.head import Head, PieceHeadLayers
from polygraft.train.labels import Labelling
from polygraft.train.loop import Training
from polygraft.train.mlm import MaskedLm
from polygraft.train.objective import Objective
from polygraft.train.settings import TrainSettings

HEAD_STEPS = 100
LANGUAGE, TASK = "qu", "en"
EVAL_SEED = 1


def find_data() -> tuple[Path, str]:
    """Give the folder of texts and tagged sentences, and what to say of it."""
    named = os.environ.get("POLYGRAFT_DATA")
    if named:
        return Path(named), "the texts and sentences of POLYGRAFT_DATA"
    sample = Path(str(files("polygraft"))) / "sample"
    return (
        sample,
        "the package's small sample, since POLYGRAFT_DATA is not set: few rows, and a small vocabulary",
    )


def pack_text(base: Base, lines: list[str], *, length: int) -> EncodedText:
    """Put lines one after the other and cut them into rows of one length, as the peers' example script does."""
    ids = encode_text(lines, base.tokenizer, max_length=length).ids
    first, last = base.tokenizer.bos_token_id, base.tokenizer.eos_token_id
    ids = ids[(ids != first) & (ids != last)]
    num_rows, room = len(ids) // (length - 2), length - 2
    rows = np.full((num_rows, length), last, dtype=np.int32)
    rows[:, 0] = first
    rows[:, 1:-1] = ids[: num_rows * room].reshape(num_rows, room)
    return EncodedText(ids=rows.reshape(-1), starts=np.arange(num_rows + 1, dtype=np.int64) * length)


def mask_rows(
    base: Base, text: EncodedText, batches: list[np.ndarray], *, seed: int
) -> tuple[Rows, list[range]]:
    """Hide pieces of each batch as `MaskedLm` does in that step; the rows come out in the batches' order."""
    ids, labels, sizes = [np.empty(0, np.int32)], [np.empty(0, np.int32)], [0]
    for step, rows in enumerate(batches):
        batch = collate(text, rows, pad_id=base.pad_id)
        masked = mask_batch(
            batch,
            masking=Masking(),
            seed=seed,
            step=step,
            mask_id=base.mask_id,
            special_ids=base.special_ids,
        )
        targets = torch.full_like(batch.input_ids, IGNORE).flatten()
        targets[masked.positions] = masked.targets
        is_token = batch.attention_mask.flatten().bool()
        ids.append(masked.input_ids.flatten()[is_token].numpy().astype(np.int32))
        labels.append(targets[is_token].numpy().astype(np.int32))
        sizes += batch.attention_mask.sum(1).tolist()
    ends = np.cumsum([0, *(len(rows) for rows in batches)])
    order = [range(start, end) for start, end in pairwise(ends.tolist())]
    return Rows(np.concatenate(ids), np.cumsum(sizes, dtype=np.int64), np.concatenate(labels)), order


def plan_steps(objective: Objective, settings: TrainSettings) -> list[np.ndarray]:
    """List the batches of a whole training, as polygraft takes them."""
    batches: list[np.ndarray] = []
    epoch = 0
    while len(batches) < settings.steps if settings.steps else epoch < (settings.epochs or 0):
        batches += objective.plan_epoch(batch_tokens=settings.batch_tokens, seed=settings.seed, epoch=epoch)
        epoch += 1
    return batches[: settings.steps]


def write_bundled(folder: Path, data: Path) -> None:
    """Save the bundled base with a masked-LM head, trained on English and Quechua with all else frozen."""
    base = load_base("bundled")
    lines = [line for language in (TASK, LANGUAGE) for line in read_text(data / "text" / f"{language}.txt")]
    text = pack_text(base, lines, length=64)
    graft = make_graft(base, "mlm", [Head(objective="mlm")])
    objective = MaskedLm(text, vocabulary=None, masking=Masking())
    training = Training(
        base=base,
        graft=graft,
        plans=[Named("mlm")],
        grafts={"mlm": graft},
        objective=objective,
        settings=TrainSettings(steps=HEAD_STEPS, batch_tokens=1536, lr=1e-3),
    )
    for _ in training.run():
        pass
    head = graft.find_head()
    assert isinstance(head, PieceHeadLayers)
    model = BertForMaskedLM(base.model.config)
    model.bert.load_state_dict(base.model.state_dict())
    predictions = model.cls.predictions
    predictions.transform.dense.load_state_dict(head.dense.state_dict())
    predictions.transform.LayerNorm.load_state_dict(head.norm.state_dict())
    predictions.bias.data.copy_(head.bias.data)
    model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)


def write_xlmr(folder: Path) -> None:
    """Save a random base of XLM-R base's shape."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=250_002,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    XLMRobertaForMaskedLM(config).save_pretrained(folder)
    load_base("bundled").tokenizer.save_pretrained(folder)


def prepare_base(place: Path, data: Path) -> Base:
    """Give the base that every side starts from; it is written once."""
    if not (place / "head.safetensors").is_file():
        place.mkdir(parents=True, exist_ok=True)
        if place.name == "bundled":
            write_bundled(place, data)
        else:
            write_xlmr(place)
        head = load_base(str(place)).head
        assert head is not None
        tensors = {
            "dense.weight": head.dense.get_parameter("weight"),
            "dense.bias": head.dense.get_parameter("bias"),
            "norm.weight": head.norm.get_parameter("weight"),
            "norm.bias": head.norm.get_parameter("bias"),
            "bias": head.bias,
        }
        save_file(
            {name: tensor.detach().clone() for name, tensor in tensors.items()}, place / "head.safetensors"
        )
    return load_base(str(place))


def take(text: EncodedText, rows: slice) -> EncodedText:
    """Give rows that stand together."""
    starts = text.starts[rows.start : rows.stop + 1]
    return EncodedText(ids=text.ids[starts[0] : starts[-1]], starts=starts - starts[0])


def prepare_text(work: Work, folder: Path, base: Base, data: Path) -> dict[str, Any]:
    """Write text in rows, its masked batches, and masked rows that are held out."""
    lines = read_text(data / "text" / f"{LANGUAGE}.txt")
    if work.is_joined:
        text = pack_text(base, lines, length=work.length)
    else:
        text = encode_text(lines, base.tokenizer, max_length=work.length)
    num_held_out = min(work.num_held_out, text.num_rows // 4)
    held_out = take(text, slice(0, num_held_out))
    train = take(text, slice(num_held_out, min(text.num_rows, num_held_out + work.num_rows)))
    nothing = np.full(train.num_tokens, IGNORE, dtype=np.int32)
    write_rows(folder / "rows.npz", Rows(train.ids, train.starts, nothing))
    objective = MaskedLm(train, vocabulary=None, masking=Masking())
    settings = plan_training(work)
    write_rows(
        folder / "train.npz",
        *mask_rows(base, train, plan_steps(objective, settings), seed=settings.seed),
    )
    groups = plan_eval_batches(held_out.lengths, token_budget=work.batch_tokens)
    write_rows(folder / "held_out.npz", *mask_rows(base, held_out, groups, seed=EVAL_SEED))
    return {"num_rows": train.num_rows, "num_pieces": len(np.unique(train.ids)), "labels": []}


def prepare_tags(work: Work, folder: Path, base: Base, data: Path) -> dict[str, Any]:
    """Write tagged sentences, their batches over all epochs, and the development set."""
    place = data / "ner" / TASK
    train_sentences = read_conll(place / "train.conll")[: work.num_rows]
    dev_sentences = read_conll(place / "dev.conll")[: work.num_held_out]
    labels = collect_labels(train_sentences)

    def encode(sentences: list, unknown: str) -> EncodedTags:
        return encode_tags(sentences, base.tokenizer, labels=labels, max_length=work.length, unknown=unknown)

    train, dev = encode(train_sentences, "error"), encode(dev_sentences, "ignore")
    batches = plan_steps(Labelling(train), plan_training(work))
    write_rows(folder / "rows.npz", Rows(train.ids, train.starts, train.labels))
    write_rows(folder / "train.npz", Rows(train.ids, train.starts, train.labels), batches)
    groups = plan_eval_batches(dev.lengths, token_budget=4096)
    write_rows(folder / "held_out.npz", Rows(dev.ids, dev.starts, dev.labels), groups)
    return {"num_rows": train.num_rows, "labels": list(labels)}


def main() -> None:
    """Write everything for one work; only the bases are kept from an earlier time, since training a head takes long."""
    job = Job.read()
    work = job.work
    data, said = find_data()
    job.folder.mkdir(parents=True, exist_ok=True)
    base = prepare_base(job.base, data)
    if work.kind == "routing":
        (job.folder / "facts.json").write_text(json.dumps({"said": "random pieces"}), encoding="utf-8")
        return
    facts = (prepare_text if work.kind in ("mlm", "floor") else prepare_tags)(work, job.folder, base, data)
    graft = make_graft(base, "graft", list_parts(work, facts["labels"]), seed=work.seed)
    tensors = {name: tensor.clone() for name, tensor in graft.tensors().items()}
    save_file(tensors, job.folder / "start.safetensors")
    own = sum(tensor.numel() for name, tensor in tensors.items() if "head" not in name)
    num_layers = base.sites.num_layers - len(work.skip_layers)
    # Two maps a layer, each with two matrices of D values a rank.
    rank = max(1, round(own / (num_layers * 4 * base.sites.hidden)))
    facts |= {"said": said, "num_values": graft.num_parameters, "lora_rank": rank}
    (job.folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
