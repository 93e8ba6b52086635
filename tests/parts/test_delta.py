from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import make_base
from tests.weights import draw_masks, draw_values, put, run

from polygraft.attach.graft import copy_tensors, make_graft, rebuild_graft
from polygraft.attach.sparse import find_edit, make_delta, read_places, read_values
from polygraft.errors import GraftError, OptionError
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.places import measure_entropy
from polygraft.store.store import Store


def test_a_delta_adds_its_values_at_its_places():
    base = make_base()
    name = "encoder.layer.0.output.dense.weight"
    mask = torch.zeros(16, 24, dtype=torch.bool)
    mask[0, 1] = mask[3, 4] = True
    graft = make_delta(base, "d", {name: mask}, weights=(name,), values={name: torch.full((16, 24), 0.5)})
    layers = find_edit(graft, DeltaLayers)
    v = torch.ones(16 * 24)
    layers.edit(name, v, at=layers.find_places(name))
    assert layers.values.tolist() == [0.5, 0.5]
    assert v.view(16, 24)[mask].tolist() == [1.5, 1.5] and v.sum() == 16 * 24 + 1


def test_its_gradient_is_what_stands_at_its_places_and_passes_on_whole():
    base = make_base()
    name = "encoder.layer.0.output.dense.weight"
    mask = torch.zeros(16, 24, dtype=torch.bool)
    mask[0, 1] = mask[3, 4] = True
    layers = find_edit(make_delta(base, "d", {name: mask}, weights=(name,)), DeltaLayers)
    grad = torch.arange(16 * 24, dtype=torch.float32)
    for _ in range(2):
        layers.differentiate(name, grad, at=layers.find_places(name), below=lambda: grad)
    assert layers.values.grad is not None
    assert layers.values.grad.tolist() == [2.0, 2.0 * (3 * 24 + 4)]
    assert torch.equal(grad, torch.arange(16 * 24, dtype=torch.float32))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("density", [0.0, 1e-4, 0.5, 1.0])
def test_a_delta_of_any_density_comes_back_from_a_store(density: float, dtype: str, tmp_path: Path):
    base = make_base()
    masks = draw_masks(base, density, seed=1)
    graft = make_delta(
        base, "d", masks, weights=("linear", "norm"), values=draw_values(masks, seed=2), dtype=dtype
    )
    store = Store(tmp_path / "store")
    put(store, base, graft)
    found = rebuild_graft(base, *store.get("d"))
    assert all(
        torch.equal(mask, masks[name]) for name, mask in read_places(find_edit(found, DeltaLayers)).items()
    )
    assert torch.equal(run(base, "d", [found]), run(base, "d", [graft]))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.3, 0.5, 0.9])
def test_the_file_is_hardly_larger_than_the_entropy_and_the_values(
    density: float, dtype: str, tmp_path: Path
):
    base = make_base(hidden_size=128, intermediate_size=512)
    masks = {name: mask for name, mask in draw_masks(base, density, seed=1).items() if mask.dim() == 2}
    graft = make_delta(base, "d", masks, values=draw_values(masks, seed=2), dtype=dtype)
    manifest = put(Store(tmp_path / "store"), base, graft)
    entropy = measure_entropy((mask.numel(), int(mask.sum())) for mask in masks.values())
    values = manifest.num_parameters * (4 if dtype == "float32" else 2)
    header = 8 + 256
    assert manifest.num_bytes <= 1.1 * (entropy + values) + header
    assert math.isclose(
        manifest.num_parameters, density * sum(m.numel() for m in masks.values()), rel_tol=0.2
    )


def test_values_are_given_back_densely():
    base = make_base()
    masks = draw_masks(base, 0.3, seed=1)
    values = draw_values(masks, seed=2)
    found = read_values(
        find_edit(make_delta(base, "d", masks, weights=("linear", "norm"), values=values), DeltaLayers)
    )
    assert all(torch.equal(found[name], values[name] * masks[name]) for name in masks)


def test_half_of_the_places_options_is_refused():
    with pytest.raises(OptionError) as refused:
        Delta(num_values=3)
    assert str(refused.value) == (
        "The part 'delta' has 3 places and None bytes that say which. Expected two numbers, 0 or more, or none of both "
        "for all places. Make it from a mask."
    )


