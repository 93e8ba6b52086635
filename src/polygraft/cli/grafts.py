"""`polygraft grafts`: what a store holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import say, show_table, write, write_json
from polygraft.cli.densities import list_stored_facts, show_densities
from polygraft.cli.options import AnyBaseOption, JsonOption, StoreOption, VersionOption
from polygraft.errors import StoreError
from polygraft.report.cells import DASH, Cell, Table, bytes_cell, count_cell, seconds_cell
from polygraft.report.numbers import format_bytes, format_share

if TYPE_CHECKING:
    from pathlib import Path

    from polygraft.store.fields import JsonValue
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The graft's name.")]


def list_grafts(*, store: StoreOption, as_json: JsonOption = False) -> None:
    """List the grafts of a store, also those that are damaged."""
    from polygraft.store.store import Store

    opened = Store(store)
    opened.check_is_folder(must_exist=False)
    listed = [_look_at(opened, name) for name in opened.names()]
    if as_json:
        write_json([_list_values(found) for found in listed])
    elif not listed:
        say(f"The store {store} is empty. `polygraft quickstart` or `polygraft run` fills one.")
    else:
        show_table(_list_table(f"Grafts in {store}", listed))
    damaged = [found for found in listed if found.error is not None]
    for found in damaged:
        say(f"'{found.name}' is damaged: {found.error}", style="")
    if damaged:
        raise make_damaged(num=len(damaged), of=len(listed), store=store)


def show_graft(
    *,
    name: NameArgument,
    version: VersionOption = None,
    densities: Annotated[
        bool,
        typer.Option("--densities", help="Show how many places of each weight it changes, or keeps."),
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="NAME", help="For --densities: its base, if not what the manifest names."
        ),
    ] = None,
    any_base: AnyBaseOption = False,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Show what a graft is, how it was trained and what it scored."""
    from polygraft.store.manifest import manifest_to_json
    from polygraft.store.store import Store

    opened = Store(store)
    manifest = opened.manifest(name, version=version)
    if as_json and not densities:
        write(manifest_to_json(manifest))
        return
    if not as_json:
        show_manifest(manifest)
    if densities:
        show_densities(opened, manifest, base=base, any_base=any_base, as_json=as_json)
    elif list_stored_facts(manifest):
        say("--densities loads the base and shows how many places of each weight these are.")


def show_manifest(manifest: Manifest) -> None:
    """Show what a graft is as a table."""
    show_table(_facts_table(f"{manifest.name}, version {manifest.version}", _list_facts(manifest)))


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


@dataclass(frozen=True, kw_only=True)
class _Listed:
    name: str
    versions: list[int]
    manifest: Manifest | None
    error: str | None


def _look_at(store: Store, name: str) -> _Listed:
    try:
        manifest, versions = store.manifest(name), store.versions(name)
    except StoreError as error:
        return _Listed(name=name, versions=[], manifest=None, error=str(error))
    return _Listed(name=name, versions=versions, manifest=manifest, error=None)


def _list_values(found: _Listed) -> dict[str, object]:
    if found.manifest is None:
        return {"name": found.name, "error": found.error}
    return {**summarise(found.manifest), "versions": found.versions}


def _list_table(caption: str, listed: list[_Listed]) -> Table:
    return Table(
        ident="grafts",
        caption=caption,
        columns=("Graft", "Version", "Parts", "Objective", "Trained under", "Parameters", "Bytes", "Made"),
        numeric=(False, True, False, False, False, True, True, False),
        rows=tuple(
            _damaged_row(found.name)
            if found.manifest is None
            else _list_row(found.manifest, len(found.versions))
            for found in listed
        ),
    )


def _damaged_row(name: str) -> tuple[Cell, ...]:
    return (Cell(text=name, code=True), Cell(text=DASH), Cell(text="damaged"), *[Cell(text=DASH)] * 5)


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
    beside = "Made of" if manifest.trained_under is None else "With"
    return [
        ("Base", f"{base.name}, fingerprint {base.fingerprint}"),
        ("Tokenizer", f"fingerprint {manifest.tokenizer}"),
        *((f"Part: {part.kind}", _say_options(part.options)) for part in manifest.parts),
        ("Objective", manifest.objective or DASH),
        ("Trained under", manifest.trained_under or DASH),
        *(
            (f"{beside} {other.name}", f"version {other.version}, {other.sha256[:12]}")
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
        *list_stored_facts(manifest),
        *_list_costs(manifest.cost),
        ("Digest", manifest.sha256),
        ("Made", manifest.created),
        ("With", ", ".join(f"{name} {version}" for name, version in manifest.versions.items()) or DASH),
    ]


def _list_costs(cost: Mapping[str, float]) -> list[tuple[str, str]]:
    """Say what training took; what was not measured is left out."""
    facts = [("Time", seconds_cell(cost.get("seconds", 0)).text)]
    if "tokens" in cost and "tokens_per_second" in cost:
        facts.append(("Tokens", f"{cost['tokens']:,.0f}, {cost['tokens_per_second']:,.0f} a second"))
    if "padding" in cost:
        facts.append(("Padding", f"{format_share(cost['padding'])} of the tokens in all batches"))
    if "looked_up" in cost:
        kept = [format_bytes(cost.get(key, 0)) for key in ("cache_memory_bytes", "cache_file_bytes")]
        facts.append(
            (
                "Looked up",
                f"frozen layers of {format_share(cost['looked_up'])} of the batches; "
                f"{kept[0]} kept in memory, {kept[1]} in files",
            )
        )
    if "peak_memory_bytes" in cost:
        above = cost.get("peak_memory_above_start_bytes")
        more = "" if above is None else f", {format_bytes(above)} above the start"
        facts.append(("Peak memory", format_bytes(cost["peak_memory_bytes"]) + more))
    if "peak_device_memory_bytes" in cost:
        facts.append(("Peak memory of the GPU", format_bytes(cost["peak_device_memory_bytes"])))
    return facts


def _facts_table(caption: str, facts: list[tuple[str, str]]) -> Table:
    rows = tuple((Cell(text=name), Cell(text=value)) for name, value in facts)
    return Table(ident="facts", caption=caption, columns=("", ""), numeric=(False, False), rows=rows)


def _say_options(options: Mapping[str, JsonValue]) -> str:
    return (
        ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
        or DASH
    )


def make_damaged(*, num: int, of: int, store: Path) -> StoreError:
    """Make the error for a store of which some grafts are damaged."""
    return StoreError(
        f"{num} of {of} grafts in {store} are damaged. All were expected to be whole. "
        "Train or import them again, or remove them with `polygraft grafts remove`."
    )
