"""Passes that begin above layers whose output is known."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from polygraft.base.base import Base


@contextmanager
def enter_above(base: Base, hidden: Tensor, *, start: int) -> Generator[None]:
    """Let passes of the base begin with what enters its layer of that index; below it nothing is computed.

    Args:
        base: The base.
        hidden: What enters the layer, [B, T, D].
        start: The layer's index, from 1.
    """
    with ExitStack() as stack:
        _leave_out(stack, base, hidden, count=start)
        # Between two layers a base may do something of its own (DeBERTa's convolution), which is in `hidden` already.
        handle = base.sites.layers[start].register_forward_pre_hook(
            lambda _, arguments: (hidden, *arguments[1:]), prepend=True
        )
        stack.callback(handle.remove)
        yield


@contextmanager
def enter_inside(
    base: Base, inp: Tensor, h: Tensor, *, layer: int, correct: Callable[[Tensor, Tensor], Tensor]
) -> Generator[None]:
    """Let passes of the base begin inside a layer, at the output of its feed-forward sublayer.

    Args:
        base: The base, of a family in which nothing behind the layer looks at what entered it.
        inp: The sublayer's residual input, [B, T, D].
        h: Its uncorrected output, [B, T, D].
        layer: The layer's index, from 0.
        correct: Makes the corrected output of the two.
    """
    norm = base.sites.sublayer(layer, "ffn").norm

    def finish(*_: Any, **__: Any) -> Any:
        hidden = correct(inp, h) + inp
        hidden = hidden if norm is None else norm(hidden)
        return (hidden, None) if base.sites.family.layers_give_weights else hidden

    with ExitStack() as stack:
        _leave_out(stack, base, inp, count=layer)
        stack.enter_context(replace_forward(base.sites.layers[layer], finish))
        yield


def _leave_out(stack: ExitStack, base: Base, hidden: Tensor, *, count: int) -> None:
    """Let the embeddings and some of the lowest layers compute nothing."""
    sites = base.sites
    # No memory and no work: only the shape, the dtype and the device of what is left out are looked at.
    embedded = hidden.new_zeros(()).expand(*hidden.shape[:2], sites.embedding)
    passed: Any = (hidden, None) if sites.family.layers_give_weights else hidden
    stack.enter_context(replace_forward(sites.embeddings, lambda *_, **__: embedded))
    for layer in sites.layers[:count]:
        stack.enter_context(replace_forward(layer, lambda *_, **__: passed))


@contextmanager
def replace_forward(layer: nn.Module, forward: Callable[..., Any]) -> Generator[None]:
    """Let a layer compute something else, inside the block."""
    own = layer.__dict__.get("forward")
    layer.forward = forward
    try:
        yield
    finally:
        if own is None:
            del layer.forward
        else:
            layer.forward = own
