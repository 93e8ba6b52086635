"""The table of methods: scores by language, and what each costs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from polygraft.report.cells import DASH, Cell, Table, bytes_cell, count_cell, seconds_cell
from polygraft.report.costs import MethodCost
from polygraft.report.languages import language_name
from polygraft.report.methods import MethodGrid, MethodRow
from polygraft.report.numbers import format_bytes, format_count, format_score, format_seconds
from polygraft.report.rivals import list_close
from polygraft.report.spreads import Spread, format_spread
from polygraft.report.tables import NOTHING, describe_metric

COSTS = (
    "Trained parameters",
    "Stored a task",
    "Stored in all",
    "Training",
    "Tokens/s",
    "Peak memory",
    "A sentence",
)
MEAN = "Mean of the targets"


def method_table(grid: MethodGrid, *, ident: str) -> Table:
    """Lay out a grid with a row a method, rows of its conditions under it, and its costs beside it."""
    has_mean = len(grid.targets) > 1
    close = list_close(grid)
    rows: list[tuple[Cell, ...]] = []
    for row in grid.rows:
        rows.append(_build_row(grid, row, has_mean=has_mean, close=close))
        rows += [
            _build_row(grid, each, has_mean=has_mean, close=close)
            for each in grid.conditions.get(row.method, ())
        ]
    columns = ("Method", *map(language_name, grid.languages), *([MEAN] if has_mean else []), *COSTS)
    return Table(
        ident=ident,
        caption=f"{grid.title}: {describe_metric(grid.metric)} and cost by method",
        columns=columns,
        numeric=(False, *(True for _ in columns[1:])),
        rows=tuple(rows),
    )


def explain_costs(grids: Sequence[MethodGrid]) -> str:
    """Say in words what the columns of costs count, and what N is."""
    counts = sorted({row.cost.num_served for grid in grids for row in grid.rows if row.cost is not None})
    number = " or ".join(map(str, counts)) if counts else "the number"
    copies = [row for grid in grids for row in grid.rows if row.cost is not None and row.cost.goes_on]
    sentences = [
        "Trained parameters and stored a task: of the task\u2019s graft, or of its copy; what a method has for each "
        "language on top is said below.",
        f"Stored in all: what has to be kept to serve all N = {number} pairs of a task and a test language of the run: "
        "the base once with every graft, or every full copy. A task that is learned from the labels of two languages "
        "counts as two.",
        "Training, tokens a second and peak memory (what came on top of the start) are of the task\u2019s training; a "
        "sentence is the time of one prediction, all sentences of the test sets taken together. All are means over the "
        "seeds, the memory is the most of any.",
    ]
    if copies:
        names = ", ".join(dict.fromkeys(f"\u2018{row.method}\u2019" for row in copies))
        sentences.append(
            f"{names} keeps one copy for all tasks, as it is after the last one; the small heads of the earlier tasks "
            "are not counted."
        )
    return " ".join(sentences)


def _build_row(
    grid: MethodGrid, row: MethodRow, *, has_mean: bool, close: Collection[tuple[str, str]]
) -> tuple[Cell, ...]:
    head = (
        Cell(text=row.condition, is_under=True) if row.condition else Cell(text=row.method, value=row.method)
    )
    cells = [_score_cell(grid, row, language, close=close) for language in grid.languages]
    if has_mean:
        best = None if row.condition else grid.best_mean()
        is_best = best is not None and best.mean is not None and row.mean == best.mean
        cells.append(replace(_spread_cell(row.mean, metric=grid.metric), best=is_best))
    return (head, *cells, *(_list_costs(row.cost)))


def _score_cell(
    grid: MethodGrid, row: MethodRow, language: str, *, close: Collection[tuple[str, str]]
) -> Cell:
    spread = row.cells.get(language)
    if spread is not None and language in grid.empty:
        return Cell(text=DASH, note=NOTHING)
    cell = _spread_cell(spread, metric=grid.metric)
    best = grid.best(language)
    if row.condition or spread is None or best is None:
        return cell
    is_best = spread.score == best.cells[language].score
    return replace(cell, best=is_best, is_close=not is_best and (language, row.method) in close)


def _spread_cell(spread: Spread | None, *, metric: str) -> Cell:
    if spread is None:
        return Cell(text=DASH)
    return Cell(
        text=format_score(spread.score, metric=metric),
        value=spread.score,
        note=format_spread(spread, metric=metric, between="\n"),
    )


def _list_costs(cost: MethodCost | None) -> tuple[Cell, ...]:
    if cost is None:
        return tuple(Cell(text="") for _ in COSTS)
    peak, latency = cost.peak_memory_above_start_bytes, cost.seconds_per_sentence
    each = format_count(cost.language_parameters), format_bytes(cost.language_bytes)
    spent = format_seconds(cost.language_seconds)
    return (
        _add_note(count_cell(cost.num_parameters), f"+ {each[0]}\na language", cost=cost),
        _add_note(bytes_cell(cost.num_bytes), f"+ {each[1]}\na language", cost=cost),
        replace(bytes_cell(cost.total_bytes), note="one copy" if cost.goes_on else None),
        _add_note(
            seconds_cell(cost.seconds), f"+ {spent} for\n{cost.num_languages:.0f} languages", cost=cost
        ),
        count_cell(cost.tokens_per_second),
        Cell(text=DASH) if peak is None else Cell(text=format_bytes(peak), value=peak),
        Cell(text=DASH) if latency is None else Cell(text=f"{1000 * latency:.3g} ms", value=latency),
    )


def _add_note(cell: Cell, note: str, *, cost: MethodCost) -> Cell:
    return replace(cell, note=note) if cost.num_languages else cell
