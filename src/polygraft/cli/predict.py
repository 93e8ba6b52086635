"""`polygraft predict`: labels for new text."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from polygraft.cli.console import make_console, say, show, write_json_line
from polygraft.cli.labelling import choose_labeller, draw_prediction
from polygraft.cli.lines import cut, read_argument, read_arriving, read_file_lines
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
from polygraft.cli.routed import RoutedLabeller, read_routed
from polygraft.cli.tagged import choose_styles

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

    Offsets count characters of the sentence as it was given. An empty line gives an empty result.
    """
    if plan is None and not routed:
        raise typer.BadParameter("Give --plan, or --routed with a plan in each line.")
    if routed and merge:
        raise typer.BadParameter(
            "Rows of many plans share the base's weights: give --routed or --merge, not both."
        )
    # A line of a routed file is a request, whatever the file is called.
    reading = None if routed or plan is None else make_reading(data_format, text_column=text_column)
    batches = _open_batches(file, texts, reading)
    if plan is None or routed:
        name = "--text" if texts else "standard input" if file in (None, STANDARD_INPUT) else str(file)
        loaded = open_base(base, device=device, dtype=dtype)
        _predict_routed(loaded, batches, store=store, plan=plan, name=name, any_base=any_base)
        return
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


def _predict_routed(
    base: Base, batches: Iterable[list[str]], *, store: Path, plan: str | None, name: str, any_base: bool
) -> None:
    """Label lines that each name their plan: always lines of JSON, since plans have labels of their own."""
    from polygraft.store.store import Store

    labeller = RoutedLabeller(base, Store(store), any_base=any_base)
    first = 1
    for batch in batches:
        for found in labeller.label(read_routed(batch, name=name, first=first, plan=plan)):
            write_json_line(found)
        first += len(batch)


def _open_batches(file: Path | None, texts: list[str] | None, reading: Reading | None) -> Iterator[list[str]]:
    """Give lines in lists that are labelled together; without a reading, a file has lines only."""
    if texts and file is not None:
        raise typer.BadParameter("Give sentences with --text, or a FILE, not both.")
    if texts:
        lines = [line for text in texts for line in read_argument(text, name="--text")]
        return cut(lines, num_lines=LINES_AT_ONCE)
    if file is not None and file != STANDARD_INPUT:
        found = read_file_lines(file) if reading is None else _read_texts(file, reading)
        return cut(found, num_lines=LINES_AT_ONCE)
    if file is None and sys.stdin.isatty():
        raise typer.BadParameter('Nothing to label. Give --text "...", a FILE, or - for standard input.')
    # Whoever writes a line and reads its labels before the next must not wait for lines that never come.
    arriving = read_arriving(cast("io.BufferedIOBase", sys.stdin.buffer), name="standard input")
    return (batch for lines in arriving for batch in cut(lines, num_lines=LINES_AT_ONCE))


def _read_texts(file: Path, reading: Reading) -> Iterator[str]:
    """Give one text for each line of a text file, or for each row of what has named columns."""
    from polygraft.data.read import Source
    from polygraft.data.rows import read_text_rows

    source = Source(path=file, kind="text", reading=reading)
    return read_file_lines(file) if source.form == "text" else read_text_rows(source.open(), reading)
