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
    sites = base.sites
    # No memory and no work: only the shape, the dtype and the device of what is left out are looked at.
    embedded = hidden.new_zeros(()).expand(*hidden.shape[:2], sites.embedding)
    passed: Any = (hidden, None) if sites.family.layers_give_weights else hidden
    with ExitStack() as stack:
        stack.enter_context(replace_forward(sites.embeddings, lambda *_, **__: embedded))
        for layer in sites.layers[:start]:
            stack.enter_context(replace_forward(layer, lambda *_, **__: passed))
        # Between two layers a base may do something of its own (DeBERTa's convolution), which is in `hidden` already.
        handle = sites.layers[start].register_forward_pre_hook(
            lambda _, arguments: (hidden, *arguments[1:]), prepend=True
        )
        stack.callback(handle.remove)
        yield


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
