from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tokenizer import BOS, EOS, MASK, PAD, UNK

from polygraft.data.collate import Batch, collate
from polygraft.data.encode import EncodedText
from polygraft.data.guess_batch import GuessBatch
from polygraft.data.masking import Masking, corpus_vocabulary, count_hidden, mask_batch
from polygraft.data.pieces import row_starts
from polygraft.errors import DataError, OptionError

SPECIAL = [BOS, PAD, EOS, UNK, MASK]


def batch_of(rows: list[list[int]], pad_to: int = 0) -> Batch:
    rows = [[BOS, *row, EOS] for row in rows] + ([[BOS] * pad_to] if pad_to else [])
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    encoded = EncodedText(
        ids=np.array(list(chain.from_iterable(rows)), dtype=np.int32), starts=row_starts(sizes)
    )
    return collate(encoded, np.arange(len(rows)), pad_id=PAD)


def mask(batch: Batch, *, seed: int = 0, step: int = 0, vocabulary=None, **shares: float) -> GuessBatch:
    return mask_batch(
        batch,
        masking=Masking(**shares),
        seed=seed,
        step=step,
        mask_id=MASK,
        special_ids=SPECIAL,
        vocabulary=vocabulary,
    )


def large_batch() -> Batch:
    return batch_of([list(range(10, 110)) for _ in range(100)])


rows = st.lists(st.lists(st.integers(3, 60), max_size=12), min_size=1, max_size=8).filter(
    lambda rows: any(piece > MASK for row in rows for piece in row)
)


@given(rows, st.integers(0, 2**32), st.integers(0, 10**6), st.floats(0.01, 1.0))
def test_only_usable_tokens_are_hidden_and_the_rest_stays(rows, seed, step, rate):
    batch = batch_of(rows)
    masked = mask(batch, seed=seed, step=step, rate=rate)
    num_usable = sum(piece not in SPECIAL for row in rows for piece in row)
    assert abs(len(masked.positions) - rate * num_usable) <= max(1, rate * num_usable / 64)
    assert 1 <= len(masked.positions) <= num_usable
    flat, before = masked.input_ids.flatten(), batch.input_ids.flatten()
    assert torch.equal(before[masked.positions], masked.targets)
    assert not set(masked.targets.tolist()) & set(SPECIAL)
    assert (masked.positions.diff() > 0).all()
    untouched = torch.ones(len(flat), dtype=torch.bool)
    untouched[masked.positions] = False
    assert torch.equal(flat[untouched], before[untouched])


def test_shares_are_those_of_the_options():
    batch = large_batch()
    masked = mask(batch, rate=0.4, mask_share=0.5, random_share=0.25, vocabulary=torch.arange(5, 1005))
    after = masked.input_ids.flatten()[masked.positions]
    count = len(masked.positions)
    assert count == 3968
    assert (after == MASK).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert (after == masked.targets).float().mean().item() == pytest.approx(0.25, abs=0.03)
    others = after[(after != MASK) & (after != masked.targets)]
    assert len(others) / count == pytest.approx(0.25, abs=0.03)
    assert 400 < len(set(others.tolist())) < 1000


def test_every_place_is_hidden_equally_often():
    batch = batch_of([list(range(10, 30))])
    times = torch.zeros(22)
    for step in range(2000):
        times[mask(batch, step=step).positions] += 1
    assert times[[0, 21]].tolist() == [0, 0]
    assert times[1:21].numpy() == pytest.approx(np.full(20, 300), rel=0.25)


def test_equal_arguments_hide_equal_tokens():
    first, again = mask(large_batch(), seed=3, step=7), mask(large_batch(), seed=3, step=7)
    assert torch.equal(first.positions, again.positions)
    assert torch.equal(first.input_ids, again.input_ids)


def test_global_random_states_neither_matter_nor_change():
    first = mask(large_batch())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(mask(large_batch()).input_ids, first.input_ids)
    assert torch.equal(torch.get_rng_state(), state)


def test_seed_and_step_each_change_the_tokens():
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    found = [mask(large_batch(), seed=seed, step=step).positions.tolist() for seed, step in pairs]
    assert len({tuple(positions) for positions in found}) == 4


def test_padding_changes_nothing():
    rows = [[10, 11, 12, 13], [20, 21]]
    narrow, wide = mask(batch_of(rows), rate=0.5), mask(batch_of(rows, pad_to=40), rate=0.5)
    assert torch.equal(narrow.targets, wide.targets)
    assert torch.equal(narrow.input_ids, wide.input_ids[:2, :6])


