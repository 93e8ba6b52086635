from __future__ import annotations

import math

import pytest

from polygraft.report.numbers import (
    format_bytes,
    format_count,
    format_difference,
    format_score,
    format_seconds,
    format_share,
)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_600, "1.00 MB"),
        (4_746_048, "4.75 MB"),
        (2e15, "2000 TB"),
    ],
)
def test_bytes_have_three_figures_and_a_decimal_unit(size: float, words: str):
    assert format_bytes(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.004, "0.004 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (3599.7, "1 h"),
        (5720, "1 h 35 min"),
        (90_000, "25 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, words: str):
    assert format_seconds(seconds) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0.00001, "under 0.01 %"), (0.0092, "0.92 %"), (0.0567, "5.7 %"), (12.5, "1,250 %")]
)
def test_a_share_is_a_percentage(share: float, words: str):
    assert format_share(share) == words


def test_a_difference_that_rounds_to_nothing_has_no_sign():
    assert format_difference(-0.0001, metric="f1") == "0.0"


def test_a_loss_is_not_turned_into_points():
    assert format_score(4.2391, metric="loss") == "4.239"
    assert format_score(math.nan, metric="f1") == "not a number"


def test_counts_are_rounded_only_when_they_are_large():
    assert [format_count(count) for count in (7, 99_999, 100_000, 999_600, 117_653_760, 7e9)] == [
        "7",
        "99,999",
        "100 thousand",
        "1.00 million",
        "118 million",
        "7.00 billion",
    ]


def test_a_difference_of_no_number_is_said():
    assert format_difference(float("nan"), metric="loss") == "not a number"
