"""Refuses a training in which something that is to be learned gets no gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from polygraft.errors import TrainError

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.attach import Attachment


def check_gradients(
    attachment: Attachment, values: Mapping[str, Tensor], *, name: str, has_batches: bool
) -> None:
    """Refuse a graft of which a value has no gradient after the first update's batches.

    Args:
        attachment: What was in force.
        values: Those of the graft, by name.
        name: The graft's.
        has_batches: Whether this process had a batch of the update; of several, one may have none.

    Raises:
        TrainError: Nothing that the loss reads depends on one of them.
    """
    waiting = sorted(attachment.edits.waiting)
    if waiting and has_batches:
        raise TrainError(
            f"The base's weight '{waiting[0]}', which '{name}' changes, gets no gradient "
            f"({len(waiting)} such): nothing that the loss reads depends on it. Leave its layer out with "
            "skip_layers, or name other weights."
        )
    without = [each for each, tensor in values.items() if tensor.grad is None]
    if without:
        raise TrainError(
            f"The value '{without[0]}' of '{name}' gets no gradient ({len(without)} of "
            f"{len(values)} such): nothing that the loss reads depends on it. Leave its layer out with "
            "skip_layers, or read the masked-LM head further up."
        )
