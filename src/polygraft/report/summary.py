"""What a run did and what came out, in one value that a report can be written from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from polygraft.errors import DataError
from polygraft.evaluate.contest import Contest
from polygraft.evaluate.gain import Gain
from polygraft.evaluate.language_loss import TextLosses
from polygraft.evaluate.overlap import Overlap
from polygraft.evaluate.result import Result, SeedMean
from polygraft.report.reader import from_plain, to_plain

SCHEMA = 5
"""The version of the file's form that this polygraft writes."""
READ = (2, 3, 4, SCHEMA)
"""The versions that it reads: 2 knows nothing of padding, of what was looked up, and of memory above the start; 3
knows nothing of methods, sources and seeds; 4 has no means over seeds and does not say how examples are scored."""


@dataclass(frozen=True, kw_only=True)
class BaseSummary:
    """The frozen base of a run."""

    name: str
    fingerprint: str
    num_parameters: int
    num_bytes: int
    """Size of one full copy, as it would be stored."""
    family: str


@dataclass(frozen=True, kw_only=True)
class PackedSummary:
    """What a task took of a set of weights that several tasks share."""

    own: int
    """Weights that are its own."""
    total: int
    """Weights of the whole set."""
    left: float
    """Share of the set that is free after it."""

    @property
    def share(self) -> float:
        """Its own share of the set."""
        return self.own / self.total if self.total else 0.0


@dataclass(frozen=True, kw_only=True)
class GraftSummary:
    """One graft that a run trained or took from the store, with what it cost."""

    name: str
    version: int
    role: str
    """One of head, language and task."""
    language: str | None
    task: str | None = None
    """The task that a task's graft is for."""
    method: str = ""
    """The method that made it, where several are compared."""
    seed: int | None = None
    """Of its training."""
    is_copy: bool = False
    """Whether it is a full copy of the base, in the run's folder."""
    after: str | None = None
    """The graft from whose values it went on: one copy that learns one task after the other."""
    plan: str | None
    """The plan it was trained under."""
    kinds: tuple[str, ...]
    """The kinds of its parts, in order."""
    num_parameters: int
    num_bytes: int
    seconds: float
    tokens: int
    tokens_per_second: float
    peak_memory_bytes: int
    """Largest resident size of the process while it was trained."""
    peak_memory_above_start_bytes: int | None = None
    """How much of that came on top of what was there at the start."""
    padding: float | None = None
    """Share of padding among the tokens of all batches."""
    looked_up: float | None = None
    """Share of the batches whose frozen layers were looked up; None where nothing is kept."""
    cache_memory_bytes: int | None = None
    """What was kept of them in memory."""
    cache_file_bytes: int | None = None
    """The same in memory-mapped files."""
    steps: int
    curve: tuple[Mapping[str, float], ...]
    """Points {"step", "loss", "dev"}; "dev" is a score (0..1) for a task graft, else a loss."""
    scores: Mapping[str, float]
    sha256: str | None = None
    """Digest of the stored tensors."""
    levels: tuple[Mapping[str, float], ...] = ()
    """Of a graft that was pruned level by level, the levels {"sparsity", "score", "when_cut"}, as in `curve`."""
    packed: PackedSummary | None = None
    """Of a task that was packed with others into one set of weights, what it took."""


@dataclass(frozen=True, kw_only=True)
class ExampleSummary:
    """One tagged sentence or labelled text: what the file says, and what was predicted under each condition."""

    language: str
    tokens: tuple[str, ...]
    """The words; of a text with one label, the text alone."""
    gold: tuple[str, ...] | None
    predicted: Mapping[str, tuple[str, ...]]
    task: str = ""
    source: str = ""
    """The language of the labels that were learned."""
    method: str = ""
    """The method whose conditions these are, where several are compared."""
    metric: str = ""
    """How the task is scored: `f1` of spans, or `accuracy` of labels; empty in older files."""
    is_text: bool = False
    """Whether it is a text with one label, rather than words with one each."""


