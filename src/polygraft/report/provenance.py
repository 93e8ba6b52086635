"""What a run was made of: the digests of its data and of its steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polygraft.evaluate.result import Result
from polygraft.report.cells import DASH, Cell, Table
from polygraft.report.languages import language_name
from polygraft.report.scores import list_sources, name_test
from polygraft.report.summary import DataSummary, StepSummary

USES = {"text": "text", "train": "training", "dev": "development", "test": "test"}
"""What each use of a file is called."""


def data_table(data: Sequence[DataSummary], *, ident: str) -> Table | None:
    """Lay out the files of a run with the sha256 of each; None where an older run does not tell.

    Args:
        data: Those of a run.
        ident: Unique in the page.
    """
    if not data:
        return None
    return Table(
        ident=ident,
        caption="The data, by the sha256 of each file",
        columns=("File", "Use", "Task", "Language", "sha256"),
        numeric=(False,) * 5,
        rows=tuple(
            (
                Cell(text=each.file, code=True),
                Cell(text=USES.get(each.use, each.use)),
                Cell(text=each.task or DASH),
                Cell(text=language_name(each.language), note=each.language),
                Cell(text=each.sha256, code=True),
            )
            for each in data
        ),
    )


def step_table(steps: Sequence[StepSummary], *, ident: str) -> Table | None:
    """Lay out the digests of a run's steps; None where an older run does not tell.

    Args:
        steps: Those of a run.
        ident: Unique in the page.
    """
    known = [step for step in steps if step.digest]
    if not known:
        return None
    return Table(
        ident=ident,
        caption="The steps, by the digest of all that each depends on",
        columns=("Step", "Digest"),
        numeric=(False, False),
        rows=tuple((Cell(text=step.name, code=True), Cell(text=step.digest, code=True)) for step in known),
    )


def name_notes(results: Iterable[Result]) -> tuple[str, ...]:
    """Give the notes of results, each once, with the test and the language that it is about.

    Example:
        >>> name_notes([])
        ()
    """
    told = list(results)
    sources = list_sources(told)
    named: set[str] = set()
    for result in told:
        test = name_test(result.task, result.source, sources=sources)
        named |= {f"{test}, {language_name(result.language)} test: {note}" for note in result.notes}
    return tuple(sorted(named))
