"""What a masked language model's loss means in tokens."""

from __future__ import annotations

import math

from polygraft.errors import OptionError


def perplexity(mean_loss: float) -> float:
    """Give the number of equally likely tokens that a mean loss (in nats) stands for.

    Args:
        mean_loss: Mean cross-entropy a token; infinity gives infinity, and so does a loss too large for a
            number.

    Raises:
        OptionError: The loss is negative or not a number.

    Example:
        >>> perplexity(0.0)
        1.0
    """
    if math.isnan(mean_loss) or mean_loss < 0:
        raise OptionError(
            f"The mean loss is {mean_loss}. A number of at least 0 was expected. "
            "Check the training: a loss that is not a number comes from values that grew without bound."
        )
    try:
        return math.exp(mean_loss)
    except OverflowError:
        return math.inf
