"""Passes whose layers keep only what enters them, and are run again for the gradients."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch.utils.checkpoint import checkpoint

from polygraft.attach.enter import replace_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from torch import nn

    from polygraft.base.base import Base


@contextmanager
def recompute_layers(base: Base) -> Generator[None]:
    """Keep of each layer's pass only what enters it; `backward` runs the layer again (Chen et al. 2016).

    The numbers are the same. Call `backward` inside the block and before the plan is removed, because the second run
    of a layer goes through the hooks of the plan as the first one did.

    Args:
        base: The base.
    """
    with ExitStack() as stack:
        for layer in base.sites.layers:
            stack.enter_context(replace_forward(layer, _run_twice(layer)))
        yield


def _run_twice(layer: nn.Module) -> Callable[..., Any]:
    # The layer's own hooks, by which a pass begins or ends, stand outside of `forward` and run once.
    forward = layer.forward

    def run(*arguments: Any, **named: Any) -> Any:
        return checkpoint(forward, *arguments, use_reentrant=False, **named)

    return run
