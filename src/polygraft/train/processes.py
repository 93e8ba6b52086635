"""Several processes that train one graft together: what they add up, agree on and wait for."""

from __future__ import annotations

import atexit
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch
from typing_extensions import override

from polygraft.settings import Launch, load_launch

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: the first may be at scoring a large test set."""


class Processes(ABC):
    """What a training asks of the other processes; all of them ask the same, in the same order."""

    launch: Launch

    def share(self, items: Sequence[T]) -> list[tuple[int, T]]:
        """Give this process' items with their places: process r of N takes r, r + N, r + 2N and so on."""
        places = range(self.launch.index, len(items), self.launch.count)
        return [(place, items[place]) for place in places]

    @abstractmethod
    def add_up(self, *values: float) -> list[float]:
        """Add up each value over all processes."""

    @abstractmethod
    def add_gradients(self, values: Iterable[nn.Parameter]) -> None:
        """Make each value's gradient the sum over all processes; None counts as 0, unless it is so in all."""

    @abstractmethod
    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Make tensors what they are in the first process."""

    @abstractmethod
    def wait(self) -> None:
        """Go on when all have come here."""

    def agree(self, *, on: bool) -> bool:
        """Say in all processes whether one of them says so."""
        return self.add_up(float(on))[0] > 0


class OneProcess(Processes):
    """A process that trains by itself: there is nothing to add or to wait for."""

    def __init__(self) -> None:
        self.launch = Launch()

    @override
    def add_up(self, *values: float) -> list[float]:
        return list(values)

    @override
    def add_gradients(self, values: Iterable[nn.Parameter]) -> None:
        pass

    @override
    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        pass

    @override
    def wait(self) -> None:
        pass


class SeveralProcesses(Processes):
    """Processes that a launcher started; accelerate connects them (NCCL on GPUs, gloo on CPUs).

    Args:
        launch: Which one this is.
        device: Where it computes.
    """

    def __init__(self, launch: Launch, device: torch.device) -> None:
        # Loaded here, since one process alone has no use for it.
        from accelerate import PartialState

        self.launch = launch
        self.device = device
        if not torch.distributed.is_initialized():
            atexit.register(leave_processes)
        PartialState(cpu=device.type == "cpu", timeout=PATIENCE)

    @override
    def add_up(self, *values: float) -> list[float]:
        buffer = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(buffer)
        return buffer.tolist()

    @override
    def add_gradients(self, values: Iterable[nn.Parameter]) -> None:
        listed = list(values)
        has_gradient = torch.tensor([value.grad is not None for value in listed], dtype=torch.float32)
        # One message for all: each has its cost.
        flat = [torch.zeros_like(value) if value.grad is None else value.grad for value in listed]
        buffer = torch.cat([has_gradient.to(self.device), *(gradient.flatten() for gradient in flat)])
        torch.distributed.all_reduce(buffer)
        counts, *sums = buffer.split([len(listed), *(value.numel() for value in listed)])
        for value, count, summed in zip(listed, counts.tolist(), sums, strict=True):
            value.grad = summed.view_as(value) if count else None

    @override
    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            torch.distributed.broadcast(tensor, src=0)

    @override
    def wait(self) -> None:
        torch.distributed.barrier()


def leave_processes() -> None:
    """End this process' part of the group and the threads that serve it.

    The threads hold tensors of the last messages. One that lets go of them while the interpreter is being torn down
    ends the whole process with an abort, so they have to end before it.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def join_processes(device: torch.device) -> Processes:
    """Join the other processes of a launch; without a launcher there are none.

    Args:
        device: Where this process computes.
    """
    launch = load_launch()
    return OneProcess() if launch.count == 1 else SeveralProcesses(launch, device)
