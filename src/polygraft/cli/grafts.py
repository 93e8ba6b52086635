"""`polygraft grafts`: what a store holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import say, show_table, write, write_json
from polygraft.cli.options import JsonOption, StoreOption, VersionOption
from polygraft.errors import StoreError
from polygraft.report.cells import DASH, Cell, Table, bytes_cell, count_cell, seconds_cell

if TYPE_CHECKING:
    from polygraft.store.fields import JsonValue
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The graft's name.")]


def list_grafts(*, store: StoreOption, as_json: JsonOption = False) -> None:
    """List the grafts of a store."""
    from polygraft.store.store import Store

    opened = Store(store)
    names = opened.names()
    manifests = [opened.manifest(name) for name in names]
    versions = {name: opened.versions(name) for name in names}
    if as_json:
        write_json([{**summarise(manifest), "versions": versions[manifest.name]} for manifest in manifests])
        return
    if not names:
        say(f"The store {store} is empty. `polygraft quickstart` or `polygraft run` fills one.")
        return
    show_table(
        Table(
            ident="grafts",
            caption=f"Grafts in {store}",
            columns=(
                "Graft",
                "Version",
                "Parts",
                "Objective",
                "Trained under",
                "Parameters",
                "Bytes",
                "Made",
            ),
            numeric=(False, True, False, False, False, True, True, False),
            rows=tuple(_list_row(manifest, len(versions[manifest.name])) for manifest in manifests),
        )
    )


def show_graft(
    *,
    name: NameArgument,
    version: VersionOption = None,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Show what a graft is, how it was trained and what it scored."""
    from polygraft.store.manifest import manifest_to_json
    from polygraft.store.store import Store

    manifest = Store(store).manifest(name, version=version)
    if as_json:
        write(manifest_to_json(manifest))
        return
    show_manifest(manifest)


def show_manifest(manifest: Manifest) -> None:
    """Show what a graft is as a table."""
    show_table(_facts_table(f"{manifest.name}, version {manifest.version}", _list_facts(manifest)))