@dataclass(frozen=True, kw_only=True)
class StepSummary:
    """What a step of a run was expected to take, and what it took; None where it is not known or nothing was done."""

    name: str
    kind: str
    """One of mlm, language, losses, task, evaluate and recheck."""
    predicted_seconds: float | None = None
    seconds: float | None = None
    predicted_memory_bytes: int | None = None
    """The largest resident size of the process."""
    memory_bytes: int | None = None
    predicted_bytes: int | None = None
    """What stays on disk: the tensors of its grafts, or its scores."""
    num_bytes: int | None = None
    is_bound: bool = False
    """Whether training could stop early, so that the prediction is the most that it takes."""
    sittings: tuple[str, ...] = ()
    """When the runs began in which it was worked on, ISO 8601."""
    digest: str = ""
    """Of everything that it depends on."""
    family: str = ""
    """The same without the seed, of steps of tasks: equal for all seeds of one method."""
    method: str = ""
    """The method that it belongs to, where several are compared."""
    seed: int | None = None
    task: str = ""
    """What results call its task."""
    source: str = ""
    """The language of the task's labels."""


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """A file or dataset that a run used."""

    use: str
    """One of text, train, dev and test."""
    task: str = ""
    """What results call the task whose data it is; empty for a language's text."""
    source: str = ""
    """The language of the task's labels."""
    language: str
    """The language of what it holds."""
    file: str
    """Its name, without where it lies; or the address of a dataset."""
    sha256: str
    """Of its bytes; of a dataset's rows."""
    digest: str
    """Of what is read from it: its content, and how that is read."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A whole run: recipe, base, grafts, results, examples, and where it ran."""

    schema: int = SCHEMA
    name: str
    created: str
    """ISO 8601, UTC."""
    recipe_text: str
    command: str
    base: BaseSummary
    grafts: tuple[GraftSummary, ...]
    results: tuple[Result, ...]
    rechecks: tuple[Result, ...] = ()
    """Scores of earlier tasks after a later one was learned."""
    means: tuple[SeedMean, ...] = ()
    """The mean over the seeds of every score that several seeds have, with the interval of the mean."""
    gains: tuple[Gain, ...] = ()
    """How the target's graft compares with every other condition, sentence by sentence; in languages without a graft,
    how those of others compare with none."""
    overlaps: tuple[Overlap, ...] = ()
    """How alike each test is with the languages' texts, where the nearest one was looked for."""
    contests: tuple[Contest, ...] = ()
    """How every two methods compare in each test set, where several are compared."""
    text_losses: tuple[TextLosses, ...] = ()
    """How well the languages' texts are guessed with each language graft, where that was measured."""
    examples: tuple[ExampleSummary, ...]
    versions: Mapping[str, str]
    machine: Mapping[str, str | int | float | bool | None]
    seconds: float
    """What its steps took, those of earlier sittings among them."""
    predicted_seconds: float | None
    """What these were expected to take, where that was worked out beforehand."""
    num_sittings: int = 1
    """In how many runs of the recipe they were done."""
    notes: tuple[str, ...]
    steps: tuple[StepSummary, ...] = ()
    """All steps of the recipe, in order."""
    data: tuple[DataSummary, ...] = ()
    """The files that it used."""


def summary_to_json(summary: RunSummary) -> str:
    """Write a summary as JSON; equal summaries give equal text."""
    return json.dumps(to_plain(summary), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def summary_from_json(text: str) -> RunSummary:
    """Read what `summary_to_json` wrote.

    Raises:
        DataError: The text is no JSON, has another schema, an unknown or missing key, or a wrong type.
    """
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"The run summary is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "It should be the results.json of a run. Write it again with `polygraft run`."
        ) from error
    schema = cast("dict[str, Any]", value).get("schema", SCHEMA) if isinstance(value, dict) else SCHEMA
    if isinstance(schema, bool) or schema not in READ:
        raise DataError(
            f"The run summary has schema {schema!r}; this polygraft reads schemas {READ[0]} to {SCHEMA}. "
            "Read it with the polygraft that wrote it, or run the recipe again."
        )
    summary = cast("RunSummary", from_plain(value, RunSummary, place="summary"))
    return dataclasses.replace(summary, schema=SCHEMA)
