from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polygraft.prune.keys import order_keys


@pytest.mark.parametrize("width", [32, 64])
@given(st.data())
def test_keys_have_the_order_of_the_scores(width: int, data: st.DataObject):
    values = data.draw(st.lists(st.floats(allow_nan=False, width=width), min_size=1, max_size=30))
    scores = np.array([*values, -0.0, 0.0], dtype=f"float{width}")
    keys = order_keys(scores)
    assert keys is not None
    assert keys.dtype == f"int{width}"
    assert np.array_equal(keys[:, None] > keys, scores[:, None] > scores)
    assert np.array_equal(keys[:, None] == keys, scores[:, None] == scores)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nan", [math.nan, -math.nan])
def test_nan_has_no_key(dtype: str, nan: float):
    assert order_keys(np.array([1.0, nan], dtype=dtype)) is None
    assert order_keys(np.array([-math.inf, nan, math.inf], dtype=dtype)) is None


def test_no_scores_have_no_keys():
    keys = order_keys(np.array([], dtype=np.float32))
    assert keys is not None
    assert len(keys) == 0
