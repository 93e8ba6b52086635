"""Which library wrote a folder, told by its files, so that the wrong command can name the right one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from polygraft.errors import DataError
from polygraft.interop.source import Source

CONFIG = "adapter_config.json"
"""Both PEFT and AdapterHub call their configuration so."""
PEFT_KEY = "peft_type"
"""A key that PEFT writes into every configuration, and AdapterHub into none."""
PEFT_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTERHUB_FILES = (
    "adapter_fusion_config.json",
    "head_config.json",
    "adapter.safetensors",
    "pytorch_adapter.bin",
)
ADAPTERHUB_KEY = "config"
"""A key of every configuration of AdapterHub: what the adapter is made of."""
SFT_FILE = "pytorch_diff.bin"


@dataclass(frozen=True, kw_only=True)
class Library:
    """A library whose folders are imported."""

    name: str
    command: str
    """What `polygraft import` calls it."""


PEFT = Library(name="PEFT", command="peft")
ADAPTERHUB = Library(name="AdapterHub", command="adapterhub")
SFT = Library(name="composable-sft", command="sft")


def refuse_others(source: Source, *, wanted: Library) -> None:
    """Refuse a folder that another library wrote; one that shows no library is let through.

    Args:
        source: The folder.
        wanted: The library that it should be of.

    Raises:
        DataError: It is of another library, which the message names with its command.
    """
    if wanted == SFT and source.has(SFT_FILE):
        # Nothing else of the folder is read.
        return
    signs = find_signs(source)
    if not signs or wanted.command in signs:
        return
    for library in (PEFT, ADAPTERHUB, SFT):
        if library.command in signs:
            raise DataError(
                f"{source.where} is a folder of {library.name}, since it has {signs[library.command]}. Expected one "
                f"of {wanted.name}. Import it with `polygraft import {library.command} {shlex.quote(source.where)}`."
            )


def find_signs(source: Source) -> Mapping[str, str]:
    """Give what shows which libraries wrote a folder, by their commands.

    A configuration that is of PEFT or of AdapterHub decides between these two; else the names of files do.

    Raises:
        DataError: The configuration is no JSON.
    """
    config = source.read_json(CONFIG) if source.has(CONFIG) else {}
    signs: dict[str, str] = {}
    if PEFT_KEY in config:
        signs[PEFT.command] = f"{CONFIG} with '{PEFT_KEY}'"
    elif ADAPTERHUB_KEY in config:
        signs[ADAPTERHUB.command] = f"{CONFIG} with '{ADAPTERHUB_KEY}'"
    else:
        for library, files in ((PEFT, PEFT_WEIGHTS), (ADAPTERHUB, ADAPTERHUB_FILES)):
            found = [file for file in files if source.has(file)]
            if found:
                signs[library.command] = found[0]
    if source.has(SFT_FILE):
        signs[SFT.command] = SFT_FILE
    return signs
