"""Writes a run's report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from polygraft.report.cells import DASH
from polygraft.report.curves import plot_curve
from polygraft.report.details import graft_table, result_table, type_table
from polygraft.report.examples import build_examples
from polygraft.report.languages import language_name
from polygraft.report.levels import plot_levels
from polygraft.report.numbers import format_bytes, format_count, format_score, format_seconds
from polygraft.report.packed import packed_table, plot_packed
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
from polygraft.report.scores import CONDITIONS, Grid, build_grids, order_conditions
from polygraft.report.summary import RunSummary
from polygraft.report.svg import element
from polygraft.report.tables import cost_table, gain_table, storage_table, transfer_table
from polygraft.report.words import write_headline, write_paragraph

_ROLE_ORDER = ("head", "language", "task")


def write_report(summary: RunSummary, path: Path | str) -> Path:
    """Write a run's report as one HTML file and give its path.

    The file holds its style, plots and script; it asks for nothing from anywhere. Equal summaries give equal
    bytes, and a reader never sees half a file: it is written beside its place and renamed.

    Args:
        summary: What to report.
        path: Where the file is to stand; its folder is made if needed.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    content = render_report(summary).encode(errors="replace")
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return place


def render_report(summary: RunSummary) -> str:
    """Give a run's report as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # These two files are part of the package; everything else goes through autoescape.
    style = Markup(_read_template("style.css"))
    script = Markup(_read_template("sort.js"))
    page = environment.get_template("page.html.jinja").render(
        summary=summary,
        style=style,
        script=script,
        style_hash=_hash_source(style),
        script_hash=_hash_source(script),
        language_name=language_name,
        **_collect(summary),
    )
    return page.rstrip("\n") + "\n"


def _collect(summary: RunSummary) -> dict[str, Any]:
    grids = build_grids(summary)
    grafts = sorted(summary.grafts, key=lambda graft: _role_rank(graft.role))
    levels = [(graft, plot_levels(graft, ident=f"levels-{index}")) for index, graft in enumerate(grafts)]
    curves = [(graft, plot_curve(graft, ident=f"curve-{index}")) for index, graft in enumerate(grafts)]
    packed = [plot_packed(grafts, ident=f"packed-{width}", width=width) for width in (WIDE, NARROW)]
    return {
        "created": _format_time(summary.created),
        "headline": write_headline(summary),
        "paragraph": write_paragraph(summary),
        "transfers": [_collect_transfer(grid, number=number) for number, grid in enumerate(grids)],
        "conditions": _describe_conditions(summary),
        "levels": [(graft, drawn) for graft, drawn in levels if drawn is not None],
        "packed": None if packed[0] is None else (packed, packed_table(grafts)),
        "curves": [(graft, curve) for graft, curve in curves if curve is not None],
        "cost": cost_table(grafts, base=summary.base),
        "storage": storage_table(grafts, base=summary.base),
        "results": result_table(summary.results),
        "types": [
            type_table(grid, results=summary.results, ident=f"types-{n}") for n, grid in enumerate(grids)
        ],
        "grafts": graft_table(grafts),
        "examples": build_examples(summary.examples),
        "facts": _list_facts(summary),
        "planned": planned_table(summary.steps),
    }


def _collect_transfer(grid: Grid, *, number: int) -> dict[str, Any]:
    return {
        "grid": grid,
        "range": [format_score(end, metric=grid.metric) for end in heat_range(grid)],
        "table": transfer_table(grid, ident=f"transfer-{number}"),
        "gains": gain_table(grid, ident=f"gains-{number}"),
        "dots": [
            plot_intervals(grid, ident=f"dots-{number}-{width}", width=width) for width in (WIDE, NARROW)
        ],
        "heat": [
            plot_heat_map(grid, ident=f"heat-{number}-{width}", width=width) for width in (WIDE, NARROW)
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
        rows.append((name, CONDITIONS.get(name, ""), shown, key))
    return rows


def _list_facts(summary: RunSummary) -> list[tuple[str, str]]:
    base = summary.base
    took = format_seconds(summary.seconds)
    if summary.predicted_seconds is not None:
        took += f" (predicted: {format_seconds(summary.predicted_seconds)})"
    return [
        ("Base", f"{base.name}, family {base.family}"),
        (
            "Size of the base",
            f"{format_count(base.num_parameters)} parameters, {format_bytes(base.num_bytes)}",
        ),
        ("Fingerprint of the base", base.fingerprint),
        ("Time", took),
        ("Written", _format_time(summary.created)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in summary.versions.items()) or DASH),
        *((f"Machine: {name}", _say(value)) for name, value in summary.machine.items()),
    ]


def _say(value: str | int | float | bool | None) -> str:
    if value is None or isinstance(value, bool):
        return "yes" if value else "none" if value is None else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _format_time(created: str) -> str:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M}{'' if moment.tzinfo is None else ' UTC'}"


def _role_rank(role: str) -> int:
    return _ROLE_ORDER.index(role) if role in _ROLE_ORDER else len(_ROLE_ORDER)


def _hash_source(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _read_template(name: str) -> str:
    return files("polygraft.report").joinpath("templates", name).read_text(encoding="utf-8")
