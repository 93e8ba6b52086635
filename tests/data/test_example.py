from __future__ import annotations

import pytest

from polygraft.data.example import TaggedSentence
from polygraft.errors import DataError


def test_tokens_and_tags_are_equally_many():
    with pytest.raises(DataError) as caught:
        TaggedSentence(("Cusco", "mi"), ("B-LOC",), 12)
    assert str(caught.value) == (
        "A sentence (line 12) has 2 tokens and 1 tags. Every token has exactly one tag. "
        "Add the missing ones or remove the extra ones."
    )
