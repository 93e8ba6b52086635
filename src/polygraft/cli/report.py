"""`polygraft report`: the page of one or several runs, written from their results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import write, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polygraft.evaluate.contest import Contest
    from polygraft.report.joining import Run
    from polygraft.report.summary import RunSummary

RESULTS = "results.json"
REPORT = "report.html"


def report(
    *,
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="The folders of runs, or their results.json; several go on one page."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where the page goes; report.html in the folder if not given. Several runs need it.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the scores side by side as JSON, with the page's place.")
    ] = False,
) -> None:
    """Write the report.html of a run again from its results.json, or one page of several runs, and say where it is."""
    from polygraft.errors import DataError, OptionError
    from polygraft.report.page import write_joined
    from polygraft.report.same_method import join_seeds

    if len(runs) > 1 and out is None:
        raise OptionError(
            f"{len(runs)} runs are to go on one page, and nothing says where. Expected a file. Give it with --out."
        )
    found = _name_runs([(path, _load(path)) for path in runs])
    target = _find_results(runs[0]).parent / REPORT if out is None else out
    shown = join_seeds(found).shown
    held = _hold(shown, [_find_results(path).parent for path in runs]) if len(runs) > 1 else ()
    try:
        path = write_joined(found, target, held=held)
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror or error}. A path in a folder that may be written was "
            "expected. Choose another with --out."
        ) from None
    if as_json:
        write_json(_describe(found, path, held=held))
    else:
        write(f"{path}\n")


def _hold(runs: Sequence[Run], folders: Sequence[Path]) -> tuple[Contest, ...]:
    # It loads torch, which the page of one run does without.
    from polygraft.recipe.across import hold_across

    return hold_across(runs, folders)


def _find_results(path: Path) -> Path:
    return path / RESULTS if path.is_dir() else path


def _load(path: Path) -> RunSummary:
    from polygraft.data.open import read_lines
    from polygraft.errors import DataError
    from polygraft.report.summary import summary_from_json

    results = _find_results(path)
    if path.is_dir() and not results.is_file():
        raise DataError(
            f"The folder {path} has no {RESULTS}. The folder of a finished run was expected. "
            "`polygraft run` says at its end where that is."
        )
    try:
        return summary_from_json("\n".join(read_lines(results)))
    except DataError as error:
        error.add_note(f"({results})")
        raise


def _name_runs(loaded: Sequence[tuple[Path, RunSummary]]) -> tuple[Run, ...]:
    """Call each run by its name; by where it is where others have the name, too."""
    from polygraft.errors import OptionError
    from polygraft.report.joining import Run, fill_sources

    counts = Counter(summary.name for _, summary in loaded)
    runs = [
        Run(label=summary.name if counts[summary.name] == 1 else str(path), summary=summary)
        for path, summary in loaded
    ]
    twice = [label for label, count in Counter(run.label for run in runs).items() if count > 1]
    if twice:
        raise OptionError(f"The run {twice[0]} is given twice. Expected each once. Leave one out.")
    return tuple(map(fill_sources, runs))


def _describe(runs: Sequence[Run], path: Path, *, held: Sequence[Contest]) -> dict[str, object]:
    from polygraft.report.forgetting import list_forgotten
    from polygraft.report.joining import list_differences
    from polygraft.report.methods import build_method_grids
    from polygraft.report.reader import to_plain
    from polygraft.report.same_method import join_seeds

    joined = join_seeds(runs)
    return {
        "report": str(path),
        "runs": [run.label for run in runs],
        "joined": list(joined.sentences),
        "differences": list(list_differences(runs)),
        "methods": to_plain(build_method_grids(joined.shown, held=held)),
        "forgetting": {run.label: to_plain(list_forgotten(run.summary)) for run in runs},
    }
