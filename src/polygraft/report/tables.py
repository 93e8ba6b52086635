"""The tables of a report, as values: what stands in each cell, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polygraft.report.languages import language_name
from polygraft.report.numbers import (
    format_bytes,
    format_count,
    format_score,
    format_seconds,
    format_share,
)
from polygraft.report.scores import Grid, GridCell, compare_target
from polygraft.report.summary import BaseSummary, GraftSummary, RunSummary
from polygraft.report.words import describe_comparison

DASH = "\u2013"
"""Stands where there is no value."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its text, a smaller second line, and its value for sorting."""

    text: str
    value: float | str | None = None
    """What the column is sorted by; None sorts last."""
    note: str | None = None
    best: bool = False
    code: bool = False
    """Whether it is set in a fixed-width face."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a caption; the first cell of each row is its head."""

    ident: str
    caption: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    """Which columns hold numbers: set flush right, first sorted from large to small."""
    rows: tuple[tuple[Cell, ...], ...]
    foot: tuple[Cell, ...] | None = None


def transfer_table(grid: Grid, *, ident: str) -> Table:
    """Lay out a grid with each language's best score marked."""
    gains = {comparison.language: comparison for comparison in compare_target(grid)}
    columns = ["Language", *grid.conditions, *(["target against the best other"] if gains else [])]
    rows: list[tuple[Cell, ...]] = []
    for language in grid.languages:
        cells = [_language_cell(language, grid)]
        cells += [_score_cell(grid, language, condition) for condition in grid.conditions]
        gain = gains.get(language)
        if gain is not None:
            words, _, note = describe_comparison(gain, metric=grid.metric).partition(", ")
            cells.append(Cell(text=words, value=gain.gain, note=note or None))
        elif gains:
            cells.append(Cell(text=DASH, note="source" if language == grid.source else None))
        present = [grid.cells[language, c] for c in grid.conditions if (language, c) in grid.cells]
        cells.append(_count_cell(max(cell.num_sentences for cell in present)))
        cells.append(_count_cell(max(cell.num_gold for cell in present)))
        rows.append(tuple(cells))
    names = (*columns, "sentences", "gold items")
    return Table(
        ident=ident,
        caption=f"{grid.task}: {_metric_words(grid.metric)} by language and condition",
        columns=names,
        numeric=(False, *(True for _ in names[1:])),
        rows=tuple(rows),
        foot=_mean_row(grid, num_columns=len(names)),
    )


def cost_table(grafts: Sequence[GraftSummary], *, base: BaseSummary) -> Table:
    """Lay out what each graft cost to train and costs to keep."""
    columns = (
        "Graft",
        "role",
        "parts",
        "trained parameters",
        "bytes stored",
        "of a full copy",
        "steps",
        "time",
        "tokens/s",
        "peak memory",
    )
    rows = tuple(_cost_row(graft, base=base) for graft in grafts)
    foot = (
        Cell(text="All"),
        Cell(text=""),
        Cell(text=""),
        _count_cell(sum(graft.num_parameters for graft in grafts)),
        _bytes_cell(sum(graft.num_bytes for graft in grafts)),
        _share_cell(sum(graft.num_bytes for graft in grafts), base.num_bytes),
        _count_cell(sum(graft.steps for graft in grafts)),
        _seconds_cell(sum(graft.seconds for graft in grafts)),
        Cell(text=""),
        _bytes_cell(max((graft.peak_memory_bytes for graft in grafts), default=0)),
    )
    return Table(
        ident="cost",
        caption="What each graft cost to train and costs to keep",
        columns=columns,
        numeric=(False, False, False, *(True for _ in columns[3:])),
        rows=rows,
        foot=foot if len(rows) > 1 else None,
    )


def storage_table(grafts: Sequence[GraftSummary], *, base: BaseSummary) -> Table | None:
    """Compare N tasks as grafts on one base with N full copies; None without a task graft."""
    tasks = [graft for graft in grafts if graft.role == "task"]
    if not tasks or base.num_bytes <= 0:
        return None
    each = sum(graft.num_bytes for graft in tasks) / len(tasks)
    shared = sum(graft.num_bytes for graft in grafts if graft.role != "task")
    rows: list[tuple[Cell, ...]] = []
    for count in sorted({1, 10, 100, len(tasks)}):
        with_grafts = base.num_bytes + shared + count * each
        copies = count * base.num_bytes
        rows.append(
            (
                Cell(text=f"{count:,}", value=count),
                _bytes_cell(with_grafts),
                _bytes_cell(copies),
                _share_cell(with_grafts, copies),
            )
        )
    return Table(
        ident="storage",
        caption="N tasks as grafts on one base, and as N full copies",
        columns=("Tasks", "one base and its grafts", "full copies", "grafts against copies"),
        numeric=(True, True, True, True),
        rows=tuple(rows),
    )


