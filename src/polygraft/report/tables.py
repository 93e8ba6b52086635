"""The tables of a report: scores by language and condition, and what grafts cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polygraft.report.cells import (
    DASH,
    Cell,
    Table,
    bytes_cell,
    count_cell,
    format_interval,
    seconds_cell,
    share_cell,
)
from polygraft.report.languages import language_name
from polygraft.report.numbers import format_bytes, format_difference, format_score, format_share
from polygraft.report.scores import TARGET, Comparison, Grid, GridCell, compare, compare_target
from polygraft.report.spreads import format_spread
from polygraft.report.summary import BaseSummary, GraftSummary

NOTHING = "nothing to find"
"""Stands under the scores of a test set without any entity."""


def transfer_table(grid: Grid, *, ident: str) -> Table:
    """Lay out a grid with each language's best score marked."""
    gains = {comparison.language: comparison for comparison in compare_target(grid)}
    columns = ["Language", *grid.conditions, *(["Gain of target"] if gains else [])]
    rows: list[tuple[Cell, ...]] = []
    for language in grid.languages:
        cells = [_language_cell(language, grid)]
        cells += [_score_cell(grid, language, condition) for condition in grid.conditions]
        gain = gains.get(language)
        if gain is not None:
            cells.append(_gain_cell(gain, metric=grid.metric))
        elif gains:
            cells.append(Cell(text=DASH, note="source" if language == grid.source else None))
        present = [grid.cells[language, c] for c in grid.conditions if (language, c) in grid.cells]
        cells.append(count_cell(max(cell.num_sentences for cell in present)))
        cells.append(count_cell(max(cell.num_gold for cell in present)))
        rows.append(tuple(cells))
    names = (*columns, "Sentences", "Gold items")
    return Table(
        ident=ident,
        caption=f"{grid.title}: {describe_metric(grid.metric)} by language and condition",
        columns=names,
        numeric=(False, *(True for _ in names[1:])),
        rows=tuple(rows),
        foot=_mean_row(grid, num_columns=len(names)),
    )


def gain_table(grid: Grid, *, ident: str) -> Table | None:
    """Lay out what the target's graft gains over each other condition; None where no gain was measured."""
    gains = [gain for gain in grid.gains if gain.condition == TARGET]
    others = tuple(c for c in grid.conditions if any(gain.other == c for gain in gains))
    languages = tuple(c for c in grid.targets if any(gain.language == c for gain in gains))
    if not others or not languages:
        return None
    rows = tuple(
        (_language_cell(language, grid), *(paired_cell(grid, language, other) for other in others))
        for language in languages
    )
    return Table(
        ident=ident,
        caption=f"{grid.title}: what the target\u2019s graft gains over each other condition, on the same sentences",
        columns=("Language", *(f"Over {other}" for other in others)),
        numeric=(False, *(True for _ in others)),
        rows=rows,
    )


def cost_table(grafts: Sequence[GraftSummary], *, base: BaseSummary) -> Table:
    """Lay out what each graft cost to train and costs to keep."""
    columns = (
        "Graft",
        "Parts",
        "Trained parameters",
        "Bytes stored",
        "Of a full copy",
        "Steps",
        "Time",
        "Tokens/s",
        "Padding",
        "Looked up",
        "Peak memory",
    )
    rows = tuple(_cost_row(graft, base=base) for graft in grafts)
    foot = (
        Cell(text="All"),
        Cell(text=""),
        count_cell(sum(graft.num_parameters for graft in grafts)),
        bytes_cell(sum(graft.num_bytes for graft in grafts)),
        share_cell(sum(graft.num_bytes for graft in grafts), base.num_bytes),
        count_cell(sum(graft.steps for graft in grafts)),
        seconds_cell(sum(graft.seconds for graft in grafts)),
        Cell(text=""),
        Cell(text=""),
        Cell(text=""),
        bytes_cell(max((graft.peak_memory_bytes for graft in grafts), default=0)),
    )
    return Table(
        ident="cost",
        caption="What each graft cost to train and costs to keep",
        columns=columns,
        numeric=(False, False, *(True for _ in columns[2:])),
        rows=rows,
        foot=foot if len(rows) > 1 else None,
    )


def storage_table(grafts: Sequence[GraftSummary], *, base: BaseSummary) -> Table | None:
    """Compare N tasks as grafts on one base with N full copies; None without a task graft.

    Tasks that share one set of weights have room for few, and no two are of one size: None for these, too.
    """
    tasks = [graft for graft in grafts if graft.role == "task"]
    if not tasks or base.num_bytes <= 0 or any(graft.packed is not None for graft in tasks):
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
                bytes_cell(with_grafts),
                bytes_cell(copies),
                share_cell(with_grafts, copies),
            )
        )
    return Table(
        ident="storage",
        caption="N tasks as grafts on one base, and as N full copies",
        columns=("Tasks", "One base and its grafts", "Full copies", "Grafts against copies"),
        numeric=(True, True, True, True),
        rows=tuple(rows),
    )


