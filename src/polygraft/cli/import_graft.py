"""`polygraft import`: grafts from the files of other libraries, with a certificate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import say, show_table, write_json
from polygraft.cli.loading import open_base, waiting
from polygraft.cli.options import BaseOption, JsonOption, StoreOption
from polygraft.report.cells import Cell, Table

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.interop.certificate import Certificate
    from polygraft.interop.imported import Imported
    from polygraft.store.manifest import Manifest

FolderArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The folder that the other library wrote, or a zip of it.")
]
NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="What plans are to call the graft.")]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="A,B,...",
        help="Names of the head's labels, in order; the files have none.",
    ),
]
CheckOption = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--check",
        metavar="INPUTS EXPECTED",
        help="Two safetensors files: input_ids and attention_mask, and what the other library gave for them.",
    ),
]
ToleranceOption = Annotated[
    float, typer.Option("--tolerance", min=0.0, metavar="X", help="The largest difference for --check.")
]


def import_adapterhub(
    *,
    folder: FolderArgument,
    name: NameOption,
    with_head: Annotated[
        bool, typer.Option("--head/--no-head", help="Whether to take the head beside the adapter.")
    ] = True,
    check: CheckOption = None,
    tolerance: ToleranceOption = 1e-5,
    base: BaseOption,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Import an adapter of AdapterHub, of any release, with the head beside it, or a head or a fusion alone."""

    def read(loaded: Base) -> Imported:
        from polygraft.interop.adapterhub import import_adapterhub

        return import_adapterhub(loaded, folder, name=name, with_head=with_head)

    _import(read, name=name, base=base, store=store, check=check, tolerance=tolerance, as_json=as_json)


def import_sft(
    *,
    folder: FolderArgument,
    name: NameOption,
    labels: LabelsOption = None,
    check: CheckOption = None,
    tolerance: ToleranceOption = 1e-5,
    base: BaseOption,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Import a sparse fine-tuning of composable-sft."""

    def read(loaded: Base) -> Imported:
        from polygraft.interop.composable_sft import import_composable_sft

        return import_composable_sft(loaded, folder, name=name, labels=split_labels(labels))

    _import(read, name=name, base=base, store=store, check=check, tolerance=tolerance, as_json=as_json)


def import_peft(
    *,
    folder: FolderArgument,
    name: NameOption,
    labels: LabelsOption = None,
    check: CheckOption = None,
    tolerance: ToleranceOption = 1e-5,
    base: BaseOption,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Import a LoRA, an (IA)3, a prompt or a prefix of PEFT, with the head beside it."""

    def read(loaded: Base) -> Imported:
        from polygraft.interop.peft import import_peft

        return import_peft(loaded, folder, name=name, labels=split_labels(labels))

    _import(read, name=name, base=base, store=store, check=check, tolerance=tolerance, as_json=as_json)


def split_labels(labels: str | None) -> list[str] | None:
    """Give the names in a list with commas; None stays None.

    Example:
        >>> split_labels("O, B-PER")
        ['O', 'B-PER']
    """
    return None if labels is None else [label.strip() for label in labels.split(",")]


def _import(
    read: Callable[[Base], Imported],
    *,
    name: str,
    base: str,
    store: Path,
    check: tuple[Path, Path] | None,
    tolerance: float,
    as_json: bool,
) -> None:
    from polygraft.store.store import Store

    opened = Store(store)
    opened.prepare([name])
    # In float32 on the processor, which is what the two libraries are compared in.
    loaded = open_base(base, device="cpu", dtype="float32")
    from polygraft.interop.certificate import certify, read_expected
    from polygraft.interop.imported import describe_import

    with waiting(f"Importing '{name}' ..."):
        imported = read(loaded)
        certificate = (
            None
            if check is None
            else certify(loaded, imported.graft, read_expected(*check), tolerance=tolerance)
        )
        manifest = opened.put(
            describe_import(loaded, imported, certificate=certificate), imported.graft.tensors()
        )
    if as_json:
        write_json(_list_values(manifest))
    else:
        show_table(_draw(manifest, imported, certificate))
    for note in imported.origin.notes:
        say(note)
    if certificate is None:
        say("Nothing was compared: --check compares it with outputs that the other library gave.")
    say(f"'{manifest.name}', version {manifest.version}, is now in {store}.", style="")


def _list_values(manifest: Manifest) -> dict[str, object]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "parts": [part.kind for part in manifest.parts],
        "num_parameters": manifest.num_parameters,
        "num_bytes": manifest.num_bytes,
        "sha256": manifest.sha256,
        "import": manifest.hyperparameters["import"],
    }


def _draw(manifest: Manifest, imported: Imported, certificate: Certificate | None) -> Table:
    origin = imported.origin
    rows = [
        ("From", f"{origin.library}{'' if origin.version is None else f', {origin.version}'}"),
        ("Made for", f"{origin.made_for or 'not said'}; imported for {manifest.base.name}"),
        ("Parts", ", ".join(part.kind for part in manifest.parts)),
        ("Tensors", f"{origin.num_tensors} of {origin.num_tensors} used, none missing"),
        ("Parameters", f"{manifest.num_parameters:,}"),
        *((f"File: {file}", f"sha256 {digest}") for file, digest in origin.digests.items()),
        (
            "Largest difference",
            "not compared"
            if certificate is None
            else f"{certificate.largest_difference:.2e} in {certificate.num_values:,} {certificate.compared}, "
            f"at most {certificate.tolerance:g} accepted",
        ),
    ]
    return Table(
        ident="import",
        caption=f"{manifest.name}, version {manifest.version}: certificate of the import",
        columns=("", ""),
        numeric=(False, False),
        rows=tuple((Cell(text=key), Cell(text=value)) for key, value in rows),
    )
