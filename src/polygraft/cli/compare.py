"""`polygraft grafts compare`: what two grafts do to the same weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import say, show_table, write_json
from polygraft.cli.loading import open_base
from polygraft.cli.options import (
    AnyBaseOption,
    BaseOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    StoreOption,
)
from polygraft.report.cells import Cell, Table, count_cell
from polygraft.report.numbers import format_share

if TYPE_CHECKING:
    from polygraft.attach.compare import Comparison, Overlap
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.store.store import Store

NUM_ROWS = 20
"""Weights that a table shows; JSON has all of them."""

FirstArgument = Annotated[
    str, typer.Argument(metavar="A", help="A graft that changes weights, as `qu` or `qu@2`.")
]
SecondArgument = Annotated[str, typer.Argument(metavar="B", help="Another one.")]


def compare(
    *,
    first: FirstArgument,
    second: SecondArgument,
    base: BaseOption,
    device: DeviceOption,
    dtype: DtypeOption,
    any_base: AnyBaseOption = False,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Compare two grafts that change weights: what both change, and what a stack of them does."""
    from polygraft.store.store import Store

    opened = Store(store)
    loaded = open_base(base, device=device, dtype=dtype)
    from polygraft.attach.compare import compare_grafts

    a, b = (_load(loaded, opened, name, any_base=any_base) for name in (first, second))
    found = compare_grafts(a, b)
    if as_json:
        write_json(_list_values(found))
        return
    show_table(_build_table(found, first, second))
    for sentence in found.sentences:
        say(sentence, style="")


def _load(base: Base, store: Store, text: str, *, any_base: bool) -> Graft:
    from polygraft.attach.graft import rebuild_graft
    from polygraft.attach.parse import parse_plan
    from polygraft.attach.plan import Named
    from polygraft.errors import PlanError

    named = parse_plan(text)
    if not isinstance(named, Named):
        raise PlanError(
            f"'{text}' is a plan of several grafts. Expected one graft, such as qu or qu@2. Name it by itself."
        )
    manifest, tensors = store.get(named.name, version=named.version)
    return rebuild_graft(base, manifest, tensors, any_base=any_base)


def _list_values(found: Comparison) -> dict[str, object]:
    return {
        "total": _describe(found.total),
        "weights": [_describe(each) for each in found.weights],
        "sentences": list(found.sentences),
    }


def _describe(each: Overlap) -> dict[str, object]:
    return {**asdict(each), "num_by_chance": each.num_by_chance, "jaccard": each.jaccard}


def _build_table(found: Comparison, first: str, second: str) -> Table:
    shown = found.weights[:NUM_ROWS]
    more = f"; the {NUM_ROWS} with the most in common" if len(found.weights) > NUM_ROWS else ""
    return Table(
        ident="compare",
        caption=f"{first} and {second}: {len(found.weights)} weights{more}",
        columns=("Weight", first, second, "Both", "By chance", "Jaccard", "Opposite"),
        numeric=(False, True, True, True, True, True, True),
        rows=tuple(_build_row(each) for each in (found.total, *shown)),
    )


def _build_row(each: Overlap) -> tuple[Cell, ...]:
    return (
        Cell(text=each.name, code=True),
        count_cell(each.num_a),
        count_cell(each.num_b),
        count_cell(each.num_both),
        count_cell(each.num_by_chance),
        Cell(text=format_share(each.jaccard)),
        count_cell(each.num_opposite),
    )
