"""What came out at each level of pruning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.report.cells import DASH, Cell, Table, bytes_cell, count_cell, score_cell
from polygraft.report.numbers import format_share
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from polygraft.store.manifest import Manifest


def build_level_table(caption: str, manifests: Sequence[Manifest]) -> Table:
    """Make a table of the grafts of all levels, the densest first."""
    is_text = manifests[-1].objective in TEXT_OBJECTIVES
    return Table(
        ident="levels",
        caption=caption,
        columns=("Graft", "Sparsity", "When cut", "Retrained", "Values", "Bytes"),
        numeric=(False, True, True, True, True, True),
        rows=tuple(_build_row(manifest, is_text=is_text) for manifest in manifests),
    )


def _build_row(manifest: Manifest, *, is_text: bool) -> tuple[Cell, ...]:
    from polygraft.recipe.methods import read_levels

    level = read_levels(manifest.hyperparameters)[-1]
    cut, score = (
        Cell(text=DASH)
        if key not in level
        else Cell(text=f"{level[key]:.4f}")
        if is_text
        else score_cell(level[key])
        for key in ("when_cut", "score")
    )
    return (
        Cell(text=manifest.name, code=True),
        Cell(text=format_share(level["sparsity"])),
        cut,
        score,
        count_cell(manifest.num_parameters),
        bytes_cell(manifest.num_bytes),
    )
