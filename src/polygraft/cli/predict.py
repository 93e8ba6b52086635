"""`polygraft predict`: labels for new text."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from polygraft.cli.console import fail, make_console, say, show, write_json_line
from polygraft.cli.labelling import choose_labeller, draw_prediction
from polygraft.cli.lines import (
    cut,
    gather_arriving,
    read_argument,
    read_arriving,
    read_file_lines,
    read_raw_lines,
    split_argument,
)
from polygraft.cli.loading import open_attachment, open_base
from polygraft.cli.options import (
    PLAN_HELP,
    AnyBaseOption,
    BaseOption,
    DeviceOption,
    DtypeOption,
    MergeOption,
    StoreOption,
)
from polygraft.cli.reading import FormatOption, TextColumnOption, make_reading
from polygraft.cli.routed import Refusal, RoutedLabeller, read_routed
from polygraft.cli.tagged import choose_styles
from polygraft.errors import DataError

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.data.reading import Reading

LINES_AT_ONCE = 128
"""The most lines that are labelled together."""
STANDARD_INPUT = Path("-")


def predict(
    *,
    plan: Annotated[str | None, typer.Option("--plan", metavar="PLAN", help=PLAN_HELP)] = None,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="A text file, one sentence a line, a table or dataset with texts, or - for standard input.",
        ),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="TEXT", help="A sentence; may be given several times."),
    ] = None,
    data_format: FormatOption = None,
    text_column: TextColumnOption = None,
    base: BaseOption,
    store: StoreOption,
    device: DeviceOption,
    dtype: DtypeOption,
    any_base: AnyBaseOption = False,
    merge: MergeOption = False,
    routed: Annotated[
        bool,
        typer.Option(
            "--routed", help='Each line is {"text": "...", "plan": "..."}: many plans in one batch.'
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a line of JSON a sentence also on a terminal.")
    ] = False,
) -> None:
    """Label sentences: in colour on a terminal, else one line of JSON a sentence.

    Offsets count characters of the sentence as it was given. An empty line gives an empty result. With --routed, a line
    that cannot be answered is told on standard error, and the others get their answers.
    """
    if plan is None and not routed:
        raise typer.BadParameter("Give --plan, or --routed with a plan in each line.")
    if routed and merge:
        raise typer.BadParameter(
            "Rows of many plans share the base's weights: give --routed or --merge, not both."
        )
    _check_input(file, texts)
    if plan is None or routed:
        name = "--text" if texts else "standard input" if file in (None, STANDARD_INPUT) else str(file)
        loaded = open_base(base, device=device, dtype=dtype)
        requests = _open_requests(file, texts)
        predict_routed(loaded, requests, store=store, plan=plan, name=name, any_base=any_base)
        return
    batches = _open_batches(file, texts, make_reading(data_format, text_column=text_column))
    with open_attachment(
        plan, base=base, store=store, device=device, dtype=dtype, any_base=any_base, merged=merge
    ) as attachment:
        styles = choose_styles(attachment.find_labels())
        show_prediction = (
            write_json_line
            if as_json or not make_console().is_terminal
            else lambda found: show(draw_prediction(found, styles=styles))
        )
        label = choose_labeller(attachment)
        num_cut = 0
        for batch in batches:
            predictions, num_cut_here = label(attachment, batch)
            num_cut += num_cut_here
            for found in predictions:
                show_prediction(found)
        if num_cut:
            from polygraft.evaluate.run import describe_cut

            say(f"{describe_cut(attachment, num_cut)} Give long texts a sentence a line.", style="yellow")


def predict_routed(
    base: Base, batches: Iterable[list[bytes]], *, store: Path, plan: str | None, name: str, any_base: bool
) -> None:
    """Label lines that each name their plan: always lines of JSON, since plans have labels of their own.

    Args:
        base: The base.
        batches: Lines that are labelled together.
        store: Where the grafts are.
        plan: The plan of lines that name none.
        name: What messages call the source of the lines.
        any_base: Whether to accept grafts of another base.

    Raises:
        DataError: At the end, if there were lines without an answer; each was told before, in its place.
    """
    from polygraft.store.store import Store

    labeller = RoutedLabeller(base, Store(store), any_base=any_base)
    first, num_asked, num_refused = 1, 0, 0
    for batch in batches:
        asked = read_routed(batch, name=name, first=first, plan=plan)
        for found in labeller.label(asked):
            if isinstance(found, Refusal):
                fail(found.sentence)
                num_refused += 1
            else:
                write_json_line(found)
        num_asked += len(asked)
        first += len(batch)
    if num_refused:
        raise DataError(
            f"{num_refused} of {num_asked} lines of {name} got no answer, each for the reason that was told. Expected "
            "an answer to each; the other lines have theirs, in their order. Correct these lines and give them again."
        )


def _check_input(file: Path | None, texts: list[str] | None) -> None:
    if texts and file is not None:
        raise typer.BadParameter("Give sentences with --text, or a FILE, not both.")
    if texts or file not in (None, STANDARD_INPUT):
        return
    if sys.stdin is None:
        raise DataError(
            "Standard input is closed, and neither --text nor a FILE says what to label. Expected text, a sentence a "
            'line. Give --text "...", a FILE, or a pipe.'
        )
    if file is None and sys.stdin.isatty():
        raise typer.BadParameter('Nothing to label. Give --text "...", a FILE, or - for standard input.')


def _open_batches(file: Path | None, texts: list[str] | None, reading: Reading) -> Iterator[list[str]]:
    """Give texts in lists that are labelled together."""
    if texts:
        lines = [line for text in texts for line in read_argument(text, name="--text")]
        return cut(lines, num_lines=LINES_AT_ONCE)
    if file is not None and file != STANDARD_INPUT:
        return cut(_read_texts(file, reading), num_lines=LINES_AT_ONCE)
    # Whoever writes a line and reads its labels before the next must not wait for lines that never come.
    arriving = read_arriving(cast("io.BufferedIOBase", sys.stdin.buffer), name="standard input")
    return (batch for lines in arriving for batch in cut(lines, num_lines=LINES_AT_ONCE))


def _open_requests(file: Path | None, texts: list[str] | None) -> Iterator[list[bytes]]:
    """Give lines in lists that are labelled together, whatever a file is called; one of them may be no text."""
    if texts:
        return cut([line for text in texts for line in split_argument(text)], num_lines=LINES_AT_ONCE)
    if file is not None and file != STANDARD_INPUT:
        return cut(read_raw_lines(file), num_lines=LINES_AT_ONCE)
    arriving = gather_arriving(cast("io.BufferedIOBase", sys.stdin.buffer))
    return (batch for lines in arriving for batch in cut(lines, num_lines=LINES_AT_ONCE))


def _read_texts(file: Path, reading: Reading) -> Iterator[str]:
    """Give one text for each line of a text file, or for each row of what has named columns."""
    from polygraft.data.read import Source
    from polygraft.data.rows import read_text_rows

    source = Source(path=file, kind="text", reading=reading)
    return read_file_lines(file) if source.form == "text" else read_text_rows(source.open(), reading)
