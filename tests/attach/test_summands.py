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

from polygraft.attach.graft import make_graft
from polygraft.attach.sparse import make_delta, make_mask
from polygraft.attach.summands import Rule, WholeTensors, gather_summands
from polygraft.errors import GraftError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.parts.head import Head
from polygraft.parts.part import Dimensions, Part

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
        "The graft 'a' has the part 'unknown', for which no sum is known. Expected bottlenecks, invertible parts, "
        "heads, deltas, and masks with values. Name other grafts."
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
