"""The long tables at the end of a report: every result, scores by type, and the grafts."""

from __future__ import annotations

from collections.abc import Sequence

from polygraft.evaluate.result import Result
from polygraft.report.cells import DASH, Cell, Table, count_cell, format_interval, perplexity_cell, score_cell
from polygraft.report.languages import language_name
from polygraft.report.numbers import format_score
from polygraft.report.scores import list_sources, name_test
from polygraft.report.summary import GraftSummary


def result_table(results: Sequence[Result], *, ident: str = "results") -> Table:
    """List every result with all its numbers; columns that no result has anything for are left out."""
    told = {
        "Method": [_word_cell(r.method) for r in results],
        "Source": [_word_cell(language_name(r.source) if r.source else "") for r in results],
        "After": [_word_cell(r.after) for r in results],
    }
    extras = {
        "Macro-F1": [score_cell(r.macro_f1) for r in results],
        "Perplexity": [perplexity_cell(r.perplexity) for r in results],
    }
    digests = {"Predictions": [_digest_cell(r.predictions) for r in results]}
    told, extras, digests = _keep_known(told), _keep_known(extras), _keep_known(digests)
    columns = (
        "Language",
        "Task",
        *told,
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
        *digests,
        "Notes",
    )
    rows = tuple(
        (
            Cell(text=language_name(r.language), value=language_name(r.language)),
            Cell(text=r.task),
            *(cells[number] for cells in told.values()),
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
            *(cells[number] for cells in digests.values()),
            Cell(text=" ".join(r.notes)),
        )
        for number, r in enumerate(results)
    )
    words = {"Language", "Task", "Condition", "Plan", "Metric", "Notes", *told, *digests}
    caption = "Every score of an earlier task after a later one" if "After" in told else "Every result"
    numeric = tuple(column not in words for column in columns)
    return Table(ident=ident, caption=caption, columns=columns, numeric=numeric, rows=rows)


def type_table(title: str, *, results: Sequence[Result], ident: str) -> Table | None:
    """Lay out the F1 of each entity type or label, or give None where no result has them.

    Args:
        title: Names the test.
        results: Those of one task, source and metric.
        ident: Unique in the page.
    """
    rows_of = [r for r in results if r.by_type]
    types = sorted({name for result in rows_of for name in result.by_type})
    if not types:
        return None
    has_methods = any(r.method for r in rows_of)
    rows = tuple(
        (
            Cell(text=language_name(r.language), value=language_name(r.language)),
            *([_word_cell(r.method)] if has_methods else []),
            Cell(text=r.condition),
            *(_type_cell(r, name) for name in types),
        )
        for r in rows_of
    )
    heads = ("Language", *(["Method"] if has_methods else []), "Condition")
    return Table(
        ident=ident,
        caption=f"{title}: F1 by type, with the number of gold items",
        columns=(*heads, *types),
        numeric=(*(False for _ in heads), *(True for _ in types)),
        rows=rows,
    )


def type_tables(results: Sequence[Result], *, prefix: str = "") -> tuple[Table, ...]:
    """Lay out the F1 of each type, one table for each task, source and metric that has them."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.task, result.source, result.metric), []).append(result)
    sources = list_sources(results)
    tables = [
        type_table(name_test(task, source, sources=sources), results=group, ident=f"{prefix}types-{number}")
        for number, ((task, source, _), group) in enumerate(groups.items())
    ]
    return tuple(table for table in tables if table is not None)


def graft_table(grafts: Sequence[GraftSummary]) -> Table:
    """List the grafts with the version and digest by which they can be found again."""
    has_seeds = any(graft.seed is not None for graft in grafts)
    rows = tuple(
        (
            Cell(
                text=graft.name, code=True, note="a copy, in the run\u2019s folder" if graft.is_copy else None
            ),
            Cell(text=str(graft.version), value=graft.version),
            Cell(text=language_name(graft.language) if graft.language else DASH),
            *(
                [Cell(text=DASH if graft.seed is None else str(graft.seed), value=graft.seed)]
                if has_seeds
                else []
            ),
            Cell(text=graft.plan or DASH, code=graft.plan is not None),
            Cell(text=_scores(graft) or DASH),
            Cell(text=graft.sha256 or DASH, code=graft.sha256 is not None),
        )
        for graft in grafts
    )
    return Table(
        ident="grafts",
        caption="The grafts, as they stand in the store",
        columns=(
            "Graft",
            "Version",
            "Language",
            *(["Seed"] if has_seeds else []),
            "Trained under",
            "Scores",
            "sha256",
        ),
        numeric=(False, True, False, *([True] if has_seeds else []), False, False, False),
        rows=rows,
    )


def _keep_known(columns: dict[str, list[Cell]]) -> dict[str, list[Cell]]:
    """Keep the columns in which some row has a value."""
    return {name: cells for name, cells in columns.items() if any(cell.value is not None for cell in cells)}


def _word_cell(word: str) -> Cell:
    return Cell(text=word or DASH, value=word or None)


def _digest_cell(digest: str) -> Cell:
    """Show the beginning of a digest: what is equal there is equal."""
    return Cell(text=digest[:12] or DASH, value=digest or None, code=bool(digest))


def _type_cell(result: Result, name: str) -> Cell:
    score = result.by_type.get(name)
    if score is None:
        return Cell(text=DASH)
    return Cell(text=format_score(score.f1, metric="f1"), value=score.f1, note=f"{score.num_gold:,}")


def _scores(graft: GraftSummary) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in graft.scores.items())
