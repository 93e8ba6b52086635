"""The numbers that PEFT gave for its own prompts and prefixes, again to 1e-5.

The folders in tests/formats/peft were written by `peft` 0.21.2 (make.py there); their tensors are renamed by hand here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import make_tokenizer
from torch import Tensor
from transformers import AutoModel

from polygraft.attach.attach import attach
from polygraft.attach.graft import copy_tensors, make_graft
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt

FORMATS = Path(__file__).parent.parent / "formats"

every_family = pytest.mark.parametrize("family", ["bert", "xlm-roberta"])


def load_base(family: str, *, first_position: int = 0) -> Base:
    """The tiny base that PEFT had; its table of positions may begin later."""
    folder = FORMATS / "adapterhub" / family / "base"
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False)
    positions = model.embeddings.position_embeddings.weight.data
    positions[: len(positions) - first_position] = positions[first_position:].clone()
    tokenizer = make_tokenizer()
    if family == "bert":
        tokenizer.pad_token = "<s>"
    return freeze_base(name=family, model=model, tokenizer=tokenizer)


def read_values(family: str, case: str) -> Tensor:
    return load_file(FORMATS / "peft" / family / case / "adapter_model.safetensors")["prompt_embeddings"]


@torch.no_grad()
def find_difference(base: Base, family: str, case: str, part: Part, name: str) -> float:
    graft = make_graft(base, case, [part])
    copy_tensors(graft, {name: read_values(family, case)})
    inputs = load_file(FORMATS / "adapterhub" / family / "inputs.safetensors")
    expected = load_file(FORMATS / "peft" / family / f"expected-{case}.safetensors")["expected"]
    with attach(base, case, grafts=[graft]) as attachment:
        hidden = attachment.run(inputs["input_ids"], inputs["attention_mask"])
    assert hidden.shape == expected.shape
    return ((hidden - expected) * inputs["attention_mask"][..., None]).abs().max().item()


@every_family
def test_a_prompt_gives_the_same_hidden_states(family: str):
    base = load_base(family)
    assert find_difference(base, family, "prompt", Prompt(length=4), "prompt.values") < 1e-5


@every_family
def test_a_prefix_gives_the_same_hidden_states_where_positions_begin_behind_it(family: str):
    # PEFT hands the prefix over as a past of three tokens, so that the first piece has the position 3.
    part = Prefix(length=3, reparameterization=None)
    base = load_base(family, first_position=3)
    assert find_difference(base, family, "prefix", part, "prefix.source.values") < 1e-5
