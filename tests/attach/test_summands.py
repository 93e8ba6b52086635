"""What of each part has a sum, and what has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from tests.tiny import make_base, make_trained_graft
from tests.weights import WEIGHTS, draw_masks, draw_values
from torch import Tensor, nn
from typing_extensions import override

from polygraft.attach.arithmetic import merge_grafts
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.merge import merge
from polygraft.attach.merging import Merging
from polygraft.attach.sparse import make_delta, make_mask
from polygraft.attach.summands import Rule, WholeTensors, gather_summands
from polygraft.base.base import Base
from polygraft.errors import GraftError
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora
from polygraft.parts.part import Dimensions, Part
from polygraft.parts.prefix import Prefix

HALVES = Rule(factors=torch.tensor([0.5, 0.5], dtype=torch.float64), elects=False, rescale=1.0)


@dataclass(frozen=True, kw_only=True)
class Unknown(Part):
    """A part that nobody has decided about."""

    kind: ClassVar[str] = "unknown"

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> nn.Module:
        return nn.Linear(1, 1)


class Counted(nn.Module):
    """Layers with a number that has no mean."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([float(count)]))
        self.register_buffer("count", torch.tensor([count]))


def test_a_part_that_nobody_has_decided_about_is_refused():
    base, part = make_base(), Unknown()
    with pytest.raises(GraftError) as caught:
        gather_summands(base, part, [nn.Linear(1, 1)] * 2, names=["a", "b"])
    assert str(caught.value) == (
        "The graft 'a' has the part 'unknown', for which no sum is known. Expected bottleneck, compacter, invertible, "
        "glow, lora, ia3, prefix, bitfit, fusion, head, delta, and mask with values. Name other grafts."
    )


def test_whole_numbers_are_never_averaged():
    part = Bottleneck()
    same = WholeTensors(part, [Counted(3), Counted(3)])
    assert same.add_up(HALVES, [None, None])[1]["count"].tolist() == [3]
    with pytest.raises(GraftError) as caught:
        WholeTensors(part, [Counted(3), Counted(5)]).add_up(HALVES, [None, None])
    assert str(caught.value) == (
        "The tensor 'count' of the part 'bottleneck' holds whole numbers, which differ between the grafts and have no "
        "sum. Expected the same ones. Name grafts that were made alike."
    )


def test_packed_places_are_made_anew_and_not_averaged():
    base = make_base()
    masks = [draw_masks(base, density, seed=seed) for seed, density in enumerate((0.1, 0.3))]
    a, b = (
        make_delta(base, name, mask, weights=WEIGHTS, values=draw_values(mask, seed=0))
        for name, mask in zip("ab", masks, strict=True)
    )
    summands = gather_summands(base, a.parts[0], [each.layers["delta"] for each in (a, b)], names=["a", "b"])
    part, tensors = summands.add_up(HALVES, [None, None])
    union = {name: masks[0][name] | masks[1][name] for name in masks[0]}
    expected = make_delta(base, "u", union, weights=WEIGHTS)
    assert part == expected.parts[0]
    assert torch.equal(tensors["places.code"], expected.tensors()["delta.places.code"])
    assert tensors["places.code"].dtype == torch.uint8


def find_differences(parts: list[Part]) -> Mapping[str, Tensor]:
    base = make_base()
    graft = make_trained_graft(base, "a", parts)
    (layers,) = graft.layers.children()
    return gather_summands(base, parts[0], [layers], names=["a"]).find_differences(0)


def test_a_head_has_no_differences_and_others_have_all_their_values():
    labels = ("O", "LOC")
    heads: list[dict[str, Any]] = [{"objective": "tokens", "labels": labels}, {"objective": "mlm"}]
    for options in heads:
        assert find_differences([Head(**options)]) == {}
    assert len(find_differences([Bottleneck(reduction=4)])) == 3 * 4
    assert list(find_differences([Delta()])) == ["values"]


