"""Losses of texts with gains over the base, against means and draws written out."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from polygraft.evaluate.language_loss import BASE, TextFacts, TextLosses, compare_losses, losses_to_csv

BASE_ROWS = np.array([[6.0, 3], [2.0, 1], [0.0, 0], [9.0, 2]])
OWN_ROWS = np.array([[3.0, 3], [2.5, 1], [0.0, 0], [4.0, 2]])
PLANS = {BASE: "", "qu": "qu"}


def test_losses_are_means_over_pieces_and_gains_their_differences():
    base, own = compare_losses("qu", {BASE: BASE_ROWS, "qu": OWN_ROWS}, plans=PLANS)
    assert (base.loss, own.loss) == (pytest.approx(17 / 6), pytest.approx(9.5 / 6))
    assert (base.gain, base.gain_low, base.gain_high) == (0, 0, 0)
    assert own.gain == pytest.approx(7.5 / 6)
    assert own.perplexity == pytest.approx(math.exp(9.5 / 6))
    assert [(row.language, row.of, row.plan) for row in (base, own)] == [("qu", "", ""), ("qu", "qu", "qu")]
    assert (own.num_targets, own.num_rows) == (6, 3)


def test_intervals_are_of_rows_that_are_drawn_for_both_alike():
    base, own = compare_losses("qu", {BASE: BASE_ROWS, "qu": OWN_ROWS}, plans=PLANS, num_samples=200)
    rng, guessed = np.random.default_rng(0), np.array([0, 1, 3])
    losses, gains = [], []
    drawn = rng.integers(3, size=(200, 3))
    for rows in drawn:
        sums = [counts[guessed[rows]].sum(axis=0) for counts in (BASE_ROWS, OWN_ROWS)]
        means = [nats / count for nats, count in sums]
        losses.append(means[0])
        gains.append(means[0] - means[1])
    assert (base.low, base.high) == pytest.approx(tuple(np.quantile(losses, [0.025, 0.975])), abs=1e-12)
    assert (own.gain_low, own.gain_high) == pytest.approx(
        tuple(np.quantile(gains, [0.025, 0.975])), abs=1e-12
    )
    assert own.gain_low < own.gain < own.gain_high


def test_a_text_in_which_nothing_is_guessed_has_no_loss():
    (base,) = compare_losses("qu", {BASE: np.zeros((2, 2))}, plans={BASE: ""})
    assert (base.loss, base.low, base.high, base.num_targets, base.num_rows) == (0, 0, 0, 0, 0)


def test_losses_become_rows_of_csv():
    rows = compare_losses("qu", {BASE: BASE_ROWS, "qu": OWN_ROWS}, plans=PLANS)
    text = TextFacts(
        language="qu",
        graft="qu",
        num_tokens=9,
        num_seen=99,
        tokens_per_word=2.5,
        single_share=0.5,
        unknown_share=0,
    )
    losses = TextLosses(method="madx", seed=3, losses=tuple(rows), texts=(text,))
    found = list(csv.DictReader(io.StringIO(losses_to_csv([losses]))))
    assert [(row["method"], row["seed"], row["of"], float(row["loss"])) for row in found] == [
        ("madx", "3", "", rows[0].loss),
        ("madx", "3", "qu", rows[1].loss),
    ]
    assert losses.find("qu", "qu") == rows[1]
    assert losses.find("qu", "en") is None
