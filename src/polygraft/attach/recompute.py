"""Passes whose layers keep only what enters them, and are run again for the gradients."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

from torch.utils.checkpoint import checkpoint

from polygraft.attach.enter import replace_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from torch import nn

    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base


@contextmanager
def recompute_layers(base: Base) -> Generator[None]:
    """Keep of each layer's pass only what enters it; `backward` runs the layer again (Chen et al. 2016).

    The numbers are the same; values that were dropped by chance are dropped again. Call `backward` inside the block and
    before the plan is removed, because the second run of a layer goes through the hooks of the plan as the first one
    did.

    Args:
        base: The base.
    """
    with ExitStack() as stack:
        for layer in base.sites.layers:
            stack.enter_context(replace_forward(layer, _run_twice(base, layer)))
        yield


def _run_twice(base: Base, layer: nn.Module) -> Callable[..., Any]:
    # The layer's own hooks, by which a pass begins or ends, stand outside of `forward` and run once.
    forward = layer.forward

    def run(*arguments: Any, **named: Any) -> Any:
        if not base.in_force:
            return checkpoint(forward, *arguments, use_reentrant=False, **named)
        hooks = cast("Attachment", base.in_force[0]).hooks
        current = hooks.current

        def run_in_pass(*arguments: Any, **named: Any) -> Any:
            # The second time, the pass is over, and the hooks inside the layer would not know what it asked for.
            hooks.current, now = current, hooks.current
            try:
                return forward(*arguments, **named)
            finally:
                hooks.current = now

        return checkpoint(run_in_pass, *arguments, use_reentrant=False, **named)

    return run