def test_replacements_come_from_the_vocabulary_without_special_tokens():
    vocabulary = torch.tensor([BOS, EOS, MASK, 500, 501])
    masked = mask(large_batch(), mask_share=0.0, random_share=1.0, vocabulary=vocabulary)
    assert set(masked.input_ids.flatten()[masked.positions].tolist()) == {500, 501}


@given(st.sets(st.integers(0, 12), min_size=1), st.integers(0, 50))
def test_replacements_are_those_of_the_vocabulary_with_special_tokens_taken_out_first(pieces, seed):
    """Skipping special tokens while drawing gives what a list without them gives."""
    options = {"mask_share": 0.0, "random_share": 1.0, "rate": 1.0, "seed": seed}
    batch = batch_of([list(range(20, 50))])
    vocabulary, plain = sorted(pieces), [piece for piece in sorted(pieces) if piece not in SPECIAL]
    masked = mask(batch, vocabulary=torch.tensor(vocabulary), **options)
    assert torch.equal(masked.input_ids, mask(batch, vocabulary=torch.tensor(plain), **options).input_ids)
    drawn = set(masked.input_ids.flatten()[masked.positions].tolist())
    assert drawn <= (set(plain) or set(range(20, 50)))


@pytest.mark.parametrize(
    ("num_usable", "rate", "expected"),
    [
        (1, 0.15, 1),
        (100, 0.15, 15),
        (64, 1.0, 64),
        (65, 1.0, 64),
        (67, 1.0, 67),
        (200, 1.0, 200),
        (2010, 0.15, 304),
    ],
)
def test_the_number_of_hidden_tokens_is_rounded_a_little(num_usable: int, rate: float, expected: int):
    assert count_hidden(num_usable, rate=rate) == expected


def test_few_numbers_of_hidden_tokens_exist():
    counts = {count_hidden(num_usable, rate=0.15) for num_usable in range(1000, 2049)}
    assert len(counts) < 40 < len({round(0.15 * num_usable) for num_usable in range(1000, 2049)})


def test_replacements_without_a_vocabulary_come_from_the_batch():
    masked = mask(batch_of([[10, 11]] * 40), rate=1.0, mask_share=0.0, random_share=1.0)
    after = masked.input_ids.flatten()[masked.positions]
    assert set(after.tolist()) == {10, 11}
    assert not torch.equal(after, masked.targets)


def test_moving_a_masked_batch_keeps_it():
    masked = mask(large_batch())
    moved = masked.to("cpu")
    assert torch.equal(moved.input_ids, masked.input_ids)
    assert torch.equal(moved.targets, masked.targets)


def test_the_given_batch_is_not_changed():
    batch = large_batch()
    before = batch.input_ids.clone()
    mask(batch, rate=1.0)
    assert torch.equal(batch.input_ids, before)


def test_the_hidden_tokens_are_the_same_on_every_machine():
    batch = batch_of([list(range(10, 30))])
    masked = mask(batch, seed=1, step=2, rate=0.3, vocabulary=torch.arange(100, 200))
    assert masked.positions.tolist() == [1, 2, 4, 6, 15, 18]
    assert masked.input_ids.flatten()[masked.positions].tolist() == [4, 4, 103, 4, 4, 27]


def test_a_batch_of_special_tokens_is_refused():
    with pytest.raises(DataError) as caught:
        mask(batch_of([[UNK], []]))
    assert str(caught.value) == (
        "A batch of 2 rows has no token that could be masked, only special tokens and padding. At least one "
        "other token was expected. Leave such rows out of the text."
    )


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate: float):
    with pytest.raises(OptionError) as caught:
        Masking(rate=rate)
    assert str(caught.value) == (
        f"rate is {rate}. A share above 0 and at most 1 was expected. Give such a share; 0.15 is common."
    )


def test_shares_of_more_than_all_are_refused():
    with pytest.raises(OptionError) as caught:
        Masking(mask_share=0.8, random_share=0.3)
    assert str(caught.value) == (
        "mask_share is 0.8 and random_share is 0.3. Two shares between 0 and 1 that are at most 1 together "
        "were expected. Lower one of them; 0.8 and 0.1 are common."
    )


def test_shares_that_are_all_only_up_to_rounding_are_accepted():
    assert Masking(mask_share=0.9, random_share=0.1).random_share == 0.1


def test_a_vocabulary_holds_what_is_used_and_what_is_special():
    encoded = EncodedText(ids=np.array([0, 900, 7, 900, 2], dtype=np.int32), starts=np.array([0, 5]))
    vocabulary = corpus_vocabulary(encoded, special_ids=SPECIAL)
    assert vocabulary.tolist() == [0, 1, 2, 3, 4, 7, 900]
    assert vocabulary.dtype == torch.int64
