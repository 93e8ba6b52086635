"""Gathers what a report shows: of methods side by side, and of each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from polygraft.report.borrowed import borrowed_table, overlap_table, write_borrowed
from polygraft.report.cells import DASH, Table
from polygraft.report.curves import plot_curve
from polygraft.report.details import graft_table, result_table, type_tables
from polygraft.report.examples import build_examples, join_methods
from polygraft.report.forgetting import forgetting_table, list_forgotten, matrix_table, plot_matrix
from polygraft.report.joining import Run
from polygraft.report.levels import plot_levels
from polygraft.report.losses import collect_losses
from polygraft.report.method_table import method_table
from polygraft.report.methods import MethodGrid, as_grid
from polygraft.report.numbers import format_bytes, format_count, format_score, format_seconds
from polygraft.report.packed import packed_table, plot_packed
from polygraft.report.pareto import plot_pareto
from polygraft.report.planned import planned_table
from polygraft.report.plots import (
    NARROW,
    WIDE,
    draw_marker,
    heat_range,
    plot_heat_map,
    plot_intervals,
    series_of,
)
from polygraft.report.provenance import data_table, step_table
from polygraft.report.rivals import plot_differences, rival_table
from polygraft.report.scores import Grid, build_grids, describe_condition, order_conditions
from polygraft.report.summary import GraftSummary, RunSummary
from polygraft.report.svg import element
from polygraft.report.tables import cost_table, gain_table, storage_table, transfer_table
from polygraft.report.words import spell

WIDTHS = (WIDE, NARROW)
_ROLE_ORDER = ("head", "language", "task")


def collect_methods(grid: MethodGrid, *, number: int) -> dict[str, Any]:
    """Gather the tables and plots of one task in which methods stand side by side."""
    plain = as_grid(grid)
    return {
        "grid": plain,
        "table": method_table(grid, ident=f"methods-{number}"),
        "pareto": [plot_pareto(grid, ident=f"pareto-{number}-{width}", width=width) for width in WIDTHS],
        "heat": [plot_heat_map(plain, ident=f"scores-{number}-{width}", width=width) for width in WIDTHS],
        "range": [format_score(end, metric=grid.metric) for end in heat_range(plain)],
        "rivals": rival_table(grid, ident=f"rivals-{number}"),
        "differences": [
            plot_differences(grid, ident=f"differences-{number}-{width}", width=width) for width in WIDTHS
        ],
    }


def collect_run(run: Run, *, prefix: str, of: str, compares: bool) -> dict[str, Any]:
    """Gather what a report shows of one run beside the scores of its methods.

    Args:
        run: The run.
        prefix: What its anchors begin with; unique in the page.
        of: What is written behind each of its headings.
        compares: Whether methods are laid side by side before it.
    """
    summary = run.summary
    grids = build_grids(summary)
    if compares:
        grids = tuple(grid for grid in grids if len(grid.conditions) > 1)
    grafts = sorted(summary.grafts, key=lambda graft: _role_rank(graft.role))
    levels = [(graft, plot_levels(graft, ident=f"{prefix}levels-{n}")) for n, graft in enumerate(grafts)]
    curves = [(graft, plot_curve(graft, ident=f"{prefix}curve-{n}")) for n, graft in enumerate(grafts)]
    return {
        "prefix": prefix,
        "of": of,
        "is_compared": compares,
        "summary": summary,
        "forgetting": _collect_forgetting(summary, prefix=prefix),
        "transfers": [
            _collect_transfer(grid, summary, ident=f"{prefix}{{}}-{n}") for n, grid in enumerate(grids)
        ],
        "conditions": _describe_conditions(summary),
        "text_losses": collect_losses(summary, prefix=prefix),
        "levels": [(graft, drawn) for graft, drawn in levels if drawn is not None],
        "packed": _collect_packed(grafts, prefix=prefix),
        "curves": [(graft, curve) for graft, curve in curves if curve is not None],
        "cost": _prefix(cost_table(grafts, base=summary.base), prefix),
        "storage": None if compares else _prefix(storage_table(grafts, base=summary.base), prefix),
        "results": result_table(summary.results, ident=f"{prefix}results"),
        "rechecks": result_table(summary.rechecks, ident=f"{prefix}again-results"),
        "types": type_tables(summary.results, prefix=prefix),
        "grafts": _prefix(graft_table(grafts), prefix),
        "examples": build_examples(join_methods(summary.examples), summary.results),
        "facts": list_facts(summary),
        "data": data_table(summary.data, ident=f"{prefix}data"),
        "steps": step_table(summary.steps, ident=f"{prefix}step-digests"),
        "planned": _prefix(planned_table(summary.steps), prefix),
    }


def list_links(part: dict[str, Any]) -> list[tuple[str, str]]:
    """Give the anchors of a run's sections that are there, with their names."""
    sections = (
        ("forgetting", "Forgetting", part["forgetting"]),
        ("transfer", "Transfer", part["transfers"]),
        ("texts", "Text", part["text_losses"]),
        ("pruning", "Pruning", part["levels"]),
        ("packing", "Packing", part["packed"]),
        ("learning", "Learning", part["curves"]),
        ("cost-section", "Cost", part["cost"].rows),
        ("examples", "Examples", part["examples"]),
        ("planned-section", "Expected and taken", part["planned"]),
        ("run", "How it was run", True),
    )
    return [(f"{part['prefix']}{anchor}", name) for anchor, name, content in sections if content]


