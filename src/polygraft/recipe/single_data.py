"""The data of a training outside of a recipe: read, and made into an objective and a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.attach.dropout import check_dropout
from polygraft.data.masking import Masking
from polygraft.data.read import digest_source
from polygraft.evaluate.run import find_max_length
from polygraft.parts.head import Head
from polygraft.recipe.caching import open_cache
from polygraft.recipe.corpus import describe_one_line, find_labels, load_texts, read_examples
from polygraft.recipe.methods import BOTTLENECK
from polygraft.recipe.objectives import (
    make_held_out_loss,
    make_labelling,
    make_text_objective,
    score_examples,
)
from polygraft.recipe.single_parts import count_taken_by, list_skipped_layers
from polygraft.store.manifest import DataRecord
from polygraft.types import TEXT_OBJECTIVES, UNKNOWN_LANGUAGE

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.data.encode import EncodedText
    from polygraft.recipe.corpus import Examples
    from polygraft.recipe.order import Order
    from polygraft.train.objective import Objective

NUM_HELD_OUT = 300
TEXT_LENGTH = 128


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an order becomes once its files are read."""

    objective: Objective
    head: Head | None
    """The head that is trained with the graft, if any."""
    skip_layers: tuple[int, ...]
    """Layers in which the graft has nothing: those that were to be left out, and those that nothing would reach."""
    num_examples: Mapping[str, int]
    evaluate: Callable[[Attachment], float] | None = None
    sentences: tuple[str, ...] = ()
    """What a user should know."""


def prepare(
    base: Base, order: Order, below: Mapping[str, Graft], *, folder: Path, notify: Callable[[str], None]
) -> Work:
    """Read an order's files, and make what is learned from them.

    Args:
        base: The frozen base.
        order: What to train.
        below: The frozen grafts below the new one.
        folder: Where outputs of frozen layers lie that find no room in memory.
        notify: Told sentences that a user should see.

    Raises:
        OptionError: Dropout is asked for, and the base has none.
    """
    if order.settings.dropout:
        check_dropout(base)
    if order.objective in TEXT_OBJECTIVES:
        base.check_guesses("causal" if order.objective == "causal" else "mlm")
        return _prepare_text(base, order, below, notify)
    return _prepare_labels(base, order, below, folder=folder)


def _prepare_text(
    base: Base, order: Order, below: Mapping[str, Graft], notify: Callable[[str], None]
) -> Work:
    skip = list_skipped_layers(
        base,
        below,
        name=order.name,
        reads=order.head_layer,
        skip_layers=order.skip_layers,
        from_layer=order.from_layer if order.reduction or order.part != BOTTLENECK else None,
    )
    head = None if order.head_layer is None else Head(objective=base.guesses, layer=order.head_layer)
    longest = min(TEXT_LENGTH, find_max_length(base, num_taken=count_taken_by(order, below)))
    text, held_out, num_examples = _read_texts(base, order, longest, notify)
    objective = make_text_objective(
        base,
        text,
        masking=Masking(),
        scores_all_pieces=order.vocabulary == "full",
        num_negatives=order.negatives,
    )
    if held_out is None:
        sentences = (describe_one_line(order.train),)
        return Work(
            objective=objective, head=head, skip_layers=skip, num_examples=num_examples, sentences=sentences
        )
    evaluate = make_held_out_loss(base, objective, held_out, seed=order.settings.seed)
    return Work(
        objective=objective, head=head, skip_layers=skip, num_examples=num_examples, evaluate=evaluate
    )


def _read_texts(
    base: Base, order: Order, longest: int, notify: Callable[[str], None]
) -> tuple[EncodedText, EncodedText | None, Mapping[str, int]]:
    """Give the text that is learned from, the one that is kept apart, and how many lines each has."""
    load = partial(
        load_texts, max_length=longest, reading=order.reading, notify=notify, tokenizer=base.tokenizer
    )
    if order.dev is None:
        both = load(order.train, rows=order.rows, num_held_out=NUM_HELD_OUT)
        counts = {"train": both.num_lines - both.num_held_out, "dev": both.num_held_out}
        return both.train, both.held_out, counts
    train, dev = load(order.train, rows=order.rows), load(order.dev)
    return train.train, dev.train, {"train": train.num_lines, "dev": dev.num_lines}


def _prepare_labels(base: Base, order: Order, below: Mapping[str, Graft], *, folder: Path) -> Work:
    examples = _read_examples(order, order.train)
    dev = None if order.dev is None else _read_examples(order, order.dev)
    labels = find_labels(examples, source=order.train)
    head = Head.from_options(
        {
            "objective": order.objective,
            "labels": list(labels),
            "layer": -1 if order.head_layer is None else order.head_layer,
        }
    )
    has_dropout = order.settings.dropout
    cache = open_cache(order.cache, gib=order.cache_gib, folder=folder, has_dropout=has_dropout)
    objective, sentence = make_labelling(
        base, examples, labels=labels, source=order.train, cache=cache, num_taken=count_taken_by(order, below)
    )

    def evaluate(attachment: Attachment) -> float:
        assert dev is not None
        return score_examples(attachment, dev, task=order.name, language=UNKNOWN_LANGUAGE, condition="dev")[
            0
        ].score

    return Work(
        objective=objective,
        head=head,
        skip_layers=tuple(order.skip_layers),
        num_examples={"train": len(examples), "dev": 0 if dev is None else len(dev)},
        evaluate=None if dev is None else evaluate,
        sentences=() if sentence is None else (sentence,),
    )


def _read_examples(order: Order, path: Path) -> Examples:
    return read_examples(path, objective=order.objective, reading=order.reading)


def list_data(order: Order, work: Work) -> list[DataRecord]:
    """List the files of an order for a manifest."""
    files = {"train": order.train, **({} if order.dev is None else {"dev": order.dev})}
    return [
        DataRecord(name=f"{use} {path.name}", sha256=digest_source(path), num_examples=work.num_examples[use])
        for use, path in files.items()
    ]
