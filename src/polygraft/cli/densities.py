"""How densely a graft changes or keeps each weight of its base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polygraft.cli.console import say, show_table
from polygraft.cli.loading import open_base
from polygraft.errors import PolygraftError
from polygraft.report.cells import Cell, Table, count_cell
from polygraft.report.numbers import format_bytes, format_share

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store

KINDS = {"delta": "changes", "mask": "keeps"}
"""Parts with places in weights, and what they do at them."""


def show_densities(store: Store, manifest: Manifest) -> None:
    """Show the density of a graft in each weight, and its bytes beside those of full copies; nothing for other grafts.

    The base is needed for it; where that is not to be had, a sentence says so.
    """
    kind = next((part.kind for part in manifest.parts if part.kind in KINDS), None)
    if kind is None:
        return
    try:
        base = open_base(manifest.base.name)
        from polygraft.attach.graft import rebuild_graft

        graft = rebuild_graft(base, *store.get(manifest.name, version=manifest.version))
    except PolygraftError as error:
        say(f"Densities are not shown, since the base is needed for them. {error}")
        return
    show_table(_build_table(base, graft, manifest, kind=kind))


def _build_table(base: Base, graft: Graft, manifest: Manifest, *, kind: str) -> Table:
    from polygraft.attach.sparse import find_edit, read_places
    from polygraft.parts.delta import DeltaLayers
    from polygraft.parts.mask import MaskLayers

    masks = read_places(find_edit(graft, DeltaLayers if kind == "delta" else MaskLayers))
    counts = [(name, mask.numel(), int(mask.sum())) for name, mask in masks.items()]
    size, num = sum(row[1] for row in counts), sum(row[2] for row in counts)
    copies = {"these weights": 4 * size, "the base": 4 * base.num_parameters}
    shares = " and ".join(
        f"{format_share(manifest.num_bytes / num_bytes)} of a copy of {what}"
        for what, num_bytes in copies.items()
    )
    return Table(
        ident="densities",
        caption=f"What the {kind} {KINDS[kind]}; {format_bytes(manifest.num_bytes)} with all else, {shares}",
        columns=("Weight", "Numbers", "Places", "Density"),
        numeric=(False, True, True, True),
        rows=tuple(_build_row(*row) for row in (("all", size, num), *counts)),
    )


def _build_row(name: str, size: int, num: int) -> tuple[Cell, ...]:
    density = format_share(num / size) if size else format_share(0)
    return Cell(text=name, code=True), count_cell(size), Cell(text=f"{num:,}"), Cell(text=density)
