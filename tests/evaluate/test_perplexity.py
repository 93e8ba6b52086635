from __future__ import annotations

import math

import pytest

from polygraft.errors import OptionError
from polygraft.evaluate.perplexity import perplexity


@pytest.mark.parametrize("num_tokens", [1, 2, 250_002])
def test_guessing_among_equal_tokens_has_their_number_as_perplexity(num_tokens: int):
    assert perplexity(math.log(num_tokens)) == pytest.approx(num_tokens)


@pytest.mark.parametrize("loss", [math.inf, 1e6])
def test_a_loss_too_large_is_infinite(loss: float):
    assert perplexity(loss) == math.inf


@pytest.mark.parametrize("loss", [-0.1, math.nan])
def test_a_loss_that_cannot_be_is_refused(loss: float):
    with pytest.raises(OptionError) as caught:
        perplexity(loss)
    assert str(caught.value) == (
        f"The mean loss is {loss}. A number of at least 0 was expected. Check the training: a loss that is "
        "not a number comes from values that grew without bound."
    )