def verify_grafts(
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="The grafts; all if none is named.")
    ] = None,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Check every version of grafts: digests, shapes, numbers, names."""
    from polygraft.store.store import Store

    opened = Store(store)
    rows: list[dict[str, str | int | None]] = []
    for name in names or opened.names():
        for version in opened.versions(name):
            problem = _find_problem(opened, name, version)
            rows.append({"name": name, "version": version, "problem": problem})
    num_damaged = sum(row["problem"] is not None for row in rows)
    if as_json:
        write_json(rows)
    elif not rows:
        say(f"The store {store} is empty: there is nothing to check.")
    else:
        table_rows = [
            (
                Cell(text=str(row["name"])),
                Cell(text=str(row["version"])),
                Cell(text=str(row["problem"] or "whole")),
            )
            for row in rows
        ]
        show_table(
            Table(
                ident="verify",
                caption=f"{len(rows)} checked, {num_damaged} damaged",
                columns=("Graft", "Version", "State"),
                numeric=(False, True, False),
                rows=tuple(table_rows),
            )
        )
    if num_damaged:
        raise StoreError(
            f"{num_damaged} of {len(rows)} grafts in {store} are damaged. All were expected to be whole. "
            "Put them in again, or remove them with `polygraft grafts remove`."
        )


def remove_graft(
    *,
    name: NameArgument,
    version: Annotated[
        int | None, typer.Option("--version", min=1, metavar="N", help="One version; all if none is given.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreOption,
) -> None:
    """Remove one version of a graft, or all of them."""
    from polygraft.store.store import Store

    opened = Store(store)
    going = opened.versions(name) if version is None else [version]
    listed = ", ".join(map(str, going))
    if not yes and not typer.confirm(f"Remove '{name}', version {listed}, from {store}?", err=True):
        say("Nothing was removed.")
        return
    removed = opened.remove(name, version=version)
    say(f"Removed '{name}', version {', '.join(map(str, removed))}.", style="")


def rename_graft(
    *,
    old: Annotated[str, typer.Argument(metavar="OLD", help="Its name now.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    store: StoreOption,
) -> None:
    """Give a graft, with all its versions, another name."""
    from polygraft.store.store import Store

    Store(store).rename(old, new)
    say(f"'{old}' is now '{new}'.", style="")


def push_graft(
    *,
    name: NameArgument,
    target: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="A folder, hf://user/repo, or an address of fsspec.")
    ],
    version: VersionOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another graft that is at the address.")
    ] = False,
    store: StoreOption,
) -> None:
    """Send a graft to a folder, the Hugging Face hub, or cloud storage."""
    from polygraft.store.remote import push
    from polygraft.store.store import Store

    address = push(Store(store), name, target=target, version=version, overwrite=overwrite)
    say(f"'{name}' is now at {address}.", style="")


def pull_graft(
    *,
    source: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="A folder, hf://user/repo, or an address of fsspec.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Another name for it here.")
    ] = None,
    store: StoreOption,
) -> None:
    """Fetch a graft, check all of it, and put it into the store."""
    from polygraft.store.remote import pull
    from polygraft.store.store import Store

    manifest = pull(Store(store), source, name=name)
    say(f"'{manifest.name}', version {manifest.version}, is now in {store}.", style="")


def summarise(manifest: Manifest) -> dict[str, object]:
    """Give what a list says of a graft as plain values."""
    return {
        "name": manifest.name,
        "version": manifest.version,
        "parts": [part.kind for part in manifest.parts],
        "objective": manifest.objective,
        "trained_under": manifest.trained_under,
        "base": manifest.base.name,
        "num_parameters": manifest.num_parameters,
        "num_bytes": manifest.num_bytes,
        "scores": dict(manifest.scores),
        "created": manifest.created,
    }


def _list_row(manifest: Manifest, num_versions: int) -> tuple[Cell, ...]:
    older = f"of {num_versions}" if num_versions > 1 else None
    return (
        Cell(text=manifest.name, code=True),
        Cell(text=str(manifest.version), note=older),
        Cell(text=", ".join(part.kind for part in manifest.parts)),
        Cell(text=manifest.objective or DASH),
        Cell(text=manifest.trained_under or DASH),
        count_cell(manifest.num_parameters),
        bytes_cell(manifest.num_bytes),
        Cell(text=datetime.fromisoformat(manifest.created).strftime("%Y-%m-%d %H:%M")),
    )


def _list_facts(manifest: Manifest) -> list[tuple[str, str]]:
    base = manifest.base
    return [
        ("Base", f"{base.name}, fingerprint {base.fingerprint}"),
        ("Tokenizer", f"fingerprint {manifest.tokenizer}"),
        *((f"Part: {part.kind}", _say_options(part.options)) for part in manifest.parts),
        ("Objective", manifest.objective or DASH),
        ("Trained under", manifest.trained_under or DASH),
        *(
            (f"With {other.name}", f"version {other.version}, {other.sha256[:12]}")
            for other in manifest.members
        ),
        *(
            (f"Data: {data.name}", f"{data.num_examples:,} examples, {data.sha256[:12]}")
            for data in manifest.data
        ),
        ("Settings", _say_options(manifest.hyperparameters)),
        *((f"Score: {name}", f"{score:.4f}") for name, score in manifest.scores.items()),
        ("Parameters", count_cell(manifest.num_parameters).text),
        ("Bytes", bytes_cell(manifest.num_bytes).text),
        ("Time", seconds_cell(manifest.cost.get("seconds", 0)).text),
        ("Digest", manifest.sha256),
        ("Made", manifest.created),
        ("With", ", ".join(f"{name} {version}" for name, version in manifest.versions.items()) or DASH),
    ]


def _facts_table(caption: str, facts: list[tuple[str, str]]) -> Table:
    rows = tuple((Cell(text=name), Cell(text=value)) for name, value in facts)
    return Table(ident="facts", caption=caption, columns=("", ""), numeric=(False, False), rows=rows)


def _say_options(options: Mapping[str, JsonValue]) -> str:
    return (
        ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
        or DASH
    )


def _find_problem(store: Store, name: str, version: int) -> str | None:
    try:
        store.verify(name, version=version)
    except StoreError as error:
        return str(error)
    return None
