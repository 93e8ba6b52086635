"""`polygraft quickstart`: the whole job on the sample data, in a few minutes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from polygraft.cli.console import say, show
from polygraft.cli.follow import follow_run
from polygraft.cli.options import JsonOption
from polygraft.cli.outcome import show_results
from polygraft.cli.tagged import choose_styles, draw_tags

if TYPE_CHECKING:
    from polygraft.report.summary import RunSummary

NUM_EXAMPLES = 2
"""Sentences of each language."""
BEST_CONDITION = "target"


def quickstart(
    *,
    folder: Annotated[
        Path, typer.Option("--folder", metavar="FOLDER", help="Where grafts, results and report go.")
    ] = Path("polygraft-quickstart"),
    as_json: JsonOption = False,
) -> None:
    """Do the whole job at small size on the sample data: train, swap, score, report."""
    from polygraft.recipe.quickstart import load_quickstart

    recipe = load_quickstart(folder)
    if not as_json:
        say(
            "A named-entity graft learns from English labels; then the language graft under it is "
            "swapped, and it tags languages that it never saw a label of. The base stays frozen.",
            style="",
        )
    finished = follow_run(recipe)
    if finished is None:
        return
    show_results(finished, as_json=as_json)
    if as_json:
        return
    show(draw_examples(finished.summary))
    plan = _suggest_plan(finished.summary)
    show(
        Text.assemble(
            ("Look at the page ", "bold"),
            str(finished.report),
            (", or go on:\n", "bold"),
            f"  polygraft predict --store {recipe.store} --plan '{plan}' --text \"...\"\n",
            f"  polygraft grafts list --store {recipe.store}\n",
            f"  polygraft doctor --store {recipe.store} --plan '{plan}'",
        )
    )


def draw_examples(summary: RunSummary) -> Text:
    """Draw a few tagged sentences, as the best plan of each language read them."""
    labels = {tag for example in summary.examples for tags in example.predicted.values() for tag in tags}
    styles = choose_styles(sorted(labels))
    drawn, shown = Text(), Counter[str]()
    for example in summary.examples:
        shown[example.language] += 1
        if shown[example.language] > NUM_EXAMPLES:
            continue
        condition = BEST_CONDITION if BEST_CONDITION in example.predicted else next(iter(example.predicted))
        drawn.append(f"{example.language:<4} ", style="dim")
        drawn.append(draw_tags(example.tokens, example.predicted[condition], styles=styles)).append("\n")
    return drawn


def _suggest_plan(summary: RunSummary) -> str:
    plans = [result.plan for result in summary.results if result.condition == BEST_CONDITION]
    return plans[-1] if plans else next((graft.name for graft in summary.grafts if graft.role == "task"), "")
