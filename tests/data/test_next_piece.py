from __future__ import annotations

import numpy as np
import torch

from polygraft.data.collate import Batch
from polygraft.data.next_piece import shift_batch


def test_each_token_guesses_the_one_behind_it_and_padding_none():
    batch = Batch(
        rows=np.arange(3),
        input_ids=torch.tensor([[5, 6, 7], [8, 9, 1], [4, 1, 1]]),
        attention_mask=torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]]),
        num_tokens=6,
    )
    shifted = shift_batch(batch)
    assert shifted.positions.tolist() == [0, 1, 3]
    assert shifted.targets.tolist() == [6, 7, 9]
    assert torch.equal(shifted.input_ids, batch.input_ids)
