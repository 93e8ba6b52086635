"""One row of scores, and rows as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields

from polygraft.evaluate.spans import TypeScore


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out of scoring one task in one language under one condition."""

    task: str
    """Such as `ner`, `pos`, `topic`, `mlm`."""
    language: str
    """The test set's language, an ISO 639 code."""
    condition: str
    """Which grafts were there: `task alone`, `source`, `target`, `none` ..."""
    plan: str
    """The plan in force, as text; empty where there is none."""
    metric: str
    """What `score` is: `f1`, `accuracy` or `loss`."""
    score: float
    """Between 0 and 1, except for a loss (nats a token)."""
    low: float | None = None
    """Lower end of the score's interval."""
    high: float | None = None
    """Upper end of the score's interval."""
    precision: float | None = None
    """Share of the predicted entities that are right."""
    recall: float | None = None
    """Share of the gold entities that are found."""
    macro_f1: float | None = None
    """Mean of the labels' F1, each label counting the same; of labels only."""
    perplexity: float | None = None
    """The number of equally likely tokens that a loss stands for; of losses only."""
    by_type: Mapping[str, TypeScore] = field(default_factory=dict[str, TypeScore])
    """The scores of each type of entity, or of each label."""
    num_sentences: int
    """Sentences or texts that were scored."""
    num_gold: int
    """Gold entities, labels, or masked tokens."""
    seconds: float
    """Wall time of the predictions."""
    tokens_per_second: float
    """Tokens without padding that went through the base in a second."""
    seed: int
    """The seed of the training."""
    method: str = ""
    """The method that was trained, where several are compared."""
    source: str = ""
    """The language of the labels that were learned, where that is known."""
    after: str = ""
    """The task that was learned last, where an earlier one is scored again."""
    predictions: str = ""
    """The sha256 of what was predicted: equal ones mean that every label was the same."""
    notes: tuple[str, ...] = ()
    """What a reader of the score should know."""


def results_to_json(results: Iterable[Result]) -> str:
    """Write results as a JSON list of objects, in their order.

    A number that JSON has no word for is written as `"NaN"`, `"Infinity"` or `"-Infinity"`.

    Args:
        results: The rows.
    """
    rows = [{name: _plain(value) for name, value in asdict(result).items()} for result in results]
    return json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def results_to_csv(results: Iterable[Result]) -> str:
    """Write results as comma-separated values under a line of names, in their order.

    What is absent is an empty cell; the F1 of each type stands as `LOC=0.5 PER=0.75`, and notes after one
    another.

    Args:
        results: The rows.
    """
    text = io.StringIO()
    names = [item.name for item in fields(Result)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for result in results:
        row = asdict(result)
        row["by_type"] = " ".join(f"{name}={score.f1!r}" for name, score in result.by_type.items())
        row["notes"] = " ".join(result.notes)
        writer.writerow(row)
    return text.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
