"""Chooses the sentences and texts of each test set that a report shows, the same ones for all methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.evaluate.gain import Labels
from polygraft.recipe.names import show_task
from polygraft.recipe.score import list_gold
from polygraft.report.summary import ExampleSummary

if TYPE_CHECKING:
    from polygraft.recipe.corpus import Examples
    from polygraft.recipe.score import Scored

NUM_EXAMPLES = 6
"""Sentences or texts of each language that a report is given."""
WORDS = range(4, 25)
"""Numbers of words of a sentence that is read at a glance."""
MOST_LETTERS = 400
"""The longest text that is."""

Readings = Mapping[str, Labels]
"""Predicted labels, a row an example, by condition."""


def gather_examples(scored: Sequence[Scored]) -> list[ExampleSummary]:
    """Give some examples of each test set, with what each method predicted with the first of its seeds.

    Args:
        scored: The scoring steps of the run's variants that were done. Of those whose labels were not kept the
            examples of older runs are taken.
    """
    seed = scored[0].workshop.recipe.seed if scored else None
    tests: dict[tuple[str, str], list[tuple[Scored, Readings]]] = {}
    found: list[ExampleSummary] = []
    for step in scored:
        recipe = step.workshop.recipe
        if recipe.seed != seed:
            continue
        if step.labels is None:
            found += [replace(example, method=recipe.variant.method) for example in step.scores.examples]
            continue
        for language, readings in step.labels.items():
            tests.setdefault((step.job.task or "", language), []).append((step, readings))
    for (name, language), readers in tests.items():
        found += _show(name, language, readers)
    return found


def choose_places(examples: Examples, readings: Sequence[Readings]) -> list[int]:
    """Choose examples spread over a test set: sentences of readable length with something to find, or texts.

    Of texts, some are those that a method got wrong and some those that most got right, in turn.

    Args:
        examples: The test set.
        readings: What each method predicted; its last condition is the one it is known by.
    """
    if not examples:
        return []
    if isinstance(examples[0], TaggedSentence):
        tagged = cast("Sequence[TaggedSentence]", examples)
        usable = [
            place
            for place, sentence in enumerate(tagged)
            if len(sentence.tokens) in WORDS and len(set(sentence.tags)) > 1
        ]
        return _spread(usable, NUM_EXAMPLES)
    return _choose_texts(cast("Sequence[LabelledText]", examples), readings)


def _choose_texts(texts: Sequence[LabelledText], readings: Sequence[Readings]) -> list[int]:
    lengths = [len(text.text) for text in texts]
    usable = [place for place, length in enumerate(lengths) if length <= MOST_LETTERS]
    usable = usable or sorted(range(len(texts)), key=lambda place: lengths[place])[:NUM_EXAMPLES]
    last = [list(reading.values())[-1] for reading in readings if reading]
    num_right = {place: sum(labels[place][0] == texts[place].label for labels in last) for place in usable}
    wrong = [place for place in usable if num_right[place] < len(last)]
    # Where methods differ there is more to see than where all are wrong.
    mixed = [place for place in wrong if num_right[place]]
    most = max(num_right.values())
    right = [place for place in usable if num_right[place] == most and num_right[place]]
    half = NUM_EXAMPLES // 2
    chosen = _spread(mixed or wrong, half)
    others = [place for place in right if place not in chosen]
    shown = [place for pair in zip(chosen, _spread(others, half), strict=False) for place in pair]
    rest = [place for place in (*chosen, *_spread(others, NUM_EXAMPLES), *wrong) if place not in shown]
    return list(dict.fromkeys([*shown, *rest]))[:NUM_EXAMPLES]


def _spread(places: Sequence[int], count: int) -> list[int]:
    return list(places[:: max(1, len(places) // count)][:count])


def _show(name: str, language: str, readers: Sequence[tuple[Scored, Readings]]) -> list[ExampleSummary]:
    workshop = readers[0][0].workshop
    task = workshop.recipe.tasks[name]
    examples = workshop.corpus.read_examples(task, task.test[language])
    gold = list_gold(examples)
    places = choose_places(examples, [readings for _, readings in readers])
    return [
        ExampleSummary(
            language=language,
            tokens=_read_words(examples[place]),
            gold=gold[place],
            predicted={condition: tuple(labels[place]) for condition, labels in readings.items()},
            task=show_task(workshop.recipe.tasks, name),
            source=task.source,
            method=step.workshop.recipe.variant.method,
            metric=step.scores.results[0].metric if step.scores.results else "",
            is_text=isinstance(examples[place], LabelledText),
        )
        for step, readings in readers
        for place in places
    ]


def _read_words(example: TaggedSentence | LabelledText) -> tuple[str, ...]:
    return example.tokens if isinstance(example, TaggedSentence) else (example.text,)
