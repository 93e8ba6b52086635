"""What a training asks a GPU, with a device that is made up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.train.material import make_training, run

from polygraft.train.checkpoint import Checkpoints
from polygraft.train.device import DevicePeak, finish_work
from polygraft.train.loop import Interrupted

GPU = torch.device("cuda", 1)


class FakeGpu:
    """Stands for PyTorch's record of a device; each reading finds the next size."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.asked: list[str] = []

    def put_in_place(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(torch.cuda, "reset_peak_memory_stats", self.note("reset", 0))
        patch.setattr(torch.cuda, "synchronize", self.note("synchronize", 0))
        patch.setattr(torch.cuda, "max_memory_allocated", self.read)

    def note(self, what: str, answer: int):
        def act(device: torch.device) -> int:
            assert device == GPU
            self.asked.append(what)
            return answer

        return act

    def read(self, device: torch.device) -> int:
        assert device == GPU
        self.asked.append("read")
        return self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0]


def test_the_record_begins_anew_and_the_largest_is_told(monkeypatch: pytest.MonkeyPatch):
    gpu = FakeGpu([500, 300, 900])
    gpu.put_in_place(monkeypatch)
    peak = DevicePeak(GPU)
    peak.begin()
    # The second is smaller: another training has begun meanwhile.
    assert [peak.read(), peak.read(), peak.measure()] == [500, 500, {"peak_device_memory_bytes": 900.0}]
    assert gpu.asked == ["reset", "read", "read", "read"]
    finish_work(GPU)
    assert gpu.asked[-1] == "synchronize"


def test_nothing_is_asked_and_told_without_such_a_device(monkeypatch: pytest.MonkeyPatch):
    gpu = FakeGpu([500])
    gpu.put_in_place(monkeypatch)
    peak = DevicePeak(torch.device("cpu"))
    peak.begin()
    finish_work(torch.device("cpu"))
    assert (peak.read(), peak.measure(), gpu.asked) == (None, {}, [])
    training = make_training("tokens", steps=1)
    assert [step.peak_device_memory_bytes for step in run(training)] == [None]
    assert "peak_device_memory_bytes" not in training.measure_cost()


def test_a_training_tells_the_memory_of_its_device_over_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    FakeGpu([10, 70]).put_in_place(monkeypatch)
    first, second = (
        make_training("tokens", steps=3, checkpoints=Checkpoints(tmp_path, key="k")) for _ in range(2)
    )
    first.should_stop = lambda: first.progress.step == 2
    first.device_peak, second.device_peak = DevicePeak(GPU), DevicePeak(GPU)
    found: list[int | None] = []
    with pytest.raises(Interrupted):
        for step in first.run():
            found.append(step.peak_device_memory_bytes)
    assert found == [10, 70]
    FakeGpu([40]).put_in_place(monkeypatch)
    assert [step.peak_device_memory_bytes for step in run(second)] == [40]
    assert second.measure_cost()["peak_device_memory_bytes"] == 70
