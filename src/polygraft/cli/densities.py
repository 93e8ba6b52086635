"""How densely a graft changes or keeps the weights of its base, and what that takes on disk."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from polygraft.cli.console import say, show_table, write_json
from polygraft.cli.loading import open_base
from polygraft.report.cells import Cell, Table, bytes_cell, count_cell, share_cell
from polygraft.report.numbers import format_bytes, format_share

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store

VERBS = {"delta": "changes", "mask": "keeps"}
"""Parts with places in weights, and what they do at them."""
NUM_ROWS = 40
"""Weights that a table shows one by one; more are taken together by their layer and role."""
FLOAT32_BYTES = 4


class Stored(NamedTuple):
    """Bytes of one part that changes weights in graft.safetensors."""

    mask: int
    """Of the packed places."""
    values: int
    """Of the numbers at these places."""


class Row(NamedTuple):
    """Places of one weight, or of several together."""

    name: str
    layer: int | None
    role: str
    size: int
    num_places: int


def measure_stored(manifest: Manifest) -> dict[str, Stored]:
    """Give the bytes of the deltas and masks of a graft by their names among its tensors, as `delta` or `delta_2`."""
    found: dict[str, Stored] = {}
    for name, record in manifest.tensors.items():
        part, _, tensor = name.partition(".")
        if part.partition("_")[0] in VERBS:
            num = math.prod(record.shape)
            so_far = found.get(part, Stored(0, 0))
            if tensor == "values":
                num *= 2 if record.dtype == "float16" else FLOAT32_BYTES
                found[part] = so_far._replace(values=so_far.values + num)
            else:
                found[part] = so_far._replace(mask=so_far.mask + num)
    return found


def list_stored_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Say what the deltas and masks of a graft take on disk, without its base."""
    return [
        (
            f"Bytes: {part}",
            f"{format_bytes(each.mask)} say which places, {format_bytes(each.values)} are their values",
        )
        for part, each in measure_stored(manifest).items()
    ]


def show_densities(
    store: Store, manifest: Manifest, *, base: str | None, any_base: bool, as_json: bool
) -> None:
    """Show the density of a graft in each weight, and its bytes beside those of copies of the weights.

    Args:
        store: Where the graft is.
        manifest: What it is.
        base: What its base is loaded by; None takes what the manifest says.
        any_base: Whether to accept another base.
        as_json: Whether to write all weights as JSON instead of tables.

    Raises:
        BaseModelError: The base cannot be loaded.
        FingerprintError: It is another one.
        GraftError: The graft has no delta and no mask.
    """
    manifest, tensors = store.get(manifest.name, version=manifest.version)
    # Where and in which format it would be computed does not matter: nothing is.
    loaded = open_base(base or manifest.base.name, device="cpu", dtype="float32")
    from polygraft.attach.graft import rebuild_graft

    graft = rebuild_graft(loaded, manifest, tensors, any_base=any_base, folder=store.find_folder(manifest))
    kind, rows = _count(graft)
    parts = measure_stored(manifest).values()
    stored = Stored(mask=sum(each.mask for each in parts), values=sum(each.values for each in parts))
    if as_json:
        write_json(_list_values(manifest, rows, kind=kind, stored=stored, base=loaded))
        return
    show_table(_build_table(manifest, rows, kind=kind))
    show_table(_build_cost_table(rows, stored=stored, base=loaded))
    if len(rows) > NUM_ROWS:
        say(f"The {len(rows)} weights are shown by layer and role; --json lists each of them.")


def _count(graft: Graft) -> tuple[str, list[Row]]:
    """Give the kind of a graft's part that changes weights, and its places in each of them."""
    from polygraft.attach.sparse import find_change, mark_places

    layers = find_change(graft)
    return layers.options.kind, [
        Row(
            info.name,
            layer=info.layer,
            role=info.role,
            size=info.size,
            num_places=int(mark_places(layers, info.name).sum()),
        )
        for info in layers.infos
    ]


def _gather(rows: Iterable[Row]) -> list[Row]:
    """Take weights together by layer and role, those outside of all layers first."""
    found: dict[tuple[int, str], Row] = {}
    for row in rows:
        layer = -1 if row.layer is None else row.layer
        name = f"outside of the layers, {row.role}" if row.layer is None else f"layer {row.layer}, {row.role}"
        so_far = found.get((layer, row.role), row._replace(name=name, size=0, num_places=0))
        found[layer, row.role] = so_far._replace(
            size=so_far.size + row.size, num_places=so_far.num_places + row.num_places
        )
    return [found[key] for key in sorted(found)]


def _add(rows: Iterable[Row]) -> Row:
    listed = list(rows)
    size, num_places = sum(row.size for row in listed), sum(row.num_places for row in listed)
    return Row("all", layer=None, role="all", size=size, num_places=num_places)


def _build_table(manifest: Manifest, rows: list[Row], *, kind: str) -> Table:
    is_long = len(rows) > NUM_ROWS
    shown = _gather(rows) if is_long else rows
    return Table(
        ident="densities",
        caption=f"What the {kind} of {manifest.name} {VERBS[kind]}",
        columns=("Weights" if is_long else "Weight", "Numbers", "Places", "Density"),
        numeric=(False, True, True, True),
        rows=tuple(map(_draw_row, shown)),
        foot=_draw_row(_add(rows)),
    )


def _draw_row(row: Row) -> tuple[Cell, ...]:
    places = Cell(text=f"{row.num_places:,}", value=row.num_places)
    return Cell(text=row.name, code=True), count_cell(row.size), places, share_cell(row.num_places, row.size)


def _build_cost_table(rows: list[Row], *, stored: Stored, base: Base) -> Table:
    num_bytes = stored.mask + stored.values
    copies = {
        "a copy of these weights": FLOAT32_BYTES * _add(rows).size,
        "the whole base": FLOAT32_BYTES * base.num_parameters,
    }
    own = {"which places": stored.mask, "their values": stored.values, "both": num_bytes}
    return Table(
        ident="costs",
        caption="On disk, beside float32 copies",
        columns=("", "Bytes", "The graft's share"),
        numeric=(False, True, True),
        rows=(
            *((Cell(text=name), bytes_cell(num), Cell(text="")) for name, num in own.items()),
            *(
                (Cell(text=name), bytes_cell(num), Cell(text=format_share(num_bytes / num)))
                for name, num in copies.items()
            ),
        ),
    )


def _list_values(
    manifest: Manifest, rows: list[Row], *, kind: str, stored: Stored, base: Base
) -> dict[str, object]:
    total = _add(rows)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "part": kind,
        "size": total.size,
        "num_places": total.num_places,
        "num_mask_bytes": stored.mask,
        "num_value_bytes": stored.values,
        "num_copy_bytes": FLOAT32_BYTES * total.size,
        "num_base_bytes": FLOAT32_BYTES * base.num_parameters,
        "weights": [
            {**row._asdict(), "density": row.num_places / row.size if row.size else 0.0} for row in rows
        ],
    }