def _cost_row(graft: GraftSummary, *, base: BaseSummary) -> tuple[Cell, ...]:
    return (
        Cell(text=graft.name, code=True, note=_describe_graft(graft)),
        Cell(text=", ".join(graft.kinds)),
        count_cell(graft.num_parameters),
        bytes_cell(graft.num_bytes),
        share_cell(graft.num_bytes, base.num_bytes),
        count_cell(graft.steps),
        seconds_cell(graft.seconds),
        count_cell(graft.tokens_per_second),
        _share_of_one_cell(graft.padding),
        _lookup_cell(graft),
        _memory_cell(graft),
    )


def _share_of_one_cell(share: float | None, *, note: str | None = None) -> Cell:
    return Cell(text=DASH) if share is None else Cell(text=format_share(share), value=share, note=note)


def _lookup_cell(graft: GraftSummary) -> Cell:
    kept = (graft.cache_memory_bytes or 0) + (graft.cache_file_bytes or 0)
    return _share_of_one_cell(graft.looked_up, note=f"{format_bytes(kept)} kept" if kept else None)


def _memory_cell(graft: GraftSummary) -> Cell:
    cell, above = bytes_cell(graft.peak_memory_bytes), graft.peak_memory_above_start_bytes
    return cell if above is None else replace(cell, note=f"{format_bytes(above)} above the start")


def _describe_graft(graft: GraftSummary) -> str:
    return f"{graft.role}, {language_name(graft.language)}" if graft.language else graft.role


def _language_cell(language: str, grid: Grid) -> Cell:
    note = f"{language}, source" if language == grid.source else language
    return Cell(text=language_name(language), value=language_name(language), note=note)


def _score_cell(grid: Grid, language: str, condition: str) -> Cell:
    cell = grid.cells.get((language, condition))
    if cell is None or language in grid.empty:
        return Cell(text=DASH, note=None if cell is None else NOTHING)
    return Cell(
        text=format_score(cell.score, metric=grid.metric),
        value=cell.score,
        note=_cell_note(cell, metric=grid.metric),
        best=grid.is_best(language, condition),
    )


def _gain_cell(gain: Comparison, *, metric: str) -> Cell:
    words = {None: "", True: ", clear", False: ", may be chance"}[gain.is_clear]
    text = format_difference(gain.gain, metric=metric)
    return Cell(text=text, value=gain.gain, note=f"against {gain.other}{words}")


def paired_cell(grid: Grid, language: str, other: str, *, condition: str = TARGET) -> Cell:
    """Show what a condition gains over another one, with the interval; a dash where that was not measured."""
    found = compare(grid, language, other, condition=condition)
    if found is None or found.low is None or found.high is None:
        return Cell(text=DASH)
    low, high = (format_difference(end, metric=grid.metric) for end in (found.low, found.high))
    return Cell(
        text=format_difference(found.gain, metric=grid.metric),
        value=found.gain,
        note=f"{low} to {high}",
        best=found.low > 0,
    )


def _cell_note(cell: GridCell, *, metric: str) -> str | None:
    interval = format_interval(cell.low, cell.high, metric=metric)
    if cell.deviation is None:
        return interval
    deviation = f"\u00b1 {format_score(cell.deviation, metric=metric)}"
    words = [
        deviation,
        interval and f"{interval}{' at widest' if cell.is_widest else ''}",
        f"{cell.num_seeds} seeds",
    ]
    return "\n".join(word for word in words if word)


def _mean_row(grid: Grid, *, num_columns: int) -> tuple[Cell, ...] | None:
    if len(grid.targets) < 2:
        return None
    cells = [Cell(text="Mean of the targets", note=f"{len(grid.targets)} languages")]
    for condition in grid.conditions:
        mean = grid.mean(condition, languages=grid.targets)
        spread = grid.spread(condition, languages=grid.targets)
        cells.append(
            Cell(
                text=DASH if mean is None else format_score(mean, metric=grid.metric),
                value=mean,
                note=None if spread is None else format_spread(spread, metric=grid.metric, between="\n"),
            )
        )
    return (*cells, *(Cell(text="") for _ in range(num_columns - len(cells))))


def describe_metric(metric: str) -> str:
    """Say what a metric is, and its range."""
    words = {
        "f1": "entity F1 (0 to 100)",
        "accuracy": "accuracy (0 to 100)",
        "loss": "loss (lower is better)",
    }
    return words.get(metric, metric)
