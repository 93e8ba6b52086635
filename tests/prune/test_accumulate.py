from __future__ import annotations

import pytest
import torch

from polygraft.errors import GraftError
from polygraft.prune.accumulate import FisherSums, InputNorms, MovementSums


def test_movement_is_what_moves_away_from_zero():
    sums = MovementSums()
    weight = torch.tensor([2.0, 2.0, -2.0], requires_grad=True)
    for grad in (torch.tensor([-1.0, 1.0, 1.0]), torch.tensor([-0.5, 0.0, 0.5])):
        sums.add("w", grad, weight)
    assert sums.sums["w"].tolist() == [3.0, -2.0, 3.0]
    assert not sums.sums["w"].requires_grad


def test_fisher_is_the_sum_of_squares():
    sums = FisherSums()
    grad = torch.tensor([1.0, -2.0])
    sums.add("w", grad)
    sums.add("w", torch.tensor([3.0, 0.0]))
    assert sums.sums["w"].tolist() == [10.0, 4.0]
    assert grad.tolist() == [1.0, -2.0]


def test_input_norms_are_those_of_all_batches_together():
    inputs, x = InputNorms(), torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    for rows in x.split(4):
        inputs.add("w", rows)
    assert torch.allclose(inputs.norms["w"], x.norm(dim=0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_of_short_floats_are_kept_in_float32(dtype: torch.dtype):
    movement, squares, inputs = MovementSums(), FisherSums(), InputNorms()
    one = torch.ones(1, dtype=dtype)
    for _ in range(3000):
        movement.add("w", -one, one)
        squares.add("w", one)
        inputs.add("w", one[None])
    assert movement.sums["w"].item() == squares.sums["w"].item() == 3000.0
    assert inputs.norms["w"].item() == pytest.approx(3000**0.5)
    assert inputs.norms["w"].dtype == movement.sums["w"].dtype == squares.sums["w"].dtype == torch.float32


def test_names_are_kept_apart():
    sums = FisherSums()
    sums.add("a", torch.ones(2))
    sums.add("b", torch.zeros(3))
    assert {name: tensor.tolist() for name, tensor in sums.sums.items()} == {"a": [1.0, 1.0], "b": [0.0] * 3}


def test_a_gradient_of_another_shape_is_refused():
    sums = FisherSums()
    sums.add("w", torch.ones(2))
    with pytest.raises(GraftError) as caught:
        sums.add("w", torch.ones(3))
    assert str(caught.value) == (
        "The gradient of 'w' has the shape (3,). (2,) was expected, as before. Add what belongs to one weight under "
        "one name."
    )


def test_a_weight_of_another_shape_is_refused():
    with pytest.raises(GraftError) as caught:
        MovementSums().add("w", torch.ones(2), torch.ones(1))
    assert str(caught.value) == (
        "'w' has the shape (1,), and its gradient (2,). One shape was expected. Add what belongs to one weight under "
        "one name."
    )


def test_inputs_that_are_no_rows_are_refused():
    with pytest.raises(GraftError) as caught:
        InputNorms().add("w", torch.ones(2, 3, 4))
    assert str(caught.value) == (
        "The inputs of 'w' have the shape (2, 3, 4). A row for each token [N, D_in] was expected. Flatten the other "
        "axes, for example by `x.reshape(-1, x.shape[-1])`."
    )


def test_inputs_of_another_width_are_refused():
    inputs = InputNorms()
    inputs.add("w", torch.ones(2, 3))
    with pytest.raises(GraftError) as caught:
        inputs.add("w", torch.ones(2, 4))
    assert str(caught.value) == (
        "The sum of squared inputs of 'w' has the shape (4,). (3,) was expected, as before. Add what belongs to one "
        "weight under one name."
    )