def test_the_difference_of_a_mask_is_from_what_the_base_has():
    base = make_base()
    kept = draw_masks(base, 0.5, seed=0)
    weights = {name: weight.detach() for name, weight in base.model.named_parameters()}
    values = {name: weights[name] + 0.25 for name in kept}
    graft = make_mask(base, "m", kept, weights=WEIGHTS, values=values)
    summands = gather_summands(base, graft.parts[0], list(graft.layers.children()), names=["m"])
    difference = summands.find_differences(0)["values"]
    assert len(difference) == sum(int(mask.sum()) for mask in kept.values())
    assert (difference - 0.25).abs().max() < 1e-6


def test_masks_on_a_base_in_int8_are_refused():
    base = make_base()
    kept = draw_masks(base, 0.5, seed=0)
    graft = make_mask(base, "m", kept, weights=WEIGHTS, values=draw_values(kept, seed=0))
    object.__setattr__(base, "is_int8", True)
    with pytest.raises(GraftError) as caught:
        gather_summands(base, graft.parts[0], list(graft.layers.children()), names=["m"])
    assert str(caught.value) == (
        "The graft 'm' changes weights of the base, and the base 'tiny-bert' was loaded in int8, whose weights were "
        "rounded once. Expected float32 or bfloat16. Load it with another --dtype."
    )


def test_a_fresh_graft_is_the_start_of_all_parts():
    base = make_base()
    graft = make_graft(base, "fresh", [Head(objective="mlm")])
    none = Rule(factors=torch.zeros(1, dtype=torch.float64), elects=False, rescale=1.0)
    (layers,) = graft.layers.children()
    tensors = gather_summands(base, graft.parts[0], [layers], names=["fresh"]).add_up(none, [None])[1]
    assert torch.equal(tensors["norm.weight"], graft.tensors()["head.norm.weight"])
    assert torch.equal(tensors["bias"], graft.tensors()["head.bias"])


def read_merged(base: Base, graft: Graft) -> dict[str, Tensor]:
    """The base's weights with a graft in them, float64."""
    with merge(base, graft.name, grafts=[graft]):
        return {name: each.detach().double().clone() for name, each in base.model.named_parameters()}


