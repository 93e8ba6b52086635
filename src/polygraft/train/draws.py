"""What PyTorch draws by chance while a graft is trained, batch by batch."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from polygraft.attach.dropout import check_dropout, drop_values, list_dropping
from polygraft.data.chance import DRAWS, make_generator
from polygraft.train.settings import NUM_SEEDS

if TYPE_CHECKING:
    from collections.abc import Generator

    from polygraft.base.base import Base
    from polygraft.train.settings import TrainSettings


class Draws:
    """The chance in the passes of one training: the dropout of the base, and what an objective draws by itself.

    It is a function of the seed and the batch, so that nothing of it has to be saved. Saving what PyTorch's generators
    hold, making it anew and giving it back takes less than a tenth of a millisecond a batch, so that it is done with
    and without dropout.

    Args:
        base: The base.
        settings: The seed, and whether the base drops values.

    Raises:
        OptionError: It is to, and has no dropout.
    """

    def __init__(self, base: Base, *, settings: TrainSettings) -> None:
        if settings.dropout:
            check_dropout(base)
        self.base = base
        self.seed = settings.seed
        self.dropping = list_dropping(base) if settings.dropout else []

    @contextmanager
    def settle(self, batch: int) -> Generator[None]:
        """Let what is drawn inside the block be that of one batch; afterwards PyTorch's generators are what they were.

        Args:
            batch: Its number, counted over all updates and processes; no two batches of a training have the same.
        """
        seed = int(make_generator(DRAWS, seed=self.seed, place=batch).integers(NUM_SEEDS))
        device = self.base.device
        # Of the processor's generator and the base's GPU's alone: others may be in use elsewhere.
        is_on_gpu = device.type == "cuda"
        with torch.random.fork_rng(
            devices=[device] if is_on_gpu else [], device_type="cuda" if is_on_gpu else "cpu"
        ):
            torch.default_generator.manual_seed(seed)
            if is_on_gpu:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            with drop_values(self.dropping):
                yield