def result_table(summary: RunSummary) -> Table:
    """List every result with all its numbers."""
    columns = (
        "Language",
        "task",
        "condition",
        "plan",
        "metric",
        "score",
        "95 % interval",
        "precision",
        "recall",
        "sentences",
        "gold items",
        "tokens/s",
        "seed",
        "notes",
    )
    rows = tuple(
        (
            Cell(text=f"{language_name(r.language)}", value=language_name(r.language)),
            Cell(text=r.task),
            Cell(text=r.condition),
            Cell(text=r.plan, code=True),
            Cell(text=r.metric),
            Cell(text=format_score(r.score, metric=r.metric), value=r.score),
            Cell(text=_interval(r.low, r.high, metric=r.metric) or DASH, value=r.low),
            _plain_score(r.precision),
            _plain_score(r.recall),
            _count_cell(r.num_sentences),
            _count_cell(r.num_gold),
            _count_cell(r.tokens_per_second),
            Cell(text=str(r.seed), value=r.seed),
            Cell(text=" ".join(r.notes)),
        )
        for r in summary.results
    )
    numeric = (*(False for _ in range(5)), *(True for _ in range(8)), False)
    return Table(ident="results", caption="Every result", columns=columns, numeric=numeric, rows=rows)


def graft_table(grafts: Sequence[GraftSummary]) -> Table:
    """List the grafts with the version and digest by which they can be found again."""
    rows = tuple(
        (
            Cell(text=graft.name, code=True),
            Cell(text=str(graft.version), value=graft.version),
            Cell(text=language_name(graft.language) if graft.language else DASH),
            Cell(text=graft.plan or DASH, code=graft.plan is not None),
            Cell(text=_scores(graft) or DASH),
            Cell(text=graft.sha256 or DASH, code=graft.sha256 is not None),
        )
        for graft in grafts
    )
    return Table(
        ident="grafts",
        caption="The grafts, as they stand in the store",
        columns=("Graft", "version", "language", "trained under", "scores", "sha256"),
        numeric=(False, True, False, False, False, False),
        rows=rows,
    )


def _cost_row(graft: GraftSummary, *, base: BaseSummary) -> tuple[Cell, ...]:
    share = format_share(graft.num_parameters / base.num_parameters) if base.num_parameters else None
    return (
        Cell(text=graft.name, code=True, note=language_name(graft.language) if graft.language else None),
        Cell(text=graft.role),
        Cell(text=", ".join(graft.kinds)),
        Cell(
            text=format_count(graft.num_parameters),
            value=graft.num_parameters,
            note=f"{share} of the base" if share else None,
        ),
        _bytes_cell(graft.num_bytes),
        _share_cell(graft.num_bytes, base.num_bytes),
        _count_cell(graft.steps),
        _seconds_cell(graft.seconds),
        _count_cell(graft.tokens_per_second),
        _bytes_cell(graft.peak_memory_bytes),
    )


def _language_cell(language: str, grid: Grid) -> Cell:
    note = f"{language}, source" if language == grid.source else language
    return Cell(text=language_name(language), value=language_name(language), note=note)


def _score_cell(grid: Grid, language: str, condition: str) -> Cell:
    cell = grid.cells.get((language, condition))
    if cell is None:
        return Cell(text=DASH)
    return Cell(
        text=format_score(cell.score, metric=grid.metric),
        value=cell.score,
        note=_cell_note(cell, metric=grid.metric),
        best=grid.is_best(language, condition),
    )


def _cell_note(cell: GridCell, *, metric: str) -> str | None:
    seeds = f"{cell.num_seeds} seeds" if cell.num_seeds > 1 else None
    words = [word for word in (_interval(cell.low, cell.high, metric=metric), seeds) if word]
    return ", ".join(words) or None


def _interval(low: float | None, high: float | None, *, metric: str) -> str | None:
    if low is None or high is None:
        return None
    return f"{format_score(low, metric=metric)}\u2013{format_score(high, metric=metric)}"


def _mean_row(grid: Grid, *, num_columns: int) -> tuple[Cell, ...] | None:
    if len(grid.targets) < 2:
        return None
    cells = [Cell(text="Mean of the targets", note=f"{len(grid.targets)} languages")]
    for condition in grid.conditions:
        mean = grid.mean(condition, languages=grid.targets)
        cells.append(Cell(text=DASH if mean is None else format_score(mean, metric=grid.metric), value=mean))
    return (*cells, *(Cell(text="") for _ in range(num_columns - len(cells))))


def _metric_words(metric: str) -> str:
    words = {
        "f1": "entity F1 (0 to 100)",
        "accuracy": "accuracy (0 to 100)",
        "loss": "loss (lower is better)",
    }
    return words.get(metric, metric)


def _scores(graft: GraftSummary) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in graft.scores.items())


def _plain_score(score: float | None) -> Cell:
    return Cell(text=DASH) if score is None else Cell(text=format_score(score, metric="f1"), value=score)


def _count_cell(count: float) -> Cell:
    return Cell(text=format_count(count) if count else DASH, value=count)


def _bytes_cell(num_bytes: float) -> Cell:
    return Cell(text=format_bytes(num_bytes) if num_bytes else DASH, value=num_bytes)


def _seconds_cell(seconds: float) -> Cell:
    return Cell(text=format_seconds(seconds) if seconds else DASH, value=seconds)


def _share_cell(part: float, whole: float) -> Cell:
    return Cell(text=format_share(part / whole), value=part / whole) if whole else Cell(text=DASH)
