"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polygraft.settings import load_settings

BaseOption = Annotated[
    str,
    typer.Option(
        "--base",
        default_factory=lambda: load_settings().base,
        show_default="bundled, or $POLYGRAFT_BASE",
        metavar="NAME",
        help="The frozen base: a Hugging Face id, a folder, or 'bundled'.",
    ),
]
StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        default_factory=lambda: load_settings().store,
        show_default="store, or $POLYGRAFT_STORE",
        metavar="FOLDER",
        help="The folder of grafts.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        default_factory=lambda: load_settings().device,
        show_default="auto, or $POLYGRAFT_DEVICE",
        metavar="NAME",
        help="Where the base is computed: auto, cpu, cuda or cuda:N.",
    ),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        "--dtype",
        default_factory=lambda: load_settings().dtype,
        show_default="auto, or $POLYGRAFT_DTYPE",
        metavar="NAME",
        help="Its number format: auto (float32), fastest, float32, bfloat16, float16 or int8.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
AnyBaseOption = Annotated[
    bool, typer.Option("--any-base", help="Accept grafts that were trained on another base or tokenizer.")
]
MergeOption = Annotated[
    bool,
    typer.Option(
        "--merge",
        help="Put LoRA, (IA)3, BitFit, deltas and masks into the base's weights first: faster passes.",
    ),
]
VersionOption = Annotated[
    int | None,
    typer.Option("--version", min=1, metavar="N", help="The version; the latest if none is given."),
]
PLAN_HELP = "The grafts in force, as in 'stack(qu, ner)'."
LogOption = Annotated[
    Path | None,
    typer.Option("--log-json", metavar="FILE", help="Add each event to a file as a line of JSON."),
]
