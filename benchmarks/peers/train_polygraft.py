"""One training by polygraft, measured: prints one line of JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batches import Rows, read_batches, read_rows
from measure import Job, Meter, divide, report, sum_cross_entropy
from safetensors.torch import load_file
from typing_extensions import override
from works import NUM_GRAFTS, Work

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.piece_loss import Decoder, sum_piece_loss
from polygraft.attach.plan import Named
from polygraft.base.base import Base
from polygraft.base.load import load_base
from polygraft.data.collate import Batch
from polygraft.data.encode import EncodedTags, EncodedText
from polygraft.data.guess_batch import GuessBatch
from polygraft.data.masking import Masking, corpus_vocabulary
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.train.labels import Labelling
from polygraft.train.loop import Training
from polygraft.train.mlm import MaskedLm
from polygraft.train.objective import Objective
from polygraft.train.prefix import PrefixCache
from polygraft.train.settings import NUM_NEGATIVES, TrainSettings
from polygraft.train.step import Step
from polygraft.train.together import run_together

NAME = "graft"


def list_parts(work: Work, labels: list[str]) -> list[Part]:
    """List the parts of the graft that is trained."""
    bottleneck = Bottleneck(reduction=work.reduction, skip_layers=work.skip_layers)
    if work.kind in ("mlm", "floor"):
        return [bottleneck, Invertible(reduction=2)]
    return [bottleneck, Head(objective="tokens", labels=tuple(labels))]


def plan_training(work: Work, *, seed: int | None = None) -> TrainSettings:
    """Give the settings that every side follows."""
    return TrainSettings(
        steps=work.steps,
        epochs=work.epochs,
        batch_tokens=work.batch_tokens,
        lr=work.lr,
        head_lr_factor=work.head_lr_factor,
        seed=work.seed if seed is None else seed,
    )


class SameMasks(MaskedLm):
    """Hides what is hidden for all sides, whatever is scored: what replaces a hidden piece comes from its batch."""

    @override
    def ask(self, base: Base, batch: Batch, *, seed: int, step: int) -> GuessBatch:
        as_peers = MaskedLm(self.text, vocabulary=None, masking=self.masking)
        return as_peers.ask(base, batch, seed=seed, step=step)


def make_objective(
    work: Work, rows: Rows, base: Base, *, exact: bool, cache: PrefixCache | None = None
) -> Objective:
    """Give what is minimised; what frozen layers give is kept in `cache`."""
    if work.kind in ("mlm", "floor"):
        text = EncodedText(ids=rows.ids, starts=rows.starts)
        vocabulary = None if exact else corpus_vocabulary(text, special_ids=base.special_ids)
        return SameMasks(text, vocabulary=vocabulary, masking=Masking(), num_negatives=NUM_NEGATIVES)
    tags = EncodedTags(
        ids=rows.ids,
        starts=rows.starts,
        labels=rows.labels,
        # Only scoring by words asks for these.
        word_of=np.full_like(rows.labels, -1),
        num_words=np.zeros(rows.num_rows, dtype=np.int64),
    )
    return Labelling(tags, cache=cache)


def make_training(base: Base, graft: Graft, objective: Objective, settings: TrainSettings) -> Training:
    """Make the training of one graft alone."""
    return Training(
        base=base,
        graft=graft,
        plans=[Named(graft.name)],
        grafts={graft.name: graft},
        objective=objective,
        settings=settings,
    )


def evaluate(attachment: Attachment, path: Path, *, kind: str) -> dict[str, Any]:
    """Measure the loss on what is held out, over all pieces, and the labels that score best."""
    losses: list[tuple[float, int]] = []
    predicted: list[list[int]] = []
    with torch.inference_mode():
        decoder = Decoder(attachment, None) if kind == "mlm" else None
        for batch in read_batches(path):
            if decoder is not None:
                places = (batch.labels.flatten() >= 0).nonzero().flatten()
                masked = GuessBatch(
                    input_ids=batch.input_ids,
                    attention_mask=batch.attention_mask,
                    positions=places,
                    targets=batch.labels.flatten()[places],
                )
                losses.append((float(sum_piece_loss(attachment, masked, decoder)), len(places)))
                continue
            scores = attachment.score(batch.input_ids, batch.attention_mask)
            losses.append(sum_cross_entropy(scores, batch.labels))
            is_word = batch.labels >= 0
            predicted += [row[at].tolist() for row, at in zip(scores.argmax(-1), is_word, strict=True)]
    return {"loss": divide(losses), "predicted": predicted}


def measure_steps(steps: Iterator[Step], meter: Meter) -> dict[str, Any]:
    """Run a training to its end."""
    meter.start()
    for step in steps:
        meter.step(tokens=step.num_tokens, loss=step.loss)
    return meter.stop()


def copy_head(graft: Graft, path: Path) -> None:
    """Give the head the first values of all sides, which its own would be but for other parts drawn before it."""
    with torch.no_grad():
        for name, value in load_file(path).items():
            if name.startswith("head."):
                graft.layers.get_parameter(name).copy_(value)


def train_one(job: Job, base: Base, meter: Meter) -> dict[str, Any]:
    """Train one graft, with the held-out loss before and after."""
    work, labels = job.work, job.read_facts()["labels"]
    parts = list_parts(work, labels)
    if job.side.endswith("lora"):
        parts = [Lora(rank=job.read_facts()["lora_rank"], skip_layers=work.skip_layers), *parts[1:]]
    graft = make_graft(base, NAME, parts, seed=work.seed)
    copy_head(graft, job.folder / "start.safetensors")
    rows, exact = read_rows(job.folder / "rows.npz"), job.side.endswith("exact")
    cache = None if job.side.endswith("uncached") else PrefixCache()
    objective = make_objective(work, rows, base, exact=exact, cache=cache)

    def score() -> dict[str, Any]:
        with attach(base, Named(NAME), grafts={NAME: graft}) as attachment:
            return evaluate(attachment, job.folder / "held_out.npz", kind=work.kind)

    before = score()
    training = make_training(base, graft, objective, plan_training(work))
    result = measure_steps(training.run(), meter)
    return {**result, "initial_loss": before["loss"], **score()}


def train_in_turn(trainings: list[Training]) -> Iterator[Step]:
    """Train several grafts one after another."""
    for training in trainings:
        yield from training.run()


def train_at_once(trainings: list[Training]) -> Iterator[Step]:
    """Train several grafts in one pass over the base."""
    for _, step in run_together(trainings):
        yield step


SEVERAL: dict[str, Callable[[list[Training]], Iterator[Step]]] = {
    "polygraft-in-turn": train_in_turn,
    "polygraft-uncached": train_in_turn,
    "polygraft-at-once": train_at_once,
}


def train_several(job: Job, base: Base, meter: Meter) -> dict[str, Any]:
    """Train a graft for each of several seeds on the same rows, and give the mean held-out loss."""
    work, labels = job.work, job.read_facts()["labels"]
    rows = read_rows(job.folder / "rows.npz")
    grafts = [make_graft(base, f"{NAME}{s}", list_parts(work, labels), seed=s) for s in range(NUM_GRAFTS)]
    shared = PrefixCache()
    caches: dict[str, Callable[[], PrefixCache | None]] = {
        "polygraft-in-turn": PrefixCache,
        "polygraft-uncached": lambda: None,
        "polygraft-at-once": lambda: shared,
    }
    trainings = [
        make_training(
            base,
            graft,
            make_objective(work, rows, base, exact=False, cache=caches[job.side]()),
            plan_training(work, seed=seed),
        )
        for seed, graft in enumerate(grafts)
    ]
    result = measure_steps(SEVERAL[job.side](trainings), meter)
    losses: list[float] = []
    for graft in grafts:
        with attach(base, Named(graft.name), grafts={graft.name: graft}) as attachment:
            losses.append(evaluate(attachment, job.folder / "held_out.npz", kind="ner")["loss"])
    return {**result, "loss": sum(losses) / len(losses)}


def main() -> None:
    """Do the job of the command line."""
    job = Job.read()
    base = load_base(str(job.base), dtype="int8" if job.side.endswith("int8") else "float32")
    meter = Meter(warm=job.work.warm)
    meter.note_base(base.model)
    report((train_several if job.work.kind == "several" else train_one)(job, base, meter))


if __name__ == "__main__":
    main()