def test_a_code_that_means_other_places_is_refused_when_it_is_loaded():
    base = make_base()
    graft = make_delta(base, "d", draw_masks(base, 0.3, seed=1), weights=("linear", "norm"))
    tensors = {name: tensor.clone() for name, tensor in graft.tensors().items()}
    tensors["delta.places.code"][0] = 255
    with pytest.raises(GraftError, match=r"^The part 'delta' cannot be read at tensor 1 of"):
        copy_tensors(make_graft(base, "d", graft.parts), tensors)


def test_a_code_of_another_number_of_places_is_refused():
    base = make_base()
    name = "encoder.layer.0.output.dense.weight"
    one, two = (torch.arange(16 * 24).view(16, 24) < count for count in (1, 2))
    few, more = (make_delta(base, "d", {name: mask}, weights=(name,)) for mask in (one, two))
    with pytest.raises(GraftError) as refused:
        copy_tensors(few, {**few.tensors(), "delta.places.code": more.tensors()["delta.places.code"]})
    assert str(refused.value) == (
        "The places of the part 'delta' are 2, where 1 were expected by its other tensors."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"dtype": "float15"},
            "The part 'delta' has dtype='float15'. Expected one of float32, float16. Did you mean 'float16'? Choose "
            "one.",
        ),
        (
            {"num_values": 3, "num_code_bytes": -1},
            "The part 'delta' has 3 places and -1 bytes that say which. Expected two numbers, 0 or more, or none of "
            "both for all places. Make it from a mask.",
        ),
        (
            {"num_value": 3},
            "The part 'delta' has no option 'num_value'. Its options are weights, skip_layers, num_values, "
            "num_code_bytes, dtype. Did you mean 'num_values'? Correct the name.",
        ),
        (
            {"num_values": 0.5},
            "The part 'delta' has num_values=0.5. Expected a value of the type int | None. Correct it.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], sentence: str):
    with pytest.raises(OptionError) as refused:
        Delta.from_options(options)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(("num_values", "num_bytes"), [(2**70, 1), (2**62, 1), (1, 2**63), (5377, 99)])
def test_more_places_than_the_weights_have_take_no_memory(num_values: int, num_bytes: int):
    with pytest.raises(OptionError) as refused:
        make_graft(make_base(), "d", [Delta(num_values=num_values, num_code_bytes=num_bytes)])
    assert str(refused.value) == (
        f"The part 'delta' has {num_values} places and {num_bytes} bytes that say which, for 18 weights of 5,376 "
        "numbers. Expected at most 5,376 places and 5,952 bytes. Make it from a mask."
    )


@settings(max_examples=60)
@given(data=st.data())
def test_any_code_of_random_bytes_is_refused(data: st.DataObject):
    base = make_base()
    graft = make_delta(base, "d", draw_masks(base, 0.01, seed=1), weights=("linear", "norm"))
    code = graft.tensors()["delta.places.code"]
    spoiled = data.draw(st.binary(min_size=len(code), max_size=len(code)) | st.just(bytes(len(code))))
    tensors = {**graft.tensors(), "delta.places.code": torch.tensor(list(spoiled), dtype=torch.uint8)}
    with pytest.raises(GraftError) as refused:
        copy_tensors(make_graft(base, "d", graft.parts), tensors)
    assert str(refused.value).startswith(("The part 'delta' ", "The places of the part 'delta' are "))


def test_a_code_that_a_store_vouches_for_is_not_trusted(tmp_path: Path):
    base, store = make_base(), Store(tmp_path / "store")
    graft = make_delta(base, "d", draw_masks(base, 0.3, seed=1), weights=("linear", "norm"))
    with torch.no_grad():
        graft.layers.get_buffer("delta.places.code").fill_(0)
    put(store, base, graft)
    assert store.verify("d").name == "d"
    with pytest.raises(GraftError) as refused:
        rebuild_graft(base, *store.get("d"))
    num_bytes = graft.parts[0].to_options()["num_code_bytes"]
    assert str(refused.value) == (
        f"The part 'delta' has {num_bytes} bytes, of which its masks take 64. One mask was expected for each of 32 "
        "tensors, and nothing behind them. That was version 1 of the graft 'd'. Train or import the graft again, "
        "or remove it with `polygraft grafts remove d --version 1`."
    )
