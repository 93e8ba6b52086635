from __future__ import annotations

import pytest
import torch

from polygraft.errors import OptionError
from polygraft.parts.part import Dimensions
from polygraft.parts.prompt import Prompt

SIZES = Dimensions(num_layers=3, hidden=8, embedding=6, vocab=20)


def test_a_prompt_is_as_many_embeddings_of_the_word_embeddings_size():
    layers = Prompt(length=400).build(SIZES, generator=torch.Generator().manual_seed(0))
    assert {name: list(value.shape) for name, value in layers.named_parameters()} == {"values": [400, 6]}
    assert layers.make_prompt() is layers.values
    assert layers.length == 400
    assert 0.015 < layers.values.std() < 0.025


@pytest.mark.parametrize("length", [0, -3, 4097])
def test_a_length_that_cannot_be_meant_is_refused(length: int):
    with pytest.raises(OptionError) as refusal:
        Prompt(length=length)
    assert str(refusal.value) == (
        f"The part 'prompt' has length={length}. Expected a whole number from 1 to 4096. Correct it."
    )