def _prefix(table: Table | None, prefix: str) -> Table | None:
    return None if table is None else replace(table, ident=f"{prefix}{table.ident}")


def _collect_forgetting(summary: RunSummary, *, prefix: str) -> dict[str, Any] | None:
    forgotten = list_forgotten(summary)
    table = forgetting_table(forgotten, ident=f"{prefix}forgotten")
    if table is None:
        return None
    changed = [(number, each) for number, each in enumerate(forgotten) if not each.is_same]
    return {
        "table": table,
        "heats": [
            (
                each.method,
                [plot_matrix(each, ident=f"{prefix}matrix-{n}-{width}", width=width) for width in WIDTHS],
            )
            for n, each in changed
        ],
        "matrices": [matrix_table(each, ident=f"{prefix}after-{n}") for n, each in enumerate(forgotten)],
    }


def _collect_packed(
    grafts: Sequence[GraftSummary], *, prefix: str
) -> list[tuple[list[Markup | None], Table | None]]:
    """Draw the packed tasks of each method, with the first of its seeds."""
    found: list[tuple[list[Markup | None], Table | None]] = []
    packed = [graft for graft in grafts if graft.packed is not None]
    for number, method in enumerate(dict.fromkeys(graft.method for graft in packed)):
        own = [graft for graft in packed if graft.method == method]
        first = [graft for graft in own if graft.seed == own[0].seed]
        ident = f"{prefix}packed-{number}" if number else f"{prefix}packed"
        pictures = [plot_packed(first, ident=f"{ident}-{width}", width=width) for width in WIDTHS]
        table = packed_table(first)
        found.append((pictures, None if table is None else replace(table, ident=ident)))
    return found


def _collect_transfer(grid: Grid, summary: RunSummary, *, ident: str) -> dict[str, Any]:
    return {
        "grid": grid,
        "range": [format_score(end, metric=grid.metric) for end in heat_range(grid)],
        "table": transfer_table(grid, ident=ident.format("transfer")),
        "gains": gain_table(grid, ident=ident.format("gains")),
        "borrowed": borrowed_table(grid, ident=ident.format("borrowed")),
        "borrowed_told": write_borrowed(grid, summary.overlaps),
        "overlaps": overlap_table(summary.overlaps, grid, ident=ident.format("overlaps")),
        "dots": [
            plot_intervals(grid, ident=f"{ident.format('dots')}-{width}", width=width) for width in WIDTHS
        ],
        "heat": [
            plot_heat_map(grid, ident=f"{ident.format('heat')}-{width}", width=width) for width in WIDTHS
        ],
    }


def _describe_conditions(summary: RunSummary) -> list[tuple[str, str, str, Markup]]:
    names = order_conditions(result.condition for result in summary.results)
    rows: list[tuple[str, str, str, Markup]] = []
    for name in names:
        plans = list(dict.fromkeys(r.plan for r in summary.results if r.condition == name))
        shown = ", ".join(plans[:3]) + (", \u2026" if len(plans) > 3 else "")
        marker = draw_marker(series_of(name, conditions=names), x=8, y=8, best=False)
        key = element(
            "svg", marker, width=16, height=16, viewBox="0 0 16 16", aria_hidden="true", class_="plot"
        )
        rows.append((name, describe_condition(name, plans), shown, key))
    return rows


def list_facts(summary: RunSummary) -> list[tuple[str, str]]:
    """List where and when a run was made: base, seeds, versions and machine."""
    base = summary.base
    took = format_seconds(summary.seconds)
    if summary.predicted_seconds is not None:
        took += f" (predicted: {format_seconds(summary.predicted_seconds)})"
    if summary.num_sittings > 1:
        took += f", in {spell(summary.num_sittings)} sittings"
    seeds = sorted({result.seed for result in summary.results})
    return [
        ("Base", f"{base.name}, family {base.family}"),
        (
            "Size of the base",
            f"{format_count(base.num_parameters)} parameters, {format_bytes(base.num_bytes)}",
        ),
        ("Fingerprint of the base", base.fingerprint),
        *([("Seeds", ", ".join(map(str, seeds)))] if seeds else []),
        ("Time", took),
        ("Written", format_time(summary.created)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in summary.versions.items()) or DASH),
        *((f"Machine: {name}", _say(value)) for name, value in summary.machine.items()),
    ]


def _say(value: str | int | float | bool | None) -> str:
    if value is None or isinstance(value, bool):
        return "yes" if value else "none" if value is None else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def format_time(created: str) -> str:
    """Write a time as people read it; what is no ISO time stays as it is."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M}{'' if moment.tzinfo is None else ' UTC'}"


def _role_rank(role: str) -> int:
    return _ROLE_ORDER.index(role) if role in _ROLE_ORDER else len(_ROLE_ORDER)
