from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import make_base
from tests.weights import WEIGHTS, draw_masks, draw_values, put, run

from polygraft.attach.graft import copy_tensors, make_graft, rebuild_graft
from polygraft.attach.sparse import find_edit, make_mask, read_places
from polygraft.errors import GraftError, OptionError
from polygraft.parts.mask import Mask, MaskLayers
from polygraft.parts.places import measure_entropy
from polygraft.store.store import Store

NAME = "encoder.layer.0.output.dense.weight"


def edit(layers: MaskLayers, v: torch.Tensor) -> list[float]:
    layers.edit(NAME, v, at=None)
    return v.view(16, 24)[0, :4].tolist()


def test_survivors_stay_get_values_or_both():
    base = make_base()
    kept, own = (torch.zeros(16, 24, dtype=torch.bool) for _ in range(2))
    kept[0, :2] = own[0, 1] = True
    values = {NAME: torch.full((16, 24), 7.0)}
    make = {
        "pure": make_mask(base, "m", {NAME: kept}, weights=(NAME,)),
        "all": make_mask(base, "m", {NAME: kept}, weights=(NAME,), values=values),
        "some": make_mask(base, "m", {NAME: kept}, weights=(NAME,), values=values, valued={NAME: own}),
    }
    found = {key: edit(find_edit(graft, MaskLayers), torch.ones(16 * 24)) for key, graft in make.items()}
    assert found == {"pure": [1, 1, 0, 0], "all": [7, 7, 0, 0], "some": [1, 7, 0, 0]}


def test_what_is_below_gets_a_gradient_where_it_is_left_alone():
    base = make_base()
    kept, own = (torch.zeros(16, 24, dtype=torch.bool) for _ in range(2))
    kept[0, :3] = own[0, 1] = True
    graft = make_mask(
        base, "m", {NAME: kept}, weights=(NAME,), values={NAME: torch.ones(16, 24)}, valued={NAME: own}
    )
    layers, grad = find_edit(graft, MaskLayers), torch.full((16 * 24,), 2.0)
    layers.differentiate(NAME, grad, at=None, below=lambda: grad)
    assert layers.values is not None and layers.values.grad is not None
    assert layers.values.grad.tolist() == [2.0]
    assert grad.nonzero().flatten().tolist() == [0, 2]


@pytest.mark.parametrize("has_values", [False, True])
@pytest.mark.parametrize("density", [0.0, 1e-4, 0.5, 1.0])
def test_a_mask_of_any_density_comes_back_from_a_store(density: float, has_values: bool, tmp_path: Path):
    base = make_base()
    kept = draw_masks(base, density, seed=1)
    values = draw_values(kept, seed=2) if has_values else None
    graft = make_mask(base, "m", kept, weights=WEIGHTS, values=values)
    store = Store(tmp_path / "store")
    put(store, base, graft)
    found = rebuild_graft(base, *store.get("m"))
    assert all(
        torch.equal(mask, kept[name]) for name, mask in read_places(find_edit(found, MaskLayers)).items()
    )
    assert torch.equal(run(base, "m", [found]), run(base, "m", [graft]))


@pytest.mark.parametrize("density", [0.01, 0.1, 0.3, 0.5, 0.8, 0.99])
def test_a_pure_mask_takes_a_bit_a_weight_or_less(density: float, tmp_path: Path):
    base = make_base(hidden_size=128, intermediate_size=512)
    kept = {name: mask for name, mask in draw_masks(base, density, seed=1).items() if mask.dim() == 2}
    manifest = put(Store(tmp_path / "store"), base, make_mask(base, "m", kept))
    entropy = measure_entropy((mask.numel(), int(mask.sum())) for mask in kept.values())
    assert manifest.num_bytes <= 1.1 * entropy + 264
    assert manifest.num_parameters == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"retrained": "some"},
            "The part 'mask' has retrained='some' and num_values=None. Expected a number with 'some', and none with "
            "'all' or 'none'. Make it from masks.",
        ),
        (
            {"retrained": "al"},
            "The part 'mask' has retrained='al'. Expected one of none, all, some. Did you mean 'all'? Choose one.",
        ),
        (
            {"num_kept": -1, "num_code_bytes": 2},
            "The part 'mask' has -1 places and 2 bytes that say which. Expected two numbers, 0 or more, or none of "
            "both for all places. Make it from a mask.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], sentence: str):
    with pytest.raises(OptionError) as refused:
        Mask.from_options(options)
    assert str(refused.value) == sentence


def test_a_base_in_int8_is_refused_before_anything_changes():
    base = make_base()
    vars(base)["is_int8"] = True
    graft = make_graft(base, "m", [Mask()])
    with pytest.raises(Exception) as refused:
        run(base, "m", [graft])
    assert str(refused.value) == (
        "The graft 'm' changes weights of the base, and the base 'tiny-bert' was loaded in int8, whose weights were "
        "rounded once. Expected float32 or bfloat16. Load it with another --dtype."
    )
    assert base.in_force == []


@pytest.mark.parametrize(
    "options",
    [
        {"num_kept": 2**70, "num_code_bytes": 9},
        {"retrained": "some", "num_values": 2**70, "num_value_code_bytes": 9},
    ],
)
def test_more_places_than_the_weights_have_take_no_memory(options: dict[str, Any]):
    with pytest.raises(OptionError) as refused:
        make_graft(make_base(), "m", [Mask(**options)])
    assert str(refused.value) == (
        f"The part 'mask' has {2**70} places and 9 bytes that say which, for 18 weights of 5,376 numbers. Expected at "
        "most 5,376 places and 5,952 bytes. Make it from a mask."
    )


def test_a_packed_mask_comes_back_from_a_store_in_16_bits(tmp_path: Path):
    """Two codes and values: what survives, and what of it has values of its own."""
    base, store = make_base(), Store(tmp_path / "store")
    kept, own = draw_masks(base, 0.6, seed=1), draw_masks(base, 0.5, seed=2)
    own = {name: mask & kept[name] for name, mask in own.items()}
    values = draw_values(kept, seed=3)
    graft = make_mask(base, "m", kept, weights=WEIGHTS, values=values, valued=own, dtype="float16")
    put(store, base, graft)
    found = rebuild_graft(base, *store.get("m"))
    assert all(torch.equal(tensor, found.tensors()[name]) for name, tensor in graft.tensors().items())
    assert torch.equal(run(base, "m", [found]), run(base, "m", [graft]))


def test_spoiled_places_of_the_values_are_refused_when_they_are_loaded():
    base = make_base()
    kept = draw_masks(base, 0.6, seed=1)
    graft = make_mask(base, "m", kept, weights=WEIGHTS, values=draw_values(kept, seed=3), valued=kept)
    tensors = {name: tensor.clone() for name, tensor in graft.tensors().items()}
    tensors["mask.valued.code"][-1] = 255
    with pytest.raises(GraftError, match=r"^The part 'mask' cannot be read at tensor 32 of 32: "):
        copy_tensors(make_graft(base, "m", graft.parts), tensors)
