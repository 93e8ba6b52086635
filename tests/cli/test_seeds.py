from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import pytest
from tests.store.made import MANIFEST

from polygraft.cli.seeds import build_seed_table, read_seeds
from polygraft.errors import OptionError


def test_seeds_are_read():
    assert read_seeds(None, seed=3) == ()
    assert read_seeds("7", seed=None) == (7,)
    assert read_seeds("2, 0,10", seed=None) == (2, 0, 10)


@pytest.mark.parametrize(
    ("text", "seed", "sentence"),
    [
        (
            "0,a",
            None,
            "The seeds '0,a' hold 'a', which is no seed. Expected whole numbers from 0 with commas between them. Write "
            "them as in --seeds 0,1,2.",
        ),
        (
            "0,-1",
            None,
            "The seeds '0,-1' hold '-1', which is no seed. Expected whole numbers from 0 with commas between them. "
            "Write them as in --seeds 0,1,2.",
        ),
        (
            "0,,1",
            None,
            "The seeds '0,,1' hold '', which is no seed. Expected whole numbers from 0 with commas between them. Write "
            "them as in --seeds 0,1,2.",
        ),
        (
            "1,2,01",
            None,
            "The seeds '1,2,01' hold 1 twice. Expected each once, since the same seed gives the same graft. Take one "
            "out.",
        ),
        (
            "1,2",
            0,
            "Both --seed 0 and --seeds 1,2 were given. Expected one of the two: --seed trains one graft, --seeds one "
            "for each. Leave one out.",
        ),
    ],
)
def test_what_are_no_seeds_is_said(text: str, seed: int | None, sentence: str):
    with pytest.raises(OptionError) as caught:
        read_seeds(text, seed=seed)
    assert str(caught.value) == sentence


def lay_out(*scores: float | None) -> Any:
    manifests = [
        replace(
            MANIFEST,
            name=f"ner-s{number}",
            version=1,
            scores={} if score is None else {"dev": score},
            hyperparameters={"steps_done": 12},
            cost={"seconds": 3.0},
        )
        for number, score in enumerate(scores)
    ]
    return build_seed_table("ner", manifests)


def test_the_table_ends_with_mean_and_standard_deviation():
    table = lay_out(0.5, 0.6, 0.75)
    assert [[cell.text for cell in row[:5]] for row in table.rows] == [
        ["ner-s0", "1", "50.0", "12", "3 s"],
        ["ner-s1", "1", "60.0", "12", "3 s"],
        ["ner-s2", "1", "75.0", "12", "3 s"],
    ]
    mean, spread = 100 * statistics.fmean([0.5, 0.6, 0.75]), 100 * statistics.stdev([0.5, 0.6, 0.75])
    assert [cell.text for cell in table.foot] == ["Mean", "", f"{mean:.1f} ± {spread:.1f}", "", "", ""]


def test_one_seed_has_no_deviation_and_no_score_no_mean():
    assert lay_out(0.5).foot[2].text == "50.0"
    assert lay_out(None, None).foot[2].text == "–"
