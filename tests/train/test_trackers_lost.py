"""A tracker that fails later is left out: training goes on without it, and it is told once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.train.test_trackers import Listed, make_steps, numbers_in, use_listed

from polygraft.errors import TrainError
from polygraft.train import trackers
from polygraft.train.trackers import Trackers, open_trackers


def fail_at(deed: str, run: str, monkeypatch: pytest.MonkeyPatch, *, step: int = 0) -> None:
    """Let one deed of a tracker fail in one of its runs."""
    real = vars(Listed)[deed]

    def act(self: Listed, *arguments: Any, **options: Any) -> None:
        if self.run == run and options.get("step", step) == step:
            raise ConnectionError("No route.")
        real(self, *arguments, **options)

    monkeypatch.setattr(Listed, deed, act)


def say_failed(name: str) -> str:
    return (
        f"The tracker '{name}' failed: ConnectionError: No route. Expected it to take every update. Training goes on "
        "without it; its own pages say what may be wrong."
    )


def test_the_others_are_told_on_and_the_failure_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    told, sentences = use_listed(monkeypatch), list[str]()
    fail_at("log", "wandb a", monkeypatch, step=2)
    names = ["wandb", "trackio"]
    with open_trackers(names, folder=tmp_path, project="p", notify=sentences.append) as opened:
        for run in "ab":
            for step in make_steps(3):
                opened.log(step, run=run)
    assert sentences == [say_failed("wandb")]
    assert numbers_in(told) == [
        *(("start", "wandb a"), ("start", "trackio a"), 1, 1, 2, 3),
        *(("finish", "wandb a"), ("finish", "trackio a")),
        *(("start", "trackio b"), 1, 2, 3, ("finish", "trackio b")),
    ]


def test_where_it_goes_on_later_it_is_told_what_it_was_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    told, steps = use_listed(monkeypatch), make_steps(4)
    with monkeypatch.context() as patch:
        fail_at("log", "wandb a", patch, step=2)
        first = Trackers(["wandb"], folder=tmp_path, project="p", settings={}, notify=lambda sentence: None)
        for step in steps[:3]:
            first.log(step, run="a")
    second = Trackers(["wandb"], folder=tmp_path, project="p", settings={})
    for step in steps[1:]:
        second.log(step, run="a")
    assert numbers_in(told) == [("start", "wandb a"), 1, ("from", 2), ("start", "wandb a"), 2, 3, 4]


def test_one_that_was_opened_before_may_fail_to_open_and_the_first_time_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    use_listed(monkeypatch)
    [step] = make_steps(1)
    fail_at("start", "wandb b", monkeypatch)
    sentences: list[str] = []
    with open_trackers(["wandb"], folder=tmp_path, project="p", notify=sentences.append) as opened:
        opened.log(step, run="a")
        opened.log(step, run="b")
    assert sentences == [say_failed("wandb")]
    with (
        open_trackers(["wandb"], folder=tmp_path, project="p", notify=sentences.append) as opened,
        pytest.raises(TrainError, match="The tracker 'wandb' cannot be opened: ConnectionError: No route"),
    ):
        opened.log(step, run="b")


def test_all_are_ended_where_one_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    told, sentences = use_listed(monkeypatch), list[str]()
    fail_at("finish", "wandb a", monkeypatch)
    names = ["wandb", "trackio"]
    with open_trackers(names, folder=tmp_path, project="p", notify=sentences.append) as opened:
        opened.log(make_steps(1)[0], run="a")
    assert sentences == [say_failed("wandb")]
    assert told[-1] == ("finish", "trackio a")


@pytest.mark.parametrize("deed", ["log", "finish"])
def test_where_nobody_is_notified_the_error_goes_on(
    deed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    use_listed(monkeypatch)
    [step] = make_steps(1)
    fail_at(deed, "wandb a", monkeypatch, step=1)
    opened = Trackers(["wandb"], folder=tmp_path, project="p", settings={})

    def follow() -> None:
        opened.log(step, run="a")
        opened.finish()

    with pytest.raises(ConnectionError, match="No route"):
        follow()


def test_trackers_are_told_also_where_that_cannot_be_written_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    told, sentences = use_listed(monkeypatch), list[str]()
    (tmp_path / trackers.FILES).write_text("")
    steps = make_steps(3)
    with open_trackers(["wandb"], folder=tmp_path, project="p", notify=sentences.append) as opened:
        for step in steps[:2]:
            opened.log(step, run="a")
        (tmp_path / trackers.FILES).unlink()
        opened.log(steps[2], run="a")
    path = tmp_path / trackers.FILES / "p" / "a.json"
    assert sentences == [
        f"What trackers were told cannot be written to {path}: Not a directory. Expected a folder with room. Training "
        "goes on; if it is stopped, they may be told some updates twice later on. Make room."
    ]
    assert numbers_in(told) == [("start", "wandb a"), 1, 2, 3, ("finish", "wandb a")]
    # There is room again.
    assert path.is_file()
