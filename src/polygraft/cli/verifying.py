"""`polygraft grafts verify`: whether the grafts of a store are whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import say, show_table, write_json
from polygraft.cli.grafts import make_damaged
from polygraft.cli.loading import open_base
from polygraft.cli.options import JsonOption, StoreOption
from polygraft.errors import GraftError, NotInStoreError, PolygraftError, StoreError
from polygraft.report.cells import DASH, Cell, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polygraft.base.base import Base
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store

BUNDLED = "bundled"


def verify_grafts(
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="The grafts; all if none is named.")
    ] = None,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Check every version of grafts: digests, shapes, numbers, names, and that its tensors are those of its parts."""
    from polygraft.store.store import Store

    opened = Store(store)
    opened.check_is_folder(must_exist=True)
    bases: dict[str, Base | None] = {}
    rows = [row for name in names or opened.names() for row in _verify_versions(opened, name, bases)]
    num_damaged = sum(row["problem"] is not None for row in rows)
    if as_json:
        write_json(rows)
    elif not rows:
        say(f"The store {store} is empty: there is nothing to check.")
    else:
        table_rows = [
            (
                Cell(text=str(row["name"])),
                Cell(text=str(row["version"] or DASH)),
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
        raise make_damaged(num=num_damaged, of=len(rows), store=store)


def _verify_versions(
    store: Store, name: str, bases: dict[str, Base | None]
) -> list[dict[str, str | int | None]]:
    try:
        versions = store.versions(name)
    except NotInStoreError:
        raise
    except StoreError as error:
        return [{"name": name, "version": None, "problem": str(error)}]
    rows: list[dict[str, str | int | None]] = [
        {"name": name, "version": version, "problem": _find_problem(store, name, version, bases)}
        for version in versions
    ]
    try:
        store.latest(name)
    except StoreError as error:
        rows.append({"name": name, "version": None, "problem": str(error)})
    return rows


def _find_problem(store: Store, name: str, version: int, bases: dict[str, Base | None]) -> str | None:
    from polygraft.attach.graft import rebuild_graft
    from polygraft.store.commands import say_again
    from polygraft.store.graft import TENSORS

    try:
        manifest, tensors = store.get(name, version=version)
    except PolygraftError as error:
        return str(error)
    folder = store.find_folder(manifest)
    base = _find_base(manifest, bases)
    try:
        if base is None:
            _check_owners(manifest, tensors)
        else:
            # That the base is the graft's own is known; its tokenizer says nothing about damage.
            rebuild_graft(base, manifest, tensors, any_base=True, folder=folder)
    except PolygraftError as error:
        return str(error) if base is not None else f"{error} That was {folder / TENSORS}. {say_again(folder)}"
    return None


def _check_owners(manifest: Manifest, names: Iterable[str]) -> None:
    """Refuse what can be seen without the base: parts that nobody knows, and tensors of none of the parts."""
    from polygraft.attach.graft import find_key
    from polygraft.parts.table import make_part

    keys: list[str] = []
    for record in manifest.parts:
        keys.append(find_key(make_part(record.kind, record.options), keys))
    for name in names:
        if name.split(".")[0] not in keys:
            raise GraftError(
                f"The graft '{manifest.name}' has a tensor '{name}' that is of none of its parts, "
                f"{', '.join(keys)}. No such tensor was expected."
            )


def _find_base(manifest: Manifest, bases: dict[str, Base | None]) -> Base | None:
    """Give a graft's own base where it is at hand: nothing is fetched for a check."""
    name = manifest.base.name
    if name not in bases:
        bases[name] = None
        if name == BUNDLED or Path(name).expanduser().is_dir():
            try:
                bases[name] = open_base(name, device="cpu", dtype="float32")
            except PolygraftError as error:
                say(f"The tensors of the grafts of '{name}' are not compared with it: {error}")
    base = bases[name]
    return base if base is not None and base.fingerprint == manifest.base.fingerprint else None
