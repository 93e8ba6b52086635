"""The option --compact of `polygraft prune`: a smaller base, and what it gains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polygraft.cli.bases import draw_facts
from polygraft.cli.console import say, show_table
from polygraft.cli.grafts import summarise
from polygraft.cli.loading import waiting

if TYPE_CHECKING:
    from pathlib import Path

    from polygraft.base.base import Base
    from polygraft.recipe.compact import CompactReport
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store


def make_compact(base: Base, store: Store, manifest: Manifest, *, folder: Path) -> CompactReport:
    """Write the smaller base, saying on a terminal that it takes a moment."""
    with waiting(f"Writing the smaller base to {folder}, and timing it ..."):
        from polygraft.recipe.compact import write_compact

        return write_compact(base, store, manifest, folder=folder)


def show_compact(report: CompactReport) -> None:
    """Show what was written and how much faster it is."""
    from polygraft.recipe.compact import ROUNDS

    low, high = report.speed_up_range
    for note in report.notes:
        say(note)
    facts = {
        "Folder": str(report.folder),
        "Parameters": f"{report.num_parameters:,} instead of {report.num_parameters_before:,}",
        "Forward": f"{report.tokens_per_second:,.0f} tokens a second instead of "
        f"{report.tokens_per_second_before:,.0f}, medians of {ROUNDS} rounds in turn on this machine",
        "Faster": f"{report.speed_up:.2f} times, the median within a round (from {low:.2f} to {high:.2f})",
    }
    if report.head is not None:
        facts["Labels"] = f"polygraft predict --base {report.folder} --plan {report.head}"
    show_table(draw_facts("The smaller base", facts))


def summarise_last(manifest: Manifest, report: CompactReport | None) -> dict[str, object]:
    """Give what JSON tells of the last graft, with the smaller base where one was written."""
    if report is None:
        return summarise(manifest)
    return {**summarise(manifest), "compact": {**vars(report), "folder": str(report.folder)}}
