from __future__ import annotations

import numpy as np
import pytest

from polygraft.data.chance import MASKS, ORDER, make_generator, make_listed_generator
from polygraft.errors import OptionError


def test_use_seed_and_place_each_give_other_numbers():
    cases = [
        (use, seed, place) for use in (ORDER, MASKS) for seed in (0, 1, 2**40) for place in (0, 1, 10**9)
    ]
    found = {make_generator(use, seed=seed, place=place).random() for use, seed, place in cases}
    assert len(found) == 18


def test_the_numbers_are_the_same_on_every_machine():
    assert make_generator(MASKS, seed=7, place=3).integers(1000, size=4).tolist() == [545, 851, 698, 265]


@pytest.mark.parametrize(("use", "name"), [(ORDER, "epoch"), (MASKS, "step")])
def test_negative_numbers_are_refused(use: int, name: str):
    with pytest.raises(OptionError) as caught:
        make_generator(use, seed=0, place=-2)
    assert str(caught.value) == (
        f"The {name} is -2. A whole number of at least 0 was expected. Give such a number."
    )
    with pytest.raises(OptionError, match=r"^The seed is -1\."):
        make_generator(use, seed=-1, place=0)


@pytest.mark.parametrize("numbers", [(0, 2), (3, 7, 1), (2**62, 0, 1)])
def test_the_numbers_of_a_list_are_those_of_its_seed_sequence(numbers: tuple[int, ...]):
    plain = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(numbers))))
    assert (
        make_listed_generator(*numbers).integers(1000, size=9).tolist()
        == plain.integers(1000, size=9).tolist()
    )
