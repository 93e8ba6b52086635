"""`polygraft export`: grafts as files that other libraries read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import say, write
from polygraft.cli.loading import open_base, waiting
from polygraft.cli.options import AnyBaseOption, BaseOption, StoreOption, VersionOption
from polygraft.errors import DataError

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The graft's name.")]
FolderArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Where the files go: a new folder, or an empty one.")
]
SafetensorsOption = Annotated[
    bool,
    typer.Option(
        "--safetensors",
        help="Write safetensors, which that library reads with use_safetensors=True only.",
    ),
]
StaticHeadOption = Annotated[
    bool,
    typer.Option(
        "--static-head",
        help="Write the head of a model of transformers, such as BertForTokenClassification.",
    ),
]
MembersOption = Annotated[
    str | None,
    typer.Option(
        "--members",
        metavar="A,B,...",
        help="Names of the adapters that a fusion mixes, in order; the plan it was trained under has them.",
    ),
]


def export_adapterhub(
    *,
    name: NameArgument,
    folder: FolderArgument,
    safetensors: SafetensorsOption = False,
    static_head: StaticHeadOption = False,
    members: MembersOption = None,
    version: VersionOption = None,
    base: BaseOption,
    any_base: AnyBaseOption = False,
    store: StoreOption,
) -> None:
    """Write a graft as a folder of AdapterHub: an adapter or a union of several, with its head, or a fusion."""

    def save(loaded: Base, graft: Graft) -> Sequence[Path]:
        from polygraft.interop.adapterhub_export import export_adapterhub

        return export_adapterhub(
            loaded,
            graft,
            folder,
            safetensors=safetensors,
            static_head=static_head,
            members=None if members is None else [member.strip() for member in members.split(",")],
        )

    _export(save, name=name, version=version, folder=folder, base=base, any_base=any_base, store=store)


def export_sft(
    *,
    name: NameArgument,
    folder: FolderArgument,
    version: VersionOption = None,
    base: BaseOption,
    any_base: AnyBaseOption = False,
    store: StoreOption,
) -> None:
    """Write a graft with a delta as a sparse fine-tuning of composable-sft."""

    def save(loaded: Base, graft: Graft) -> Sequence[Path]:
        from polygraft.interop.composable_sft import export_composable_sft

        return [export_composable_sft(loaded, graft, folder)]

    _export(save, name=name, version=version, folder=folder, base=base, any_base=any_base, store=store)


def export_peft(
    *,
    name: NameArgument,
    folder: FolderArgument,
    version: VersionOption = None,
    base: BaseOption,
    any_base: AnyBaseOption = False,
    store: StoreOption,
) -> None:
    """Write a graft of LoRA or (IA)3, a prompt or a prefix, with its head, as a folder of PEFT."""

    def save(loaded: Base, graft: Graft) -> Sequence[Path]:
        from polygraft.interop.peft_export import export_peft

        return export_peft(loaded, graft, folder)

    _export(save, name=name, version=version, folder=folder, base=base, any_base=any_base, store=store)


def check_room(folder: Path) -> None:
    """Refuse a folder that has something in it already.

    Raises:
        DataError: It has, or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is no folder. Expected a new folder, or an empty one. Name another.")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if names:
        raise DataError(
            f"The folder {folder} has {', '.join(names[:4])} in it. Expected a new folder, or an empty one. Name "
            "another, or empty it."
        )


def _export(
    save: Callable[[Base, Graft], Sequence[Path]],
    *,
    name: str,
    version: int | None,
    folder: Path,
    base: str,
    any_base: bool,
    store: Path,
) -> None:
    from polygraft.store.store import Store

    check_room(folder)
    manifest, tensors = Store(store).get(name, version=version)
    loaded = open_base(base, device="cpu", dtype="float32")
    from polygraft.attach.graft import rebuild_graft

    with waiting(f"Writing '{name}' ..."):
        written = save(
            loaded,
            rebuild_graft(
                loaded, manifest, tensors, any_base=any_base, folder=Store(store).find_folder(manifest)
            ),
        )
    for path in written:
        write(f"{path}\n")
    if manifest.base.fingerprint != loaded.fingerprint:
        say(
            f"'{manifest.name}' was trained on '{manifest.base.name}' and is written for '{loaded.name}', which has "
            "other weights: what is stored as a difference to these (rows' lengths of DoRA, biases) is one to those of "
            "the new base. Load the files on that base, and compare what they give before you use them."
        )
    say(f"'{manifest.name}', version {manifest.version}, is written.", style="")
