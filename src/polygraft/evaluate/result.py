"""One row of scores, and rows as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
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

    @property
    def has_gold(self) -> bool:
        """Whether the test set has something to find; F1 is 0 where there is nothing, whatever is predicted."""
        return self.num_gold > 0 or self.metric != "f1"


@dataclass(frozen=True, kw_only=True)
class SeedMean:
    """The mean score of several seeds on one test set."""

    task: str
    language: str
    source: str
    """The language of the labels that were learned."""
    metric: str
    method: str
    condition: str
    seeds: tuple[int, ...]
    score: float
    """The mean of the seeds' scores."""
    deviation: float
    """Their standard deviation (n - 1)."""
    low: float
    """Lower end of the mean's 95 % interval: the same sentences are drawn again for all seeds."""
    high: float
    """Upper end of it."""


Place = tuple[str, str, str, str, str, str]
"""Task, source, metric, method, language and condition."""
MEAN_COLUMNS = ("num_seeds", "mean", "mean_deviation", "mean_low", "mean_high")
"""What a table of scores says of the mean over the seeds, in each of their rows."""


def results_to_json(results: Iterable[Result]) -> str:
    """Write results as a JSON list of objects, in their order.

    A number that JSON has no word for is written as `"NaN"`, `"Infinity"` or `"-Infinity"`.

    Args:
        results: The rows.
    """
    rows = [{name: _plain(value) for name, value in asdict(result).items()} for result in results]
    return json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def results_to_csv(results: Iterable[Result], *, means: Sequence[SeedMean] | None = None) -> str:
    """Write results as comma-separated values under a line of names, in their order.

    What is absent is an empty cell; the F1 of each type stands as `LOC=0.5 PER=0.75`, and notes after one
    another.

    Args:
        results: The rows.
        means: The means over seeds, which stand in further columns of each row that is one of theirs; None leaves
            these columns out.
    """
    text = io.StringIO()
    names = [item.name for item in fields(Result)]
    names += [] if means is None else MEAN_COLUMNS
    by_place = {find_place(mean): mean for mean in means or ()}
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for result in results:
        row = asdict(result)
        row["by_type"] = " ".join(f"{name}={score.f1!r}" for name, score in result.by_type.items())
        row["notes"] = " ".join(result.notes)
        mean = by_place.get(find_place(result))
        if mean is not None and result.seed in mean.seeds:
            values = (len(mean.seeds), mean.score, mean.deviation, mean.low, mean.high)
            row |= dict(zip(MEAN_COLUMNS, values, strict=True))
        writer.writerow(row)
    return text.getvalue()


def find_place(row: Result | SeedMean) -> Place:
    """Give what tells scores apart that differ in their seeds alone, and the means over these."""
    return row.task, row.source, row.metric, row.method, row.language, row.condition


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
