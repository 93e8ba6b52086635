"""`polygraft grafts compare`: what two grafts do to the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import show_table, write, write_json
from polygraft.cli.loading import open_base
from polygraft.cli.options import AnyBaseOption, BaseOption, JsonOption, StoreOption
from polygraft.errors import FingerprintError, PlanError
from polygraft.report.cells import DASH, Cell, Table, count_cell
from polygraft.report.numbers import format_share

if TYPE_CHECKING:
    from collections.abc import Callable

    from polygraft.attach.compare import Comparison, Overlap
    from polygraft.attach.plan import Named
    from polygraft.store.manifest import Manifest

NUM_ROWS = 20
"""Weights that a table shows; JSON has all of them."""
VERBS = {"delta": "changes", "mask": "keeps"}
"""What the places of a part are."""

FirstArgument = Annotated[
    str, typer.Argument(metavar="A", help="A graft that changes weights, as `qu` or `qu@2`.")
]
SecondArgument = Annotated[str, typer.Argument(metavar="B", help="Another one.")]


def compare(
    *,
    first: FirstArgument,
    second: SecondArgument,
    base: BaseOption,
    any_base: AnyBaseOption = False,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Compare two grafts that change weights: what both change, and what a stack of them does."""
    from polygraft.store.store import Store

    wanted = [read_name(text) for text in (first, second)]
    stored = [Store(store).get(named.name, version=named.version) for named in wanted]
    if not any_base:
        _check_one_base(*(manifest for manifest, _ in stored))
    # Where and in which format it would be computed does not matter: nothing is.
    loaded = open_base(base, device="cpu", dtype="float32")
    from polygraft.attach.compare import compare_grafts
    from polygraft.attach.graft import rebuild_graft

    a, b = (
        rebuild_graft(loaded, *each, any_base=any_base, folder=Store(store).find_folder(each[0]))
        for each in stored
    )
    found = compare_grafts(a, b)
    if as_json:
        write_json(_list_values(found, manifests=[manifest for manifest, _ in stored]))
        return
    show_table(_build_table(found, first, second))
    for sentence in found.sentences:
        write(f"{sentence}\n")


def read_name(text: str) -> Named:
    """Read the name of one graft, as `qu` or `qu@2`.

    Raises:
        PlanError: It is no name, or a plan of several.
    """
    from polygraft.attach.parse import parse_plan
    from polygraft.attach.plan import Named

    named = parse_plan(text)
    if not isinstance(named, Named):
        raise PlanError(
            f"'{text}' is a plan of several grafts. Expected one graft, such as qu or qu@2. Name it by itself."
        )
    return named


def _check_one_base(a: Manifest, b: Manifest) -> None:
    if a.base.fingerprint != b.base.fingerprint:
        raise FingerprintError(
            f"Grafts '{a.name}' and '{b.name}' were trained on two bases: '{a.base.name}' with fingerprint "
            f"{a.base.fingerprint[:8]}, and '{b.base.name}' with {b.base.fingerprint[:8]}. Expected one, since a place "
            "is another weight in another base. Name two grafts of one base, or pass --any-base to try it all the same."
        )


def _list_values(found: Comparison, *, manifests: list[Manifest]) -> dict[str, object]:
    a, b = (
        {"name": manifest.name, "version": manifest.version, "part": kind}
        for manifest, kind in zip(manifests, (found.kind_a, found.kind_b), strict=True)
    )
    return {
        "a": a,
        "b": b,
        "total": _describe(found.total),
        "weights": [_describe(each) for each in found.weights],
        "sentences": list(found.sentences),
    }


def _describe(each: Overlap) -> dict[str, object]:
    values = each.values
    return {
        "name": each.name,
        "size": each.size,
        "num_a": each.num_a,
        "num_b": each.num_b,
        "num_both": each.num_both,
        "num_by_chance": each.num_by_chance,
        "share_by_chance": each.share_by_chance,
        "jaccard": each.jaccard,
        "num_a_pruned": each.num_a_pruned,
        "num_b_pruned": each.num_b_pruned,
        "num_a_undone": each.num_a_undone,
        "num_b_undone": each.num_b_undone,
        "num_opposite": None if values is None else values.num_opposite,
        "cosine": None if values is None else values.cosine,
        "norm_a": None if values is None else values.norm_a,
        "norm_b": None if values is None else values.norm_b,
        "norm_of_sum": None if values is None else values.norm_of_sum,
    }


def _build_table(found: Comparison, first: str, second: str) -> Table:
    # A list, since a graft may be compared with itself.
    columns: list[tuple[str, Callable[[Overlap], Cell]]] = [
        ("Weight", lambda each: Cell(text=each.name, code=True)),
        ("Numbers", lambda each: count_cell(each.size)),
        (f"{first} {VERBS[found.kind_a]}", lambda each: count_cell(each.num_a)),
        (f"{second} {VERBS[found.kind_b]}", lambda each: count_cell(each.num_b)),
        ("Both", lambda each: count_cell(each.num_both)),
        ("By chance", lambda each: count_cell(each.num_by_chance)),
        ("Jaccard", lambda each: Cell(text=format_share(each.jaccard))),
    ]
    if found.total.values is not None:
        columns += [("Opposite", _draw_opposite), ("Cosine", _draw_cosine)]
    if found.kind_b == "mask":
        columns.append((f"Pruned by {second}", lambda each: count_cell(each.num_a_pruned)))
    if found.kind_a == "mask":
        columns.append((f"Pruned by {first}", lambda each: count_cell(each.num_b_pruned)))
    more = f"; the {NUM_ROWS} with the most in common" if len(found.weights) > NUM_ROWS else ""
    *rows, total = (
        tuple(draw(each) for _, draw in columns) for each in (*found.weights[:NUM_ROWS], found.total)
    )
    return Table(
        ident="compare",
        caption=f"{first} and {second}: {len(found.weights)} weights{more}",
        columns=tuple(name for name, _ in columns),
        numeric=(False, *(True for _ in columns[1:])),
        rows=tuple(rows),
        foot=total,
    )


def _draw_opposite(each: Overlap) -> Cell:
    if each.values is None or not each.num_both:
        return Cell(text=DASH)
    return Cell(text=format_share(each.values.num_opposite / each.num_both))


def _draw_cosine(each: Overlap) -> Cell:
    cosine = None if each.values is None else each.values.cosine
    return Cell(text=DASH if cosine is None else f"{cosine:z.2f}")
