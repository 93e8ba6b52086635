"""What the command line shows: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
import traceback
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from polygraft.cli.streams import ReaderGoneError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from polygraft.report.cells import Cell, Table

PIPE_WIDTH = 160
"""Columns of a table that no terminal shows."""


def make_console(*, stderr: bool = False) -> Console:
    """Make a console for results, or for what goes beside them."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    return console


def write(text: str) -> None:
    """Write a result to standard output as it is.

    Raises:
        ReaderGoneError: Nobody reads it any more.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGoneError(*error.args) from None


def write_json(value: object) -> None:
    """Write a value as indented JSON."""
    write(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def write_json_line(value: object) -> None:
    """Write a value as one line of JSON."""
    write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def show(result: RenderableType) -> None:
    """Show a result on standard output."""
    console = make_console()
    with console.capture() as captured:
        console.print(result)
    lines = captured.get().split("\n")
    write("\n".join(lines if console.is_terminal else map(str.rstrip, lines)))


def show_table(table: Table, *, stderr: bool = False) -> None:
    """Show a table on standard output: numbers to the right, the best ones bold.

    Args:
        table: The table.
        stderr: Whether it goes to standard error, because it is no result.
    """
    drawn = RichTable(
        title=table.caption,
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_header=any(table.columns),
    )
    for name, is_numeric in zip(table.columns, table.numeric, strict=True):
        drawn.add_column(name, justify="right" if is_numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(_draw_cell, row))
    if table.foot is not None:
        drawn.add_section()
        drawn.add_row(*map(_draw_cell, table.foot))
    if stderr:
        make_console(stderr=True).print(drawn)
    else:
        show(drawn)


def say(sentence: str, *, style: str = "dim") -> None:
    """Say a sentence on standard error."""
    make_console(stderr=True).print(Text(sentence, style=style), soft_wrap=True)


def fail(sentence: str) -> None:
    """Say on standard error what went wrong."""
    text = Text.assemble(("error:", "bold red"), " ", sentence)
    make_console(stderr=True).print(text, soft_wrap=True)


def show_traceback(error: Exception) -> None:
    """Show on standard error where an error came from."""
    sys.stderr.write("".join(traceback.format_exception(error)))


def _draw_cell(cell: Cell) -> Text:
    style = "bold green" if cell.best else "green" if cell.is_close else ""
    text = Text(f"  {cell.text}" if cell.is_under else cell.text, style=style)
    if cell.note is None:
        return text
    return text.append(f" ({cell.note.replace(chr(10), ' ')})", style="not bold not green dim")
