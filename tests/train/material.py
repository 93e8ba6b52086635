"""Small trainings on a tiny base: a text, tagged sentences, and a graft to learn from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tests.tiny import WORDS, make_base

from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.plan import Named
from polygraft.base.base import Base
from polygraft.data.encode import EncodedTags, EncodedText, encode_tags, encode_text
from polygraft.data.example import TaggedSentence
from polygraft.data.joined import join_lines
from polygraft.data.masking import Masking, corpus_vocabulary
from polygraft.parts.presets import language_graft, task_graft
from polygraft.train.labels import Labelling
from polygraft.train.loop import Training
from polygraft.train.mlm import MaskedLm
from polygraft.train.objective import Objective
from polygraft.train.settings import TrainSettings
from polygraft.train.step import Step

LABELS = ("O", "B-LOC", "B-PER")
TAGS: Mapping[str, str] = {
    "cuscoman": "B-LOC",
    "lima": "B-LOC",
    "bolivia": "B-LOC",
    "mariya": "B-PER",
    "ana": "B-PER",
    "pedro": "B-PER",
    "juan": "B-PER",
}


def make_lines(count: int = 30, *, num_words: int = len(WORDS)) -> list[str]:
    """Lines of three to eleven words, the first so many that there are, the same ones every time."""
    rng = np.random.default_rng(5)
    return [
        " ".join(rng.choice(WORDS[:num_words], size=int(rng.integers(3, 12))).tolist()) for _ in range(count)
    ]


def make_sentences(count: int = 30) -> list[TaggedSentence]:
    """The same lines, with a tag at each name."""
    words = [tuple(line.split()) for line in make_lines(count)]
    return [TaggedSentence(row, tuple(TAGS.get(word, "O") for word in row), 1) for row in words]


def encode_lines(base: Base, count: int = 30, *, num_words: int = len(WORDS)) -> EncodedText:
    return encode_text(make_lines(count, num_words=num_words), base.tokenizer, max_length=16)


def encode_sentences(base: Base, count: int = 30) -> EncodedTags:
    return encode_tags(make_sentences(count), base.tokenizer, labels=LABELS, max_length=16)


def make_masked_lm(
    base: Base, *, full: bool = False, negatives: int = 0, num_words: int = len(WORDS), joined: bool = False
) -> MaskedLm:
    text = encode_lines(base, num_words=num_words)
    if joined:
        text = join_lines(text, base.tokenizer, max_length=16)
    vocabulary = None if full else corpus_vocabulary(text, special_ids=base.special_ids)
    return MaskedLm(text, vocabulary=vocabulary, masking=Masking(), num_negatives=negatives)


def make_objective(base: Base, name: str) -> Objective:
    return make_masked_lm(base) if name == "mlm" else Labelling(encode_sentences(base))


def make_training(name: str = "tokens", *, base: Base | None = None, **changes: Any) -> Training:
    """A training of ten steps; `changes` go to the settings and to the training, whichever knows them."""
    base = make_base("bert") if base is None else base
    parts = language_graft() if name == "mlm" else task_graft(labels=LABELS)
    graft: Graft = changes.pop("graft", None) or make_graft(base, "new", parts, seed=4)
    options = {key: changes.pop(key) for key in list(changes) if key in TrainSettings.__dataclass_fields__}
    settings = TrainSettings(**{"steps": 10, "batch_tokens": 96, "lr": 0.01, "seed": 3, **options})
    whole: dict[str, Any] = {
        "plans": [Named("new")],
        "grafts": {"new": graft},
        "objective": make_objective(base, name),
        **changes,
    }
    return Training(base=base, graft=graft, settings=settings, **whole)


def run(training: Training) -> list[Step]:
    return list(training.run())


def read_bytes(graft: Graft) -> dict[str, bytes]:
    """Every value of a graft, bit for bit."""
    return {name: tensor.numpy().tobytes() for name, tensor in graft.tensors().items()}
