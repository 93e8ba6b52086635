"""Tagged sentences and labelled texts cut into pieces to show: what is marked, and what was missed or wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from polygraft.evaluate.gain import counts_spans, find_scoring
from polygraft.evaluate.result import Result
from polygraft.evaluate.spans import Span, is_span_labelling, read_spans
from polygraft.report.languages import language_name
from polygraft.report.scores import order_conditions
from polygraft.report.summary import ExampleSummary

NUM_COLOURS = 6
"""How many types of entities or tags have a colour of their own; the types' names always stand beside them."""

MOST_OF_A_TEST = 2
"""Sentences of a task and language that are shown where methods are compared: each has a line a method."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a sentence that is shown in one way."""

    text: str
    type: str | None = None
    """The entity's type, or the tag or label; None for plain text."""
    colour: int = 0
    verdict: str | None = None
    """What is wrong with it, in a few words; None where it is right or cannot be judged."""
    missed: bool = False
    """Whether this is an entity of the gold tags that was not found."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One reading of a sentence or text: the gold tags, or what was predicted under a condition."""

    label: str
    pieces: tuple[Piece, ...]
    note: str | None


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sentence or text with all its readings."""

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


def build_examples(examples: Sequence[ExampleSummary], results: Sequence[Result] = ()) -> tuple[Example, ...]:
    """Cut every example into lines of pieces; a type has the same colour throughout.

    Args:
        examples: What to show.
        results: Scores of the same run; they tell how the tasks of older files, which do not say so, are scored.
    """
    examples = [_fill_metric(example, results) for example in examples]
    types = sorted({name for example in examples for name in _list_types(example)})
    colours = {name: index % NUM_COLOURS for index, name in enumerate(types)}
    return tuple(_build_example(example, colours=colours) for example in examples)


def mark_words(
    tokens: Sequence[str], predicted: Sequence[str], *, gold: Sequence[str] | None, colours: dict[str, int]
) -> tuple[Piece, ...]:
    """Mark every word with its whole tag, and say of a wrong one which it should be.

    Args:
        tokens: The sentence's words.
        predicted: The tag of each.
        gold: What they are held against; None where they cannot be judged.
        colours: The number of each tag's colour.
    """
    right = predicted if gold is None else gold
    return tuple(
        Piece(
            text=word,
            type=tag,
            colour=colours.get(tag, 0),
            verdict=None if tag == expected else f"should be {expected}",
        )
        for word, tag, expected in zip(tokens, predicted, right, strict=False)
    )


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


def _fill_metric(example: ExampleSummary, results: Sequence[Result]) -> ExampleSummary:
    """Give an example that says how it is scored: as the results of its task are, else as its tags look."""
    if example.metric:
        return example
    metrics = {result.metric for result in results if example.task in ("", result.task)} - {"loss"}
    tags = {tag for row in (example.gold or (), *example.predicted.values()) for tag in row}
    guess = "f1" if tags <= {"O"} or is_span_labelling(tuple(tags)) else "accuracy"
    return replace(example, metric=next(iter(metrics)) if len(metrics) == 1 else guess)


def _build_example(example: ExampleSummary, *, colours: dict[str, int]) -> Example:
    lines: list[Line] = []
    if example.is_text:
        lines.append(Line(label="text", pieces=(Piece(text=" ".join(example.tokens)),), note=None))
    if example.gold is not None:
        pieces = _mark(example, example.gold, gold=None, colours=colours)
        lines.append(Line(label="gold", pieces=pieces, note=None))
    for condition in order_conditions(example.predicted):
        predicted = example.predicted[condition]
        pieces = _mark(example, predicted, gold=example.gold, colours=colours)
        lines.append(Line(label=condition, pieces=pieces, note=_note(example, predicted)))
    name = language_name(example.language)
    title = f"{name}, {example.task}" if example.method else name
    return Example(title=title, language=example.language, lines=tuple(lines))


def _mark(
    example: ExampleSummary, tags: Sequence[str], *, gold: Sequence[str] | None, colours: dict[str, int]
) -> tuple[Piece, ...]:
    if example.is_text:
        # The text stands once, in a line of its own.
        return mark_words([""], tags, gold=gold, colours=colours)
    if not counts_spans(example.metric):
        return mark_words(example.tokens, tags, gold=gold, colours=colours)
    spans = None if gold is None else read_spans(gold)
    return mark_line(example.tokens, read_spans(tags), gold=spans, colours=colours)


def _list_types(example: ExampleSummary) -> set[str]:
    rows = [row for row in (example.gold, *example.predicted.values()) if row is not None]
    if counts_spans(example.metric):
        return {span.type for row in rows for span in read_spans(row)}
    return {tag for row in rows for tag in row}


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


def _note(example: ExampleSummary, predicted: Sequence[str]) -> str | None:
    """Say how much of a reading is right, by the counts that the task is scored by."""
    if example.gold is None:
        return None
    count, _ = find_scoring(example.metric)
    [counts] = count([example.gold], [predicted]).tolist()
    if not counts_spans(example.metric):
        num_right, num_all = counts
        if example.is_text:
            return "right" if num_right else "wrong"
        return f"{num_right} of {num_all} words right" if num_all else "no words"
    num_right, num_found, num_gold = counts
    words = f"{num_right} of {num_gold} found" if num_gold else "nothing to find"
    return f"{words}, {num_found - num_right} wrong" if num_found > num_right else words


def _overlap(first: Span, second: Span) -> bool:
    return first.start < second.end and second.start < first.end
