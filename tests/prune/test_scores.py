from __future__ import annotations

import pytest
import torch

from polygraft.errors import GraftError, OptionError
from polygraft.prune.scores import (
    CRITERIA,
    change,
    find_criterion,
    fisher,
    magnitude,
    movement,
    random,
    wanda,
)


def test_magnitude_is_the_size():
    weight = torch.tensor([[-2.0, 0.5]], requires_grad=True)
    score = magnitude({"w": weight})("w")
    assert score.tolist() == [[2.0, 0.5]]
    assert not score.requires_grad


def test_change_is_the_distance_from_the_start():
    score = change({"w": torch.tensor([1.0, -1.0])}, {"w": torch.tensor([3.0, -1.5])})
    assert score("w").tolist() == [2.0, 0.5]


def test_change_of_short_floats_is_not_rounded():
    after, before = torch.tensor([256.0]).bfloat16(), torch.tensor([0.0625]).bfloat16()
    assert change({"w": after}, {"w": before})("w").tolist() == [255.9375]


def test_change_leaves_the_weights_as_they_are():
    after, before = torch.tensor([1.0]), torch.tensor([3.0])
    change({"w": after}, {"w": before})("w")
    assert (after.item(), before.item()) == (1.0, 3.0)


def test_sums_are_scores():
    sums = {"w": torch.tensor([-1.0, 2.0])}
    assert movement(sums)("w").tolist() == fisher(sums)("w").tolist() == [-1.0, 2.0]


def test_wanda_is_the_size_times_the_input():
    weights = {"w": torch.tensor([[1.0, -2.0], [3.0, 0.0]])}
    assert wanda(weights, {"w": torch.tensor([10.0, 1.0])})("w").tolist() == [[10.0, 2.0], [30.0, 0.0]]
    assert weights["w"].tolist() == [[1.0, -2.0], [3.0, 0.0]]


def test_chance_depends_on_the_seed_and_the_name_alone():
    shapes = {"a": (50, 3), "b": (50, 3)}
    score, alone = random(shapes, seed=4), random({"b": (50, 3)}, seed=4)
    first = score("b")
    score("a")
    assert torch.equal(first, score("b"))
    assert torch.equal(first, alone("b"))
    assert not torch.equal(first, score("a"))
    assert not torch.equal(first, random(shapes, seed=5)("b"))
    assert first.shape == (50, 3)


def test_chance_is_the_same_on_every_machine():
    values = random({"w": (3,)}, seed=7)("w")
    assert values.tolist() == [0.07122063636779785, 0.10674583911895752, 0.6943157911300659]


def test_chance_is_even():
    values = random({"w": (20_000,)}, seed=0)("w")
    counts = torch.histc(values, bins=10, min=0.0, max=1.0)
    assert ((counts - 2000).abs() < 200).all()


def test_every_criterion_is_a_function_of_its_file():
    functions = [magnitude, change, movement, fisher, wanda, random]
    assert list(CRITERIA) == [function.__name__ for function in functions]


def test_an_unknown_criterion_is_refused():
    assert find_criterion("wanda").needs == ("weights", "activations")
    with pytest.raises(OptionError) as caught:
        find_criterion("magnitud")
    assert str(caught.value) == (
        "The criterion 'magnitud' is not known. One of magnitude, change, movement, fisher, wanda, random was "
        "expected. Did you mean 'magnitude'? Choose one of them."
    )


def test_a_missing_tensor_is_refused():
    with pytest.raises(GraftError) as caught:
        fisher({"a.weight": torch.ones(1)})("b.weight")
    assert str(caught.value) == (
        "There is no sum of squared gradients of 'b.weight'. One for each tensor that is chosen from was expected, and "
        "there are 1. Did you mean 'a.weight'? Leave 'b.weight' out, or gather it too."
    )


def test_a_start_of_another_shape_is_refused():
    with pytest.raises(GraftError) as caught:
        change({"w": torch.ones(2, 3)}, {"w": torch.ones(3)})("w")
    assert str(caught.value) == (
        "'w' has the shape (2, 3), and its start (3,). One shape was expected. Give the weights that the training "
        "began with."
    )


@pytest.mark.parametrize(("weight", "norm"), [((3,), (3,)), ((2, 3), (2,)), ((2, 3), (1,))])
def test_inputs_that_do_not_fit_are_refused(weight: tuple[int, ...], norm: tuple[int, ...]):
    with pytest.raises(GraftError) as caught:
        wanda({"w": torch.ones(weight)}, {"w": torch.ones(norm)})("w")
    assert str(caught.value) == (
        f"'w' has the shape {weight}, and its inputs' norms {norm}. A matrix and one norm for each of its columns were "
        "expected. Choose weights of linear layers only."
    )


def test_a_negative_seed_is_refused():
    with pytest.raises(OptionError) as caught:
        random({"w": (2,)}, seed=-1)
    assert (
        str(caught.value) == "The seed is -1. A whole number of at least 0 was expected. Give such a number."
    )
