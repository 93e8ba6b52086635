"""The dropout of a base: off in the frozen base that grafts are scored on, and on where a training asks for it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import nn

from polygraft.base.attention import find_attention
from polygraft.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from polygraft.base.base import Base


@contextmanager
def drop_values(layers: Sequence[nn.Module]) -> Generator[None]:
    """Let passes of a base drop values by chance, as its configuration says (Srivastava et al. 2014).

    These layers are told that they are trained, and no others: what else a layer does while it is trained, such as
    counting what it sees, it does not do here. After the block each is what it was, also after an error. Call
    `backward` inside it where layers are run again for the gradients. Chance is that of PyTorch's own generators.

    Args:
        layers: Of the base, those of `list_dropping`.
    """
    before = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.training = True
        yield
    finally:
        for layer, was_trained in zip(layers, before, strict=True):
            layer.training = was_trained


def list_dropping(base: Base) -> list[nn.Module]:
    """List the layers of a base that drop values while they are trained, each with a rate above 0.

    They are its dropout layers, and attention that tells a function of transformers how many weights to drop.
    """
    dropouts = [layer for layer in base.model.modules() if isinstance(layer, nn.Dropout)]
    attentions = [each for layer in base.sites.layers if (each := find_attention(layer)) is not None]
    return [layer for layer in (*dropouts, *attentions) if _find_rate(layer) > 0]


def check_dropout(base: Base) -> None:
    """Refuse to train with the dropout of a base that has none.

    Raises:
        OptionError: Each of its rates is 0.
    """
    if not list_dropping(base):
        raise OptionError(
            f"A graft was to be trained with dropout, and the base '{base.name}' has none: its configuration gives no "
            "rate above 0. Expected a base such as BERT, whose configuration has hidden_dropout_prob = 0.1. Leave "
            "`dropout` out, or take another base."
        )


def _find_rate(layer: nn.Module) -> float:
    """Give the largest share of values that a layer, or a dropout layer in it, drops."""
    own: float | None = vars(layer).get("attention_dropout")
    inner = [each.p for each in layer.modules() if isinstance(each, nn.Dropout)]
    return max([own or 0.0, *inner])
