"""What all parts share: options as plain values, and tensors from a generator."""

from __future__ import annotations

import json

import pytest
import torch

from polygraft.errors import OptionError
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
from polygraft.parts.part import Part, check_width, make_linear
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt
from polygraft.parts.scores import Scores
from polygraft.parts.table import PARTS, make_part

EXAMPLES: list[Part] = [
    Bottleneck(reduction=2, skip_layers=(-1,), scaling=0.5),
    Bottleneck(placement="parallel", semantics="paper", init="bert", activation="gelu"),
    Invertible(reduction=4, activation="tanh"),
    Head(objective="tokens", labels=("O", "B-LOC"), layer=2),
    Head(objective="mlm"),
    Lora(rank=4, alpha=2.5, roles=("key", "down"), skip_layers=(0,), rslora=True, dora=True),
    IA3(outputs=("value", "up"), inputs=(), skip_layers=(-1,)),
    BitFit(weights=("norm", "*.query.bias"), skip_layers=(1,)),
    Delta(weights=("norm", "*.query.weight"), num_values=3, num_code_bytes=9, dtype="float16"),
    Mask(skip_layers=(0, -1), num_kept=5, num_code_bytes=9, retrained="all"),
    Scores(init=0.5, threshold=-1.0),
    Bottleneck(scaling="learned"),
    Compacter(terms=2, rank=None, shared=False, placement="ffn", skip_layers=(1,)),
    Prefix(length=5, reparameterization=None, skip_layers=(0,)),
    Prompt(length=7),
    Glow(reduction=1, activation="tanh"),
    Fusion(placement="attention+ffn", skip_layers=(1,)),
]


@pytest.mark.parametrize("part", EXAMPLES, ids=lambda part: part.kind)
def test_a_part_is_what_its_written_options_say(part: Part):
    options = json.loads(json.dumps(part.to_options()))
    assert make_part(part.kind, options) == part


def test_the_table_has_every_part_under_its_own_name():
    assert {kind: part.kind for kind, part in PARTS.items()} == {kind: kind for kind in PARTS}
    assert {part.kind for part in EXAMPLES} == set(PARTS)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "bottelneck",
            {},
            f"There is no part 'bottelneck'. Known are {', '.join(PARTS)}. Did you mean "
            "'bottleneck'? Correct the name.",
        ),
        (
            "invertible",
            {"reducton": 2},
            "The part 'invertible' has no option 'reducton'. Its options are reduction, activation. "
            "Did you mean 'reduction'? Correct the name.",
        ),
        (
            "head",
            {"labels": ["a", "b"]},
            "The part 'head' lacks the option 'objective', which has no default. Its options are objective, labels, "
            "layer, activation. Give it a value.",
        ),
        (
            "bottleneck",
            {"reduction": "two"},
            "The part 'bottleneck' has reduction='two'. Expected a value of the type float. Correct it.",
        ),
        (
            "bottleneck",
            {"skip_layers": [1.5]},
            "The part 'bottleneck' has skip_layers=(1.5,). Expected a value of the type tuple[int, ...]. Correct it.",
        ),
        (
            "bottleneck",
            {"scaling": float("nan")},
            "The part 'bottleneck' has scaling=nan. Expected a value of the type float | 'learned' | None. "
            "Correct it.",
        ),
        (
            "compacter",
            {"rank": "full"},
            "The part 'compacter' has rank='full'. Expected a value of the type int | None. Correct it.",
        ),
        (
            "head",
            {"objective": "mlm", "layer": True},
            "The part 'head' has layer=True. Expected a value of the type int. Correct it.",
        ),
        (
            "invertible",
            {"activation": {"name": "relu"}},
            "The part 'invertible' has activation={'name': 'relu'}. Expected a value of the type str. Correct it.",
        ),
    ],
)
def test_written_options_that_cannot_be_meant_are_refused(kind: str, options: dict, message: str):
    with pytest.raises(OptionError) as refusal:
        make_part(kind, options)
    assert str(refusal.value) == message


def test_a_linear_layer_is_drawn_from_its_generator_alone():
    torch.manual_seed(7)
    first = make_linear(3, 5, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    second = make_linear(3, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.weight.shape == (3, 5)
    assert first.weight.abs().max() <= 5**-0.5


def test_a_linear_layer_may_start_at_zero():
    layer = make_linear(3, 5, generator=torch.Generator(), std=0)
    assert layer.weight.abs().max() == 0
    assert layer.bias.abs().max() == 0


@pytest.mark.parametrize(("reduction", "width"), [(16, 1), (16 / 3, 3), (1, 16), (0.5, 32), (0.125, 128)])
def test_a_width_is_the_size_over_the_reduction_and_at_most_eight_sizes(reduction: float, width: int):
    assert check_width("bottleneck", size=16, reduction=reduction) == width


def test_a_linear_layer_of_the_meta_device_takes_no_memory():
    with torch.device("meta"):
        layer = make_linear(10**9, 10**6, generator=torch.Generator())
    assert (layer.weight.is_meta, layer.weight.shape, layer.bias.shape) == (True, (10**9, 10**6), (10**9,))
