"""What one forward pass has seen so far, and which rows belong to which member of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from polygraft.attach.depth import Depth

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from polygraft.attach.depth import Place
    from polygraft.attach.tree import Act, Step


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Rows that stand one after the other and belong to one member of the plan."""

    member: int
    start: int
    stop: int
    """The row behind the last one."""


@dataclass(kw_only=True)
class Pass:
    """What one forward pass has seen so far."""

    inputs: dict[Place, Tensor] = field(default_factory=dict)
    """The residual input of each sublayer with a correction."""
    reached: set[Place] = field(default_factory=set)
    """The places that were passed."""
    start: Depth = field(default_factory=Depth)
    """What is below it is left out, because what it gives is known."""
    stop: Depth | None = None
    """Where to end; None runs all."""
    stopped: tuple[Tensor, ...] = ()
    """Where the pass was ended: a layer's output, or the residual input and the output of a sublayer; all [B, T, D]."""
    wanted: Tensor | None = None
    """Places [N] among the B T tokens whose hidden states alone are asked for; None asks for all."""
    narrow_in: int | None = None
    """The layer that goes on with the wanted places alone once its attention has mixed all of them."""
    is_narrow: bool = False
    """Whether it has done so: hidden states are [1, N, D] from there on."""
    segments: tuple[Segment, ...] | None = None
    """Which rows belong to which member; None where all belong to one."""
    member: int = 0
    """The member of all rows where there are no segments."""
    num_added: int = 0
    """How many places at the beginning of each row are those of a prompt."""
    narrow_bounds: tuple[int, ...] = ()
    """Where each segment begins among the wanted places, and where the last one ends."""

    def cut(self, x: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Go through the members' rows of a tensor [B, ...], or of their places in [1, N, ...]: member and rows."""
        assert self.segments is not None
        for index, segment in enumerate(self.segments):
            if self.is_narrow:
                start, stop = self.narrow_bounds[index], self.narrow_bounds[index + 1]
                yield segment.member, x[:, start:stop]
            else:
                yield segment.member, x[segment.start : segment.stop]

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """Put the rows of all segments together again."""
        return torch.cat(list(pieces), dim=1 if self.is_narrow else 0)

    def change(
        self,
        steps: Sequence[Step | None],
        h: Tensor,
        *context: Tensor,
        act: Callable[..., Act],
    ) -> Tensor:
        """Let each row's member change what comes by.

        Args:
            steps: What each member does here.
            h: What comes by, [B, ...].
            context: Other tensors with the same rows.
            act: Makes what layers do here of the rows of `h` and of each tensor of the context.
        """
        if self.segments is None:
            step = steps[self.member]
            return h if step is None else step(h, act(h, *context))
        if all(steps[segment.member] is None for segment in self.segments):
            return h
        pieces: list[Tensor] = []
        for (member, own), *others in zip(self.cut(h), *map(self.cut, context), strict=True):
            step = steps[member]
            # Pieces of no token can be there when only some places are asked for.
            if step is None or own.numel() == 0:
                pieces.append(own)
            else:
                pieces.append(step(own, act(own, *(rows for _, rows in others))))
        return self.join(pieces)


def bound_places(places: Tensor, segments: Sequence[Segment], *, num_tokens: int) -> tuple[int, ...]:
    """Give where each segment begins among sorted places, and where the last one ends.

    Args:
        places: Places [N], each `row * T + column`, sorted.
        segments: The segments, in the order of their rows.
        num_tokens: Tokens of a row (T).
    """
    edges = [segment.start * num_tokens for segment in segments] + [segments[-1].stop * num_tokens]
    return tuple(torch.searchsorted(places, torch.tensor(edges, device=places.device)).tolist())
