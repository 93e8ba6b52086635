"""Passes in two halves: what frozen layers give for some rows, and what a plan makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polygraft.attach.enter import enter_inside

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.attach.depth import Depth


def run_below(
    attachment: Attachment, input_ids: Tensor, attention_mask: Tensor, *, depth: Depth
) -> tuple[Tensor, ...]:
    """Compute what stands at some depth.

    Args:
        attachment: The plan in force, with one way for all rows and no prompt.
        input_ids: Pieces, [B, T].
        attention_mask: 1 for pieces, 0 for padding, [B, T].
        depth: Where to end: that of a graft of the plan, or below it.

    Returns:
        For `run_beyond`, all [B, T, D]: the output of the last whole layer; inside a layer, the residual input and the
        uncorrected output of its feed-forward sublayer.

    Raises:
        PlanError: The plan has several ways.
    """
    return attachment.runner.run_below(
        input_ids, attention_mask, depth=depth, member=attachment.find_number()
    )


def run_beyond(
    attachment: Attachment,
    below: tuple[Tensor, ...],
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    depth: Depth,
    layer: int = -1,
    at: Tensor | None = None,
) -> Tensor:
    """Compute hidden states from what stands at some depth, as `Attachment.run` does from the pieces.

    The numbers are the same to the bit if the layer that `depth` is in is not the last one that is run: that one
    computes its feed-forward part for the places in `at` alone when it is run from its beginning.

    Args:
        attachment: The plan in force, with one way for all rows and no prompt.
        below: What `run_below` gave for the same rows and depth, under the same grafts.
        input_ids: The pieces, [B, T]; only their shape is looked at.
        attention_mask: 1 for pieces, 0 for padding, [B, T].
        depth: Where to begin; below the layer where the pass stops.
        layer: After how many layers to stop; -1 runs all.
        at: The only places that are asked for, as for `Attachment.run`.

    Returns:
        [B, T, D], or [N, D] with `at`; what stands at padding has no meaning.
    """
    inputs = input_ids, attention_mask
    if not depth.in_layer:
        return attachment.run_above(below[0], *inputs, start=depth.layers, layer=layer, at=at)
    correct = attachment.hooks.corrections[depth.layers, "ffn"]
    with enter_inside(attachment.base, *below, layer=depth.layers, correct=correct):
        return attachment.runner.run(
            *inputs, layer=layer, start=depth, at=at, member=attachment.find_number()
        )
