"""The folders that other libraries wrote, as bases and inputs."""

from __future__ import annotations

from pathlib import Path

from tests.tiny import make_tokenizer
from transformers import AutoModel

from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.interop.certificate import Expected, read_expected

FORMATS = Path(__file__).parent.parent / "formats"


def load_golden_base(folder: Path) -> Base:
    """Freeze the encoder of a folder; the folders have no tokenizer."""
    model = AutoModel.from_pretrained(folder / "base", add_pooling_layer=False)
    return freeze_base(name=folder.name, model=model, tokenizer=make_tokenizer())


def read_case(folder: Path, case: str) -> Expected:
    return read_expected(folder / "inputs.safetensors", folder / f"expected-{case}.safetensors")
