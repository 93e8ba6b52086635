"""The long tables at the end of a report: every result, scores by type, and the grafts."""

from __future__ import annotations

from collections.abc import Sequence

from polygraft.evaluate.result import Result
from polygraft.report.cells import DASH, Cell, Table, count_cell, format_interval, perplexity_cell, score_cell
from polygraft.report.languages import language_name
from polygraft.report.numbers import format_score
from polygraft.report.scores import Grid
from polygraft.report.summary import GraftSummary


def result_table(results: Sequence[Result]) -> Table:
    """List every result with all its numbers; macro-F1 and perplexity where a result has them."""
    extras = {
        "Macro-F1": [score_cell(r.macro_f1) for r in results],
        "Perplexity": [perplexity_cell(r.perplexity) for r in results],
    }
    extras = {name: cells for name, cells in extras.items() if any(cell.value is not None for cell in cells)}
    columns = (
        "Language",
        "Task",
        "Condition",
        "Plan",
        "Metric",
        "Score",
        "95 % interval",
        "Precision",
        "Recall",
        *extras,
        "Sentences",
        "Gold items",
        "Tokens/s",
        "Seed",
        "Notes",
    )
    rows = tuple(
        (
            Cell(text=language_name(r.language), value=language_name(r.language)),
            Cell(text=r.task),
            Cell(text=r.condition),
            Cell(text=r.plan, code=True),
            Cell(text=r.metric),
            Cell(text=format_score(r.score, metric=r.metric), value=r.score),
            Cell(text=format_interval(r.low, r.high, metric=r.metric) or DASH, value=r.low),
            score_cell(r.precision),
            score_cell(r.recall),
            *(cells[number] for cells in extras.values()),
            count_cell(r.num_sentences),
            count_cell(r.num_gold),
            count_cell(r.tokens_per_second),
            Cell(text=str(r.seed), value=r.seed),
            Cell(text=" ".join(r.notes)),
        )
        for number, r in enumerate(results)
    )
    numeric = (*(False for _ in range(5)), *(True for _ in columns[6:]), False)
    return Table(ident="results", caption="Every result", columns=columns, numeric=numeric, rows=rows)


def type_table(grid: Grid, *, results: Sequence[Result], ident: str) -> Table | None:
    """Lay out the F1 of each entity type or label, or give None where no result has them."""
    rows_of = [r for r in results if r.task == grid.task and r.metric == grid.metric and r.by_type]
    types = sorted({name for result in rows_of for name in result.by_type})
    if not types:
        return None
    rows = tuple(
        (
            Cell(text=language_name(r.language), value=language_name(r.language)),
            Cell(text=r.condition),
            *(_type_cell(r, name) for name in types),
        )
        for r in rows_of
    )
    return Table(
        ident=ident,
        caption=f"{grid.task}: F1 by type, with the number of gold items",
        columns=("Language", "Condition", *types),
        numeric=(False, False, *(True for _ in types)),
        rows=rows,
    )


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
        columns=("Graft", "Version", "Language", "Trained under", "Scores", "sha256"),
        numeric=(False, True, False, False, False, False),
        rows=rows,
    )


def _type_cell(result: Result, name: str) -> Cell:
    score = result.by_type.get(name)
    if score is None:
        return Cell(text=DASH)
    return Cell(text=format_score(score.f1, metric="f1"), value=score.f1, note=f"{score.num_gold:,}")


def _scores(graft: GraftSummary) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in graft.scores.items())
