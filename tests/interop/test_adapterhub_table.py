"""The table of parts in docs/interop.md says what is brought over and what is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tests.tiny import make_base, make_trained_graft

from polygraft.errors import GraftError
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.adapterhub_export import export_adapterhub
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.delta import Delta
from polygraft.parts.fusion import Fusion
from polygraft.parts.glow import Glow
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.mask import Mask
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt
from polygraft.parts.scores import Scores
from polygraft.parts.table import PARTS

PAGE = Path(__file__).parent.parent.parent / "docs" / "interop.md"
GRAFTS: dict[str, list[Part]] = {
    "bottleneck": [Bottleneck(reduction=4, scaling=1.0)],
    "invertible": [Bottleneck(reduction=4, scaling=1.0), Invertible()],
    "compacter": [Compacter(reduction=4, terms=2)],
    "lora": [Lora(rank=2)],
    "lora with dora": [Lora(rank=2, dora=True)],
    "ia3": [IA3(inputs=())],
    "prefix": [Prefix(length=2)],
    "fusion": [Fusion()],
    "head": [Head(objective="tokens", labels=("O", "B"))],
    "prompt": [Prompt(length=2)],
    "glow": [Bottleneck(reduction=4, scaling=1.0), Glow()],
    "bitfit": [BitFit()],
    "delta": [Delta(weights=("norm",))],
    "mask": [Mask()],
    "scores": [Scores(weights=("norm",))],
}


def read_table() -> dict[str, tuple[str, str]]:
    """Give what the page says of each part: what comes over, and what goes back."""
    lines = PAGE.read_text().split("| part | import | export |")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {
        name: (there, back)
        for cell, there, back in rows
        for name in re.findall(r"`(\w+)`", cell.replace("`lora` with `dora`", "`lora_with_dora`"))
    }


def test_the_table_has_a_row_for_every_part():
    assert {name.replace("_with_dora", "") for name in read_table()} == PARTS.keys()
    assert [name.replace("_", " ") for name in read_table()] == list(GRAFTS)


@pytest.mark.parametrize("name", GRAFTS)
def test_a_part_goes_back_as_the_table_says(tmp_path: Path, name: str):
    there, back = read_table()[name.replace(" ", "_")]
    base = make_base("bert")
    graft = make_trained_graft(base, "x", GRAFTS[name])
    if back == "refused":
        with pytest.raises(GraftError, match=r"The graft 'x' has .*Expected .* Export another graft\.$"):
            export_adapterhub(base, graft, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    assert there not in ("refused", "that library has none")
    export_adapterhub(base, graft, tmp_path / "out", members=["a", "b"])
    again = import_adapterhub(base, tmp_path / "out", name="x").graft
    assert again.parts == graft.parts
    assert all(torch.equal(tensor, graft.tensors()[key]) for key, tensor in again.tensors().items())
