"""Trackers are told every step, a run for each training, and are refused where they cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker
from tests.train.material import make_training

from polygraft.errors import MissingExtraError, OptionError, TrainError
from polygraft.train import trackers
from polygraft.train.trackers import TRACKERS, check_trackers, make_tracker, open_trackers


class Listed(GeneralTracker):
    """A tracker that keeps what it is told."""

    name = "listed"
    requires_logging_directory = False
    main_process_only = False

    def __init__(self, run: str, told: list[Any]) -> None:
        super().__init__()
        self.run = run
        self.told = told

    @property
    def tracker(self) -> None:
        return None

    def start(self) -> None:
        self.told.append(("start", self.run))

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(values)

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.told.append((step, values))

    def finish(self) -> None:
        self.told.append(("finish", self.run))


def use_listed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    told: list[Any] = []
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    monkeypatch.setattr(
        trackers, "make_tracker", lambda name, **facts: Listed(f"{name} {facts['run']}", told)
    )
    return told


def test_every_step_is_told_with_the_numbers_that_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    told = use_listed(monkeypatch)
    training = make_training("tokens", steps=2, evaluate=lambda attachment: 0.25, evaluate_every=2)
    with open_trackers(["wandb"], folder=tmp_path, project="p", settings={"lr": 0.01}) as opened:
        steps = []
        for step in training.run():
            opened.log(step, run="ner")
            steps.append(step)
    assert told[:2] == [("start", "wandb ner"), {"run": "ner", "lr": 0.01}]
    assert told[-1] == ("finish", "wandb ner")
    (first, one), (second, two) = told[2:-1]
    assert (first, second) == (1, 2)
    assert one["loss"] == steps[0].loss
    assert one["tokens_per_second"] == steps[0].tokens_per_second
    assert "held_out" not in one
    assert two["held_out"] == 0.25
    assert sorted(two) == sorted(trackers.NUMBERS)


def test_each_training_is_a_run_of_its_own_that_ends_also_after_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    told = use_listed(monkeypatch)
    (step,) = make_training("tokens", steps=1).run()

    def fail() -> None:
        with open_trackers(["mlflow", "trackio"], folder=tmp_path, project="p") as opened:
            opened.log(step, run="a")
            opened.log(step, run="b")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    marks = [item for item in told if isinstance(item, tuple) and isinstance(item[0], str)]
    assert marks == [
        (deed, f"{name} {run}")
        for run in "ab"
        for deed in ("start", "finish")
        for name in ("mlflow", "trackio")
    ]


def test_a_tracker_that_cannot_be_opened_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    use_listed(monkeypatch)

    def refuse(self: Listed) -> None:
        raise OSError("No account.")

    monkeypatch.setattr(Listed, "start", refuse)
    (step,) = make_training("tokens", steps=1).run()
    with (
        open_trackers(["wandb"], folder=tmp_path, project="p") as opened,
        pytest.raises(TrainError) as refusal,
    ):
        opened.log(step, run="a")
    assert str(refusal.value) == (
        "The tracker 'wandb' cannot be opened: OSError: No account. Expected it to be set up as its own pages say. Set "
        "it up, or train without it."
    )


def test_without_a_name_nothing_is_opened(tmp_path: Path):
    (step,) = make_training("tokens", steps=1).run()
    with open_trackers([], folder=tmp_path, project="p") as opened:
        opened.log(step, run="a")
    assert list(tmp_path.iterdir()) == []


def test_runs_have_their_names_where_each_tracker_looks_for_them(tmp_path: Path):
    board: Any = make_tracker("tensorboard", folder=tmp_path, project="p", run="ner")
    assert isinstance(board, TensorBoardTracker)
    assert (board.run_name, board.logging_dir_param) == ("ner", tmp_path / "tensorboard" / "p")
    wandb: Any = make_tracker("wandb", folder=tmp_path, project="p", run="ner")
    assert isinstance(wandb, WandBTracker)
    assert (wandb.run_name, wandb.init_kwargs) == ("p", {"name": "ner", "dir": str(tmp_path)})
    trackio: Any = make_tracker("trackio", folder=tmp_path, project="p", run="ner")
    assert (trackio.name, trackio.run_name, trackio.init_kwargs) == ("trackio", "p", {"name": "ner"})
    mlflow: Any = make_tracker("mlflow", folder=tmp_path, project="p", run="ner")
    assert (mlflow.name, mlflow.experiment_name, mlflow.run_name) == ("mlflow", "p", "ner")


def test_a_tracker_that_is_not_known_is_refused():
    with pytest.raises(OptionError) as refusal:
        check_trackers(["tensorbord"])
    assert str(refusal.value) == (
        "'tensorbord' is not a tracker. Expected tensorboard, mlflow, wandb, trackio. Did you mean 'tensorboard'? "
        "Correct the name."
    )


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_refused(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trackers, "find_spec", lambda wanted: None)
    with pytest.raises(MissingExtraError) as refusal:
        check_trackers([name])
    assert str(refusal.value) == (
        f"The tracker '{name}' needs the package {name}, which is not installed. Expected it beside polygraft. "
        f"Install it: pip install {name}"
    )
