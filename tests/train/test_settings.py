"""What the settings of a training refuse."""

from __future__ import annotations

from typing import Any

import pytest

from polygraft.errors import OptionError
from polygraft.train.settings import TrainSettings, compute_lr


@pytest.mark.parametrize("given", [{}, {"steps": 3, "epochs": 2}])
def test_one_of_steps_and_epochs_is_needed(given: dict[str, int]):
    with pytest.raises(OptionError) as caught:
        TrainSettings(**given)
    assert str(caught.value) == (
        f"Training has steps={given.get('steps')} and epochs={given.get('epochs')}. Expected one of the two. Give a "
        "number of steps or a number of epochs."
    )


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("batch_tokens", 7, 8), ("evaluate_every", 0, 1), ("patience", 0, 1), ("checkpoint_every", 0, 1)],
)
def test_a_number_that_is_too_small_is_named(name: str, value: int, least: int):
    given: dict[str, Any] = {"steps": 1, name: value}
    with pytest.raises(OptionError) as caught:
        TrainSettings(**given)
    assert str(caught.value) == (
        f"Training has {name}={value}. Expected {least} or more. Give a larger number."
    )


@pytest.mark.parametrize(
    "change", [{"lr": 0.0}, {"lr": 1e30}, {"clip": -1.0}, {"weight_decay": -0.1}, {"warmup": 1.0}]
)
def test_rates_out_of_range_are_refused(change: dict[str, float]):
    options = {"lr": 0.1, "weight_decay": 0.0, "clip": 1.0, "warmup": 0.0, **change}
    with pytest.raises(OptionError) as caught:
        TrainSettings(steps=1, **options)
    said = ", ".join(f"{name}={options[name]}" for name in ("lr", "weight_decay", "clip", "warmup"))
    assert str(caught.value) == (
        f"Training has {said}. Expected lr above 0 and below 1,000,000, weight_decay and clip not below 0, and warmup "
        "from 0 up to (but not) 1. Correct the number."
    )


@pytest.mark.parametrize("factor", [0.0, -1.0, 1e6, float("inf"), float("nan")])
def test_a_head_that_cannot_learn_is_refused(factor: float):
    with pytest.raises(OptionError) as caught:
        TrainSettings(steps=1, head_lr_factor=factor)
    assert str(caught.value) == (
        f"Training has head_lr_factor={factor}. Expected a number above 0 and below 1,000,000, such as 10. Correct "
        "the number."
    )


@pytest.mark.parametrize("seed", [-1, 2**63, 99999999999999999999999])
def test_a_seed_that_no_generator_takes_is_refused(seed: int):
    with pytest.raises(OptionError) as caught:
        TrainSettings(steps=1, seed=seed)
    assert str(caught.value) == (
        f"Training has seed={seed}. Expected 0 or more, and less than 2**63. Give another number."
    )
    assert TrainSettings(steps=1, seed=2**63 - 1).seed == 2**63 - 1


@pytest.mark.parametrize("warmup", [0.0, 0.06, 0.5, 0.99])
def test_the_learning_rate_peaks_once_and_never_is_zero(warmup: float):
    settings = TrainSettings(steps=40, lr=1.0, warmup=warmup)
    rates = [compute_lr(settings, step=step, total=40) for step in range(40)]
    assert max(rates) == 1.0
    assert min(rates) > 0
    peak = rates.index(1.0)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
