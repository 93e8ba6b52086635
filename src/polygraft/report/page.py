"""Writes the report of one or several runs: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from polygraft.evaluate.contest import Contest
from polygraft.report.joining import Run, fill_sources, list_differences, list_empty
from polygraft.report.languages import language_name
from polygraft.report.method_table import explain_costs
from polygraft.report.methods import build_method_grids, is_compared
from polygraft.report.same_method import join_seeds
from polygraft.report.sections import collect_methods, collect_run, format_time, list_links
from polygraft.report.summary import RunSummary
from polygraft.report.verdicts import gather_forgotten, write_comparison, write_verdicts
from polygraft.report.words import write_headline, write_paragraph


def write_report(summary: RunSummary, path: Path | str) -> Path:
    """Write a run's report as one HTML file and give its path, as `write_joined` does."""
    return write_joined((Run(label=summary.name, summary=summary),), path)


def write_joined(runs: Sequence[Run], path: Path | str, *, held: Sequence[Contest] = ()) -> Path:
    """Write the report of one or several runs as one HTML file and give its path.

    The file holds its style, plots and script; it asks for nothing from anywhere. Equal summaries give equal
    bytes, and a reader never sees half a file: it is written beside its place and renamed.

    Args:
        runs: What to report.
        path: Where the file is to stand; its folder is made if needed.
        held: Contests of methods over all of these runs, under the names that methods have on the page.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    content = render_joined(runs, held=held).encode(errors="replace")
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
    return render_joined((Run(label=summary.name, summary=summary),))


def render_joined(runs: Sequence[Run], *, held: Sequence[Contest] = ()) -> str:
    """Give the report of one or several runs as HTML text."""
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
        style=style,
        script=script,
        style_hash=_hash_source(style),
        script_hash=_hash_source(script),
        language_name=language_name,
        **_collect(runs, held=held),
    )
    return page.rstrip("\n") + "\n"


def _collect(told: Sequence[Run], *, held: Sequence[Contest]) -> dict[str, Any]:
    runs = [fill_sources(run) for run in told]
    compares = is_compared(runs)
    joined = join_seeds(runs)
    grids = build_method_grids(joined.shown, held=held) if compares else ()
    parts = [
        collect_run(
            run,
            prefix="" if len(runs) == 1 else f"run-{number}-",
            of="" if len(runs) == 1 else f": {run.label}",
            compares=compares,
        )
        for number, run in enumerate(runs, start=1)
    ]
    notes = dict.fromkeys(note for run in runs for note in run.summary.notes)
    first = runs[0].summary
    return {
        "name": " and ".join(run.label for run in runs),
        "created": format_time(max(run.summary.created for run in runs)),
        "headline": write_comparison(grids, gather_forgotten(joined.shown))
        if compares
        else write_headline(first),
        "paragraphs": write_verdicts(joined.shown, grids)
        if compares
        else (" ".join(write_paragraph(first)),),
        "notes": (*joined.sentences, *list_differences(runs), *list_empty(runs), *notes),
        "methods": [collect_methods(grid, number=number) for number, grid in enumerate(grids)],
        "costs_explained": explain_costs(grids),
        "parts": parts,
        "links": _list_links(parts, has_methods=bool(grids)),
    }


def _list_links(parts: Sequence[dict[str, Any]], *, has_methods: bool) -> list[tuple[str, str]]:
    """Give the sections of a page; of several runs the first section of each, under its name."""
    methods = [("methods", "Methods")] if has_methods else []
    if len(parts) == 1:
        return [*methods, *list_links(parts[0])]
    return [*methods, *((list_links(part)[0][0], part["of"].removeprefix(": ")) for part in parts)]


def _hash_source(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _read_template(name: str) -> str:
    return files("polygraft.report").joinpath("templates", name).read_text(encoding="utf-8")
