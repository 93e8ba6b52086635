"""`polygraft report`: a run's page, written again from its results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polygraft.cli.console import write

RESULTS = "results.json"
REPORT = "report.html"


def report(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The run's folder, or its results.json.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Where the page goes; report.html in the folder if not given."
        ),
    ] = None,
) -> None:
    """Write a run's report.html again from its results.json, and say where it is."""
    from polygraft.data.open import read_lines
    from polygraft.errors import DataError
    from polygraft.report.page import write_report
    from polygraft.report.summary import summary_from_json

    results = folder / RESULTS if folder.is_dir() else folder
    if folder.is_dir() and not results.is_file():
        raise DataError(
            f"The folder {folder} has no {RESULTS}. The folder of a finished run was expected. "
            "`polygraft run` says at its end where that is."
        )
    try:
        summary = summary_from_json("\n".join(read_lines(results)))
    except DataError as error:
        error.add_note(f"({results})")
        raise
    target = results.parent / REPORT if out is None else out
    try:
        path = write_report(summary, target)
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror or error}. A path in a folder that may be written was "
            "expected. Choose another with --out."
        ) from None
    write(f"{path}\n")
