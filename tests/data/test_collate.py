from __future__ import annotations

from itertools import chain

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from polygraft.data.collate import collate
from polygraft.data.encode import IGNORE, EncodedLabels, EncodedTags, EncodedText
from polygraft.data.pieces import row_starts


def encoded_rows(rows: list[list[int]]) -> EncodedText:
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    return EncodedText(
        ids=np.array(list(chain.from_iterable(rows)), dtype=np.int32), starts=row_starts(sizes)
    )


@given(st.data())
def test_every_row_is_padded_to_the_longest_of_its_batch(data: st.DataObject):
    rows = data.draw(st.lists(st.lists(st.integers(5, 99), min_size=1, max_size=9), min_size=1, max_size=9))
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    batch = collate(encoded_rows(rows), np.array(chosen), pad_id=1)
    longest = max(len(rows[row]) for row in chosen)
    assert batch.input_ids.tolist() == [rows[row] + [1] * (longest - len(rows[row])) for row in chosen]
    assert batch.attention_mask.sum(dim=1).tolist() == [len(rows[row]) for row in chosen]
    assert batch.num_tokens == sum(len(rows[row]) for row in chosen)
    assert batch.rows.tolist() == chosen


def test_tensors_are_whole_numbers_of_64_bits():
    batch = collate(encoded_rows([[5, 6], [7]]), np.array([1, 0]), pad_id=1)
    assert (batch.input_ids.dtype, batch.attention_mask.dtype) == (torch.int64, torch.int64)
    assert (batch.labels, batch.word_of) == (None, None)


def test_tags_are_padded_with_what_no_loss_looks_at():
    encoded = EncodedTags(
        ids=np.array([0, 5, 2, 0, 6, 7, 2], dtype=np.int32),
        starts=np.array([0, 3, 7]),
        labels=np.array([IGNORE, 1, IGNORE, IGNORE, 0, 2, IGNORE], dtype=np.int32),
        word_of=np.array([-1, 0, -1, -1, 0, 1, -1], dtype=np.int32),
        num_words=np.array([1, 2]),
    )
    batch = collate(encoded, np.array([0, 1]), pad_id=1)
    assert batch.labels is not None
    assert batch.word_of is not None
    assert batch.labels.tolist() == [[IGNORE, 1, IGNORE, IGNORE], [IGNORE, 0, 2, IGNORE]]
    assert batch.word_of.tolist() == [[-1, 0, -1, -1], [-1, 0, 1, -1]]
    assert batch.to("cpu").labels is not None


def test_a_label_a_row_stays_one_number_a_row():
    encoded = EncodedLabels(
        ids=np.array([5, 6, 7], dtype=np.int32),
        starts=np.array([0, 1, 3]),
        labels=np.array([4, 3], dtype=np.int32),
        num_cut=np.array([0, 0]),
    )
    labels = collate(encoded, np.array([1, 0, 1]), pad_id=1).labels
    assert labels is not None
    assert labels.tolist() == [3, 4, 3]


def test_lengths_are_rounded_up_but_never_past_the_longest_row():
    rows = [[5] * length for length in (33, 20, 34, 65, 67)]
    widths = [
        collate(encoded_rows(rows), np.array(chosen), pad_id=1).input_ids.shape[1]
        for chosen in ([0, 1], [1], [3])
    ]
    assert widths == [34, 20, 67]
    batch = collate(encoded_rows(rows), np.array([0, 1]), pad_id=1)
    assert batch.input_ids.tolist() == [[5] * 33 + [1], [5] * 20 + [1] * 14]
    assert batch.attention_mask.sum(dim=1).tolist() == [33, 20]
