"""What a training asks a GPU: to be done with its work, and how much memory that took."""

from __future__ import annotations

import torch

KEY = "peak_device_memory_bytes"


def finish_work(device: torch.device) -> None:
    """Wait until a CUDA device has done what it was told; others are done when they are told the next thing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class DevicePeak:
    """The most memory that tensors took on a device since a moment, such as the start of a training.

    PyTorch's own record of the device is begun anew at that moment. Several may be in use at once: each remembers what
    it has read.

    Args:
        device: Where the base is; of others than CUDA devices nothing is told.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device if device.type == "cuda" else None
        self.peak = 0

    def begin(self) -> None:
        """Count from now on."""
        self.peak = 0
        if self.device is not None:
            torch.cuda.reset_peak_memory_stats(self.device)

    def read(self) -> int | None:
        """Give the most bytes since the beginning, or None without such a device."""
        if self.device is None:
            return None
        self.peak = max(self.peak, torch.cuda.max_memory_allocated(self.device))
        return self.peak

    def measure(self) -> dict[str, float]:
        """Give what a manifest tells: nothing without such a device."""
        peak = self.read()
        return {} if peak is None else {KEY: float(peak)}
