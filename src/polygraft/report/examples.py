"""Tagged sentences cut into pieces to show: entities, and what was missed or wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from polygraft.evaluate.spans import Span, read_spans
from polygraft.report.languages import language_name
from polygraft.report.scores import order_conditions
from polygraft.report.summary import ExampleSummary

NUM_COLOURS = 6
"""How many entity types have a colour of their own; the types' names always stand beside them."""


MOST_OF_A_TEST = 2
"""Sentences of a task and language that are shown where methods are compared: each has a line a method."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a sentence that is shown in one way."""

    text: str
    type: str | None = None
    """The entity's type; None for plain text."""
    colour: int = 0
    verdict: str | None = None
    """What is wrong with it, in a few words; None where it is right or cannot be judged."""
    missed: bool = False
    """Whether this is an entity of the gold tags that was not found."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One reading of a sentence: the gold tags, or what was predicted under a condition."""

    label: str
    pieces: tuple[Piece, ...]
    note: str | None


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sentence with all its readings."""

    title: str
    """The language, and the task where methods are compared."""
    language: str
    lines: tuple[Line, ...]


def join_methods(examples: Sequence[ExampleSummary]) -> tuple[ExampleSummary, ...]:
    """Put what several methods predicted of a sentence under it, each under the condition that it is known by.

    Of each task and language the first few sentences are kept. Where no methods are compared, all stay as they are.
    """
    if not any(example.method for example in examples):
        return tuple(examples)
    joined: dict[tuple[str, str, str, tuple[str, ...]], ExampleSummary] = {}
    for example in examples:
        key = (example.task, example.source, example.language, example.tokens)
        predicted = dict(joined[key].predicted) if key in joined else {}
        for condition in order_conditions(example.predicted)[-1:]:
            predicted[example.method] = example.predicted[condition]
        joined[key] = replace(example, predicted=predicted)
    kept = Counter[tuple[str, str, str]]()
    shown: list[ExampleSummary] = []
    for example in joined.values():
        place = (example.task, example.source, example.language)
        kept[place] += 1
        if kept[place] <= MOST_OF_A_TEST:
            shown.append(example)
    return tuple(shown)


def build_examples(examples: Sequence[ExampleSummary]) -> tuple[Example, ...]:
    """Cut every example into lines of pieces; a type has the same colour throughout."""
    readings = [tags for example in examples for tags in (example.gold, *example.predicted.values()) if tags]
    types = sorted({span.type for tags in readings for span in read_spans(tags)})
    colours = {name: index % NUM_COLOURS for index, name in enumerate(types)}
    return tuple(_build_example(example, colours=colours) for example in examples)


def mark_line(
    tokens: Sequence[str], predicted: Sequence[Span], *, gold: Sequence[Span] | None, colours: dict[str, int]
) -> tuple[Piece, ...]:
    """Cut a sentence at its entities and say what is wrong with each.

    Args:
        tokens: The sentence's words.
        predicted: The entities to show.
        gold: What they are held against; None where they cannot be judged.
        colours: The number of each type's colour.
    """
    starts = {span.start: (span, False) for span in _missed(predicted, gold=gold or ())}
    starts |= {span.start: (span, True) for span in predicted}
    pieces: list[Piece] = []
    plain: list[str] = []
    at = 0
    while at < len(tokens):
        if at not in starts:
            plain.append(tokens[at])
            at += 1
            continue
        if plain:
            pieces.append(Piece(text=" ".join(plain)))
            plain = []
        span, found = starts[at]
        pieces.append(
            Piece(
                text=" ".join(tokens[span.start : span.end]),
                type=span.type,
                colour=colours.get(span.type, 0),
                verdict=_judge(span, gold=gold, tokens=tokens) if found else "missed",
                missed=not found,
            )
        )
        at = max(span.end, at + 1)
    if plain:
        pieces.append(Piece(text=" ".join(plain)))
    return tuple(pieces)


def _build_example(example: ExampleSummary, *, colours: dict[str, int]) -> Example:
    lines: list[Line] = []
    gold = read_spans(example.gold) if example.gold is not None else None
    if gold is not None:
        pieces = mark_line(example.tokens, gold, gold=None, colours=colours)
        lines.append(Line(label="gold", pieces=pieces, note=None))
    for condition in order_conditions(example.predicted):
        spans = read_spans(example.predicted[condition])
        pieces = mark_line(example.tokens, spans, gold=gold, colours=colours)
        lines.append(Line(label=condition, pieces=pieces, note=_note(spans, gold=gold)))
    name = language_name(example.language)
    title = f"{name}, {example.task}" if example.method else name
    return Example(title=title, language=example.language, lines=tuple(lines))


def _missed(predicted: Sequence[Span], *, gold: Sequence[Span]) -> list[Span]:
    return [span for span in gold if not any(_overlap(span, other) for other in predicted)]


def _judge(span: Span, *, gold: Sequence[Span] | None, tokens: Sequence[str]) -> str | None:
    if gold is None or span in gold:
        return None
    touched = [other for other in gold if _overlap(span, other)]
    if not touched:
        return "not an entity"
    for other in touched:
        if (other.start, other.end) == (span.start, span.end):
            return f"should be {other.type}"
    first = touched[0]
    return f"should be \u2018{' '.join(tokens[first.start : first.end])}\u2019 {first.type}"


def _note(spans: Sequence[Span], *, gold: Sequence[Span] | None) -> str | None:
    if gold is None:
        return None
    num_right = sum(span in gold for span in spans)
    num_wrong = len(spans) - num_right
    words = f"{num_right} of {len(gold)} found" if gold else "nothing to find"
    return f"{words}, {num_wrong} wrong" if num_wrong else words


def _overlap(first: Span, second: Span) -> bool:
    return first.start < second.end and second.start < first.end
