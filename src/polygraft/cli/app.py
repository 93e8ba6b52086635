"""The command line: which commands there are, and under which heading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from polygraft.cli.bases import list_bases, show_base
from polygraft.cli.compare import compare
from polygraft.cli.console import write
from polygraft.cli.doctor import doctor
from polygraft.cli.evaluate import evaluate
from polygraft.cli.explain import explain
from polygraft.cli.export_graft import export_adapterhub, export_peft, export_sft
from polygraft.cli.grafts import (
    list_grafts,
    pull_graft,
    push_graft,
    remove_graft,
    rename_graft,
    show_graft,
)
from polygraft.cli.import_graft import import_adapterhub, import_peft, import_sft
from polygraft.cli.merge import merge
from polygraft.cli.plan import plan
from polygraft.cli.predict import predict
from polygraft.cli.prune import prune
from polygraft.cli.quickstart import quickstart
from polygraft.cli.report import report
from polygraft.cli.run import run
from polygraft.cli.train import train_sequence, train_tokens
from polygraft.cli.train_text import train_causal, train_mlm
from polygraft.cli.verifying import verify_grafts

app = typer.Typer(
    name="polygraft",
    help="One frozen pretrained model, many small grafts.",
    epilog="Begin with `polygraft quickstart`: a few minutes, nothing to prepare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def add(group: typer.Typer, name: str, command: Callable[..., None], *, panel: str | None = None) -> None:
    """Add a command that ends with a sentence where something goes wrong."""
    group.command(name, rich_help_panel=panel)(explain(command))


def add_group(name: str, commands: dict[str, Callable[..., None]], *, about: str, panel: str) -> None:
    """Add a group of commands."""
    group = typer.Typer(name=name, help=about, no_args_is_help=True)
    for word, command in commands.items():
        add(group, word, command)
    app.add_typer(group, rich_help_panel=panel)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version as find_version

        write(f"polygraft {find_version('polygraft')}\n")
        raise typer.Exit


@app.callback()
def polygraft(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option("--traceback", help="Show where an unexpected error came from; may stand anywhere."),
    ] = False,
) -> None:
    """One frozen pretrained model, many small grafts."""


WHOLE = "A whole experiment"
SINGLE = "One graft at a time"
LOOK = "Looking"
OTHERS = "Other libraries"

add(app, "quickstart", quickstart, panel=WHOLE)
add(app, "run", run, panel=WHOLE)
add(app, "plan", plan, panel=WHOLE)
add_group(
    "train",
    {
        "mlm": train_mlm,
        "causal": train_causal,
        "tokens": train_tokens,
        "sequence": train_sequence,
    },
    about="Train one graft into a store.",
    panel=SINGLE,
)
add(app, "prune", prune, panel=SINGLE)
add(app, "evaluate", evaluate, panel=SINGLE)
add(app, "predict", predict, panel=SINGLE)
add_group(
    "grafts",
    {
        "list": list_grafts,
        "show": show_graft,
        "compare": compare,
        "merge": merge,
        "verify": verify_grafts,
        "remove": remove_graft,
        "rename": rename_graft,
        "push": push_graft,
        "pull": pull_graft,
    },
    about="List, check, merge and move the grafts of a store.",
    panel=LOOK,
)
add_group(
    "import",
    {"adapterhub": import_adapterhub, "peft": import_peft, "sft": import_sft},
    about="Import grafts from the files of other libraries.",
    panel=OTHERS,
)
add_group(
    "export",
    {"adapterhub": export_adapterhub, "peft": export_peft, "sft": export_sft},
    about="Write grafts as other libraries read them.",
    panel=OTHERS,
)
add(app, "report", report, panel=LOOK)
add(app, "doctor", doctor, panel=LOOK)
bases = typer.Typer(name="bases", help="Show which bases can be used, and what one is.")
bases.callback(invoke_without_command=True)(explain(list_bases))
add(bases, "show", show_base)
app.add_typer(bases, rich_help_panel=LOOK)
