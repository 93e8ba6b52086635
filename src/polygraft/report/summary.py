"""What a run did and what came out, in one value that a report can be written from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from polygraft.errors import DataError
from polygraft.evaluate.gain import Gain
from polygraft.evaluate.result import Result
from polygraft.report.reader import from_plain, to_plain

SCHEMA = 2
"""The version of the file's form that this polygraft writes and reads."""


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
class GraftSummary:
    """One graft that a run trained or took from the store, with what it cost."""

    name: str
    version: int
    role: str
    """One of head, language and task."""
    language: str | None
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
    steps: int
    curve: tuple[Mapping[str, float], ...]
    """Points {"step", "loss", "dev"}; "dev" is a score (0..1) for a task graft, else a loss."""
    scores: Mapping[str, float]
    sha256: str | None = None
    """Digest of the stored tensors."""


@dataclass(frozen=True, kw_only=True)
class ExampleSummary:
    """One tagged sentence: what the file says, and what was predicted under each condition."""

    language: str
    tokens: tuple[str, ...]
    gold: tuple[str, ...] | None
    predicted: Mapping[str, tuple[str, ...]]


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
    gains: tuple[Gain, ...] = ()
    """How the target's graft compares with every other condition, sentence by sentence."""
    examples: tuple[ExampleSummary, ...]
    versions: Mapping[str, str]
    machine: Mapping[str, str | int | float | bool | None]
    seconds: float
    predicted_seconds: float | None
    """What the run was expected to take, where that was worked out beforehand."""
    notes: tuple[str, ...]


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
    if schema != SCHEMA:
        raise DataError(
            f"The run summary has schema {schema!r}; this polygraft reads schema {SCHEMA}. "
            "Read it with the polygraft that wrote it, or run the recipe again."
        )
    return cast("RunSummary", from_plain(value, RunSummary, place="summary"))
