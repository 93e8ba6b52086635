"""Passes whose layers PyTorch has compiled."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch._dynamo
from torch._dynamo.exc import BackendCompilerFailed

from polygraft.attach.enter import replace_forward
from polygraft.errors import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from polygraft.base.base import Base

GRAPHS_PER_LAYER = 8
"""Forms of a layer that are compiled at most: one for each kind of plan and of batch."""


class CompiledLayers:
    """The layers of a base, compiled on first use with the hooks of the plan that is in force then.

    Another plan of the same parts uses what was compiled; a plan of other parts is compiled anew.

    Args:
        base: The base.
        backend: Of `torch.compile`; "inductor" needs a C++ compiler on a CPU.
    """

    def __init__(self, base: Base, *, backend: str | Callable[..., Any] = "inductor") -> None:
        self.name = base.name
        self.layers = base.sites.layers
        # Batches are of many shapes.
        self.forwards = [torch.compile(layer.forward, dynamic=True, backend=backend) for layer in self.layers]

    @contextmanager
    def put_in_force(self) -> Generator[None]:
        """Let passes of the base go through the compiled layers, inside the block.

        Raises:
            TrainError: They cannot be compiled on this machine.
        """
        options: dict[str, Any] = {
            # All layers share the code that is compiled, and PyTorch counts by code.
            "recompile_limit": GRAPHS_PER_LAYER * len(self.layers),
            # Without this, a layer that was compiled under one plan would be taken for another's.
            "skip_nnmodule_hook_guards": False,
        }
        with ExitStack() as stack:
            stack.enter_context(torch._dynamo.config.patch(**options))
            for layer, forward in zip(self.layers, self.forwards, strict=True):
                stack.enter_context(replace_forward(layer, forward))
            try:
                yield
            except BackendCompilerFailed as error:
                raise TrainError(
                    f"The layers of '{self.name}' cannot be compiled here ({type(error.inner_exception).__name__}). "
                    "Expected a compiler that PyTorch can use, for a CPU a C++ compiler. Install one, or train without "
                    "`compile`."
                ) from error
