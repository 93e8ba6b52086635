"""What training minimises: the form that every objective has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from polygraft.attach.depth import Depth
from polygraft.data.batches import plan_batches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base
    from polygraft.train.prefix import PrefixCache

BOTTOM = Depth()


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The loss of one batch."""

    total: Tensor
    """Sum over the targets, in nats, a scalar with a gradient."""
    num_targets: int
    """What was guessed: masked pieces, words, or texts."""
    num_tokens: int
    """Tokens that went through the base, without padding."""
    looked_up: bool = False
    """Whether what frozen layers give for it was looked up."""

    @property
    def mean(self) -> Tensor:
        """The loss a target."""
        return self.total / max(1, self.num_targets)


class Objective(ABC):
    """Data and a loss over it."""

    name: ClassVar[str]
    scores_can_be_zero: ClassVar[bool] = False
    """Whether a held-out score of 0 says that nothing is right yet."""
    cache: PrefixCache | None = None
    """Where the output of frozen layers is kept, if anywhere."""
    has_told_long_rows: bool = False
    """Whether it was said of its rows that some are longer than a batch is to be."""

    @abstractmethod
    def lengths(self) -> NDArray[np.int64]:
        """Give the number of tokens of each row of the training data."""

    def get_ready(self, base: Base) -> None:  # noqa: B027 (most have nothing to do)
        """Do what has to be done once before the first loss, with no plan in force on the base."""

    @abstractmethod
    def compute_loss(
        self, attachment: Attachment, rows: NDArray[np.int64], *, seed: int, step: int, depth: Depth = BOTTOM
    ) -> Loss:
        """Compute the loss of some rows; equal arguments, and equal states of PyTorch's generators, give equal numbers.

        Args:
            attachment: What is in force.
            rows: Numbers of the rows, of one batch.
            seed: Where chance comes from, together with `step`.
            step: Number of the update.
            depth: Below it nothing is trained: what stands there for rows that never change may be looked up.
        """

    def plan_epoch(self, *, batch_tokens: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        """Put the rows into batches for one pass over the data."""
        return plan_batches(self.lengths(), token_budget=batch_tokens, seed=seed, epoch=epoch)
