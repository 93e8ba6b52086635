"""Products in a shorter number format while a graft is trained."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.optim import Optimizer

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """The number format of a training's products, and what float16's narrow range asks for.

    Products are rounded by autocast; sums, norms, losses and the graft's values are not. In float16 small gradients
    would vanish, so that the loss is multiplied by a large number and the gradients are divided by it again
    (Micikevicius et al. 2018); an update whose gradients overflow is left out, and the number made smaller.

    Args:
        name: "bfloat16" or "float16"; None leaves all as it is.
        device: Where the base is.
    """

    def __init__(self, name: str | None, device: torch.device) -> None:
        self.dtype = None if name is None else DTYPES[name]
        self.device = device
        is_narrow = self.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(device.type) if is_narrow else None

    def round_products(self) -> AbstractContextManager[object]:
        """Compute products in the number format, inside the block."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scale(self, loss: Tensor) -> Tensor:
        """Make a loss large enough for its gradients."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def unscale(self, optimiser: Optimizer) -> None:
        """Divide the gradients of an optimiser's values by what the loss was multiplied by."""
        if self.scaler is not None:
            self.scaler.unscale_(optimiser)

    def step(self, optimiser: Optimizer) -> None:
        """Update the values, unless a gradient overflowed."""
        if self.scaler is None:
            optimiser.step()
            return
        self.scaler.step(optimiser)
        self.scaler.update()

    def pack(self) -> dict[str, Any]:
        """Give what changes while training goes on, as a checkpoint holds it."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def unpack(self, state: Mapping[str, Any]) -> None:
        """Go on from what `pack` gave."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(dict(state))
