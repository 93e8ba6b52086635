"""`polygraft doctor`: what is attached where, and whether all is as it should be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polygraft.cli.bases import describe_base, draw_facts
from polygraft.cli.console import say, show_table, write_json
from polygraft.cli.loading import open_base, waiting
from polygraft.cli.options import (
    PLAN_HELP,
    AnyBaseOption,
    BaseOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    StoreOption,
)
from polygraft.errors import GraftError
from polygraft.report.cells import Cell, Table, bytes_cell, count_cell

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment

Row = dict[str, Any]


def doctor(
    *,
    plan: Annotated[str | None, typer.Option("--plan", metavar="PLAN", help=PLAN_HELP)] = None,
    base: BaseOption,
    store: StoreOption,
    device: DeviceOption,
    dtype: DtypeOption,
    any_base: AnyBaseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a plan attaches where, and check with a probe that it works and can be undone."""
    found = examine(plan, base=base, store=store, device=device, dtype=dtype, any_base=any_base)
    for sentence in found["conflicts"]:
        say(sentence)
    if as_json:
        write_json(found)
    else:
        show_examination(found)
    failed = [check["name"] for check in found["checks"] if not check["is_good"]]
    if failed:
        raise GraftError(
            f"{len(failed)} of {len(found['checks'])} checks failed: {', '.join(failed)}. All were expected to be "
            "good. Do not use this plan, and report what is printed above."
        )


def examine(
    plan: str | None, *, base: str, store: Path, device: str, dtype: str, any_base: bool
) -> dict[str, Any]:
    """Load a base, attach a plan, probe it, take it off, and give all that was seen as plain values."""
    loaded = open_base(base, device=device, dtype=dtype)
    from polygraft.attach.attach import attach
    from polygraft.cli.probe import check_removal, probe_plan, take_picture
    from polygraft.recipe.workshop import describe_machine, list_versions
    from polygraft.store.store import Store

    found: dict[str, Any] = {
        "versions": list_versions(),
        "machine": describe_machine(loaded),
        "base": describe_base(loaded),
        "plan": plan,
        "grafts": [],
        "places": [],
        "conflicts": [],
        "checks": [],
    }
    if plan is None:
        return found
    with waiting("Probing ..."):
        before = take_picture(loaded)
        with attach(loaded, plan, store=Store(store), any_base=any_base) as attachment:
            found["plan"] = str(attachment)
            found["grafts"] = [_describe_graft(graft) for graft in attachment.grafts]
            found["places"] = list_places(attachment)
            found["conflicts"] = attachment.edits.list_conflicts()
            found["checks"] = probe_plan(attachment, bare=before)
        found["checks"] += check_removal(loaded, before=before)
    return found


def list_places(attachment: Attachment) -> list[Row]:
    """List where the grafts of a plan stand, from the embeddings to the heads."""
    from polygraft.parts.edit import EditLayers

    places: dict[tuple[int, str], list[str]] = {}
    for graft in attachment.grafts:
        if graft.find_invertible() is not None:
            places.setdefault((-1, "embeddings"), []).append(f"{graft.name} invertible")
        for part, layers in zip(graft.parts, graft.layers.children(), strict=True):
            for place in _list_acting(layers):
                places.setdefault(place, []).append(f"{graft.name} {part.kind}")
            if isinstance(layers, EditLayers):
                counts = Counter(-1 if info.layer is None else info.layer for info in layers.infos)
                for layer, num in counts.items():
                    what = f"{graft.name} {part.kind} of {num}"
                    places.setdefault((layer, "weights"), []).append(what)
        head = graft.find_head()
        if head is not None:
            layer = head.options.layer
            after = "all layers" if layer == -1 else f"{layer} layers"
            place = f"head for {head.options.objective}, after {after}"
            places.setdefault((attachment.base.sites.num_layers, place), []).append(f"{graft.name} head")
    return [
        {
            "layer": layer if 0 <= layer < attachment.base.sites.num_layers else None,
            "place": place.replace("ffn", "feed-forward"),
            "grafts": names,
        }
        for (layer, place), names in sorted(places.items(), key=lambda item: item[0][0])
    ]


def _list_acting(layers: Any) -> list[tuple[int, str]]:
    """List where layers act in a pass: behind sublayers, or at linear maps."""
    from polygraft.parts.reach import ProjectionLayers, SublayerLayers

    if isinstance(layers, SublayerLayers):
        return layers.list_places()
    if isinstance(layers, ProjectionLayers):
        inputs = [(layer, f"input of {role}") for layer, role in layers.list_inputs()]
        return inputs + [(layer, f"output of {role}") for layer, role in layers.list_outputs()]
    return []


def show_examination(found: dict[str, Any]) -> None:
    """Show what was found, table by table."""
    show_table(draw_facts("Versions", found["versions"]))
    show_table(draw_facts("Machine", found["machine"]))
    show_table(draw_facts("Base", found["base"]))
    if found["plan"] is None:
        say("No plan was given: --plan 'stack(qu, ner)' shows what it attaches where, and checks it.")
        return
    show_table(_draw_grafts(found))
    show_table(_draw_places(found))
    show_table(_draw_checks(found))


def _describe_graft(graft: Any) -> Row:
    manifest = graft.manifest
    return {
        "name": graft.name,
        "version": manifest.version,
        "parts": [part.kind for part in graft.parts],
        "num_parameters": graft.num_parameters,
        "num_bytes": manifest.num_bytes,
        "num_training": sum(tensor.numel() for tensor in graft.layers.parameters() if tensor.requires_grad),
        "base_fingerprint": manifest.base.fingerprint,
        "tokenizer_fingerprint": manifest.tokenizer,
        "sha256": manifest.sha256,
    }


def _draw_grafts(found: dict[str, Any]) -> Table:
    rows = tuple(
        (
            Cell(text=row["name"], note=f"version {row['version']}", code=True),
            Cell(text=", ".join(row["parts"])),
            count_cell(row["num_parameters"]),
            bytes_cell(row["num_bytes"]),
            count_cell(row["num_training"]),
            Cell(text=row["base_fingerprint"][:8]),
            Cell(text=row["tokenizer_fingerprint"][:8]),
        )
        for row in found["grafts"]
    )
    return Table(
        ident="grafts",
        caption=f"Grafts of the plan {found['plan']}, lowest first",
        columns=("Graft", "Parts", "Parameters", "Bytes", "Training", "Base", "Tokenizer"),
        numeric=(False, False, True, True, True, False, False),
        rows=rows,
    )


def _draw_places(found: dict[str, Any]) -> Table:
    rows = tuple(
        (
            Cell(text="\u2013" if row["layer"] is None else str(row["layer"])),
            Cell(text=row["place"]),
            Cell(text=", ".join(row["grafts"])),
        )
        for row in found["places"]
    )
    return Table(
        ident="places",
        caption="What is attached where",
        columns=("Layer", "Place", "Grafts, in the order they act"),
        numeric=(True, False, False),
        rows=rows,
    )


def _draw_checks(found: dict[str, Any]) -> Table:
    rows = tuple(
        (
            Cell(text="good" if row["is_good"] else "FAILED", best=row["is_good"]),
            Cell(text=row["name"]),
            Cell(text=row["seen"]),
        )
        for row in found["checks"]
    )
    return Table(
        ident="checks",
        caption="Checks",
        columns=("", "What was checked", "What was seen"),
        numeric=(False, False, False),
        rows=rows,
    )