LINEAR: Mapping[str, Part] = {
    "lora": Lora(rank=2, alpha=3.0),
    "rslora": Lora(rank=3, alpha=2.0, rslora=True, roles=("query", "output", "up", "down"), skip_layers=(0,)),
    "ia3": IA3(),
    "bitfit": BitFit(),
}
SUMS: Mapping[str, tuple[Merging, list[float]]] = {
    "interpolate": (Merging(how="interpolate", weights=(0.2, 0.5, 0.3)), [0.2, 0.5, 0.3]),
    "add": (Merging(how="add", weights=(1.0, -2.0, 0.5), scale=0.5), [0.5, -1.0, 0.25]),
    "subtract": (Merging(how="subtract"), [1.0, -1.0, -1.0]),
    "scale": (Merging(how="add", weights=(0.0, 1.0, 0.0), scale=-3.0), [0.0, -3.0, 0.0]),
    "nothing": (Merging(how="add", scale=0.0), [0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize("how", SUMS)
@pytest.mark.parametrize("kind", LINEAR)
def test_the_weights_with_a_sum_in_them_are_the_sum_of_the_weights(kind: str, how: str):
    base, (merging, factors) = make_base(), SUMS[how]
    grafts = [make_trained_graft(base, name, [LINEAR[kind]], seed=seed) for seed, name in enumerate("abc")]
    own = {name: each.detach().double().clone() for name, each in base.model.named_parameters()}
    members = [read_merged(base, graft) for graft in grafts]
    result = read_merged(base, merge_grafts(base, "sum", grafts, merging))
    changed = 0
    for name, found in result.items():
        differences = [
            factor * (member[name] - own[name]) for factor, member in zip(factors, members, strict=True)
        ]
        assert (found - own[name] - sum(differences)).abs().max() < 1e-5, name
        changed += int(not torch.equal(found, own[name]))
    assert changed == 0 if how == "nothing" else changed > 0


def test_a_sum_of_products_has_the_ranks_of_those_that_count():
    base, part = make_base(), Lora(rank=2, alpha=3.0)
    a, b, c = (make_trained_graft(base, name, [part], seed=seed) for seed, name in enumerate("abc"))
    merged = merge_grafts(base, "sum", [a, b, c], Merging(how="add", weights=(1.0, 0.0, 2.0)))
    (found,) = merged.parts
    assert found == Lora(rank=4, alpha=6.0)
    key = "lora.layers.1.value"
    assert torch.equal(
        merged.tensors()[f"{key}.A"], torch.cat([a.tensors()[f"{key}.A"], c.tensors()[f"{key}.A"]])
    )
    columns = [a.tensors()[f"{key}.B"], 2 * c.tensors()[f"{key}.B"]]
    assert torch.equal(merged.tensors()[f"{key}.B"], torch.cat(columns, dim=1))
    alone = merge_grafts(base, "alone", [a, b], Merging(how="interpolate", weights=(1.0, 0.0)))
    assert alone.parts == a.parts
    assert all(torch.equal(tensor, a.tensors()[name]) for name, tensor in alone.tensors().items())


@pytest.mark.parametrize(
    "merging",
    [Merging(how="ties"), Merging(how="ties", density=1), Merging(how="dare"), Merging(how="add", drop=0.1)],
)
def test_values_of_a_product_are_not_trimmed_elected_or_dropped(merging: Merging):
    base = make_base()
    grafts = [make_trained_graft(base, name, [Lora(rank=2), BitFit()]) for name in "ab"]
    with pytest.raises(GraftError) as caught:
        merge_grafts(base, "x", grafts, merging)
    assert str(caught.value) == (
        "The graft 'a' has a LoRA, and values were to be trimmed, elected or dropped, which a product of two matrices "
        "has not. Expected a plain sum. Choose 'interpolate', 'add' or 'subtract' without a drop."
    )


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            Lora(rank=2, dora=True),
            "The graft 'a' has a LoRA with dora=True, whose rows' lengths depend on its matrices: it has no sum. "
            "Expected dora=False. Stack such grafts in a plan, or name others.",
        ),
        (
            Prefix(length=2, reparameterization=4),
            "The graft 'a' has a prefix with reparameterization=4, and a sum of networks is not the network of a sum. "
            "Expected reparameterization=None, the plain values. Name grafts that were trained with that.",
        ),
    ],
)
def test_what_has_no_exact_sum_is_refused(part: Part, message: str):
    base = make_base()
    grafts = [make_trained_graft(base, name, [part]) for name in "ab"]
    with pytest.raises(GraftError) as caught:
        merge_grafts(base, "x", grafts, Merging(how="add"))
    assert str(caught.value) == message


def test_the_factors_of_ia3_are_trimmed_by_how_far_they_are_from_one():
    base = make_base()
    graft = make_graft(base, "a", [IA3(outputs=("key",), inputs=())])
    name = "ia3.outputs.0.key"
    with torch.no_grad():
        graft.layers.get_parameter(name)[:3] = torch.tensor([1.5, 0.2, 1.1])
    trimmed = merge_grafts(base, "x", [graft], Merging(how="ties", density=2 / graft.num_parameters))
    expected = torch.ones_like(graft.tensors()[name])
    expected[:2] = torch.tensor([1.5, 0.2])
    assert torch.equal(trimmed.tensors()[name], expected)
    doubled = merge_grafts(base, "x", [graft], Merging(how="add", scale=2.0)).tensors()[name]
    assert torch.allclose(doubled[:4], torch.tensor([2.0, -0.6, 1.2, 1.0]))
