"""Trackers are told every step, a run for each training, and are refused where they cannot be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker
from tests.train.material import make_training

from polygraft.errors import MissingExtraError, OptionError, TrainError
from polygraft.train import trackers
from polygraft.train.step import Step
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
    def tracker(self) -> Any:
        run = SimpleNamespace(run_id=self.run)
        return SimpleNamespace(id=self.run, name=self.run, info=run, config=self)

    def update(self, values: dict[str, Any], *, allow_val_change: bool) -> None:
        assert allow_val_change
        self.told.append(values)

    def start(self) -> None:
        self.told.append(("start", self.run))

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(values)

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        assert kwargs == ({"run_id": self.run} if self.run.startswith("mlflow") else {})
        self.told.append((step, values))

    def finish(self) -> None:
        self.told.append(("finish", self.run))


def use_listed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    told: list[Any] = []
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())

    def make(name: str, *, run: str, ident: str | None, number: int, **facts: Any) -> Listed:
        if number > 1:
            told.append(("from", number))
        return Listed(ident or f"{name} {run}", told)

    monkeypatch.setattr(trackers, "make_tracker", make)
    return told


def make_steps(count: int) -> list[Step]:
    return list(make_training("tokens", steps=count).run())


def numbers_in(told: list[Any]) -> list[Any]:
    """What was told, with the loss left out of steps."""
    return [item[0] if isinstance(item[0], int) else item for item in told if isinstance(item, tuple)]


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


def test_trainings_side_by_side_are_told_as_they_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    told = use_listed(monkeypatch)
    one, two = make_steps(2)
    with open_trackers(["mlflow"], folder=tmp_path, project="p") as opened:
        with opened.log_together():
            for step in (one, two):
                for run in ("a", "b"):
                    opened.log(step, run=run)
        opened.log(one, run="c")
    assert numbers_in(told) == [
        ("start", "mlflow a"),
        1,
        ("start", "mlflow b"),
        *(1, 2, 2),
        ("finish", "mlflow a"),
        ("finish", "mlflow b"),
        ("start", "mlflow c"),
        1,
        ("finish", "mlflow c"),
    ]


@pytest.mark.parametrize("name", ["mlflow", "trackio", "wandb"])
def test_a_training_that_goes_on_is_logged_to_the_same_run_without_doubles(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    told = use_listed(monkeypatch)
    steps = make_steps(6)
    for run, first, last in (("a", 0, 4), ("b", 0, 4), ("a", 2, 6)):
        # It is not ended, as though the process was killed; only the last checkpoint is there.
        opened = trackers.Trackers([name], folder=tmp_path, project="p", settings={"lr": 1})
        for step in steps[first:last]:
            opened.log(step, run=run)
    assert numbers_in(told) == [
        *(("start", f"{name} a"), 1, 2, 3, 4),
        *(("start", f"{name} b"), 1, 2, 3, 4),
        *(("from", 5), ("start", f"{name} a"), 5, 6),
    ]
    # The settings of a run are told once.
    assert told.count({"run": "a", "lr": 1}) == 1


@pytest.mark.parametrize("change", ["settings", "damage", "beginning"])
def test_another_training_of_the_name_is_a_run_of_its_own(
    change: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    told = use_listed(monkeypatch)
    steps = make_steps(3)
    first = trackers.Trackers(["trackio"], folder=tmp_path, project="p", settings={"lr": 1})
    for step in steps[:2]:
        first.log(step, run="a")
    (path,) = tmp_path.rglob("*.json")
    if change == "damage":
        path.write_bytes(path.read_bytes()[:9])
    settings = {"lr": 2 if change == "settings" else 1}
    second = trackers.Trackers(["trackio"], folder=tmp_path, project="p", settings=settings)
    again = steps if change == "beginning" else steps[1:]
    for step in again:
        second.log(step, run="a")
    numbers = [step.number for step in again]
    begun = [] if change == "beginning" else [("from", 2)]
    assert numbers_in(told) == [("start", "trackio a"), 1, 2, *begun, ("start", "trackio a"), *numbers]
    assert told.count({"run": "a", **settings}) == (1 if change == "settings" else 2)


def test_a_tracker_that_was_not_told_before_is_told_from_where_the_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    told = use_listed(monkeypatch)
    steps = make_steps(4)
    for names, chosen in ((["trackio"], steps[:3]), (["trackio", "mlflow"], steps[1:])):
        opened = trackers.Trackers(names, folder=tmp_path, project="p", settings={})
        for step in chosen:
            opened.log(step, run="a")
    assert numbers_in(told)[4:] == [
        *(("from", 4), ("start", "trackio a"), ("from", 2), ("start", "mlflow a")),
        # MLflow is told steps 2 and 3, and both are told the last one.
        *(2, 3, 4, 4),
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
    options = {"name": "ner", "dir": str(tmp_path), "resume": "allow", "reinit": "create_new"}
    assert (wandb.run_name, wandb.init_kwargs) == ("p", {**options, "id": None})
    trackio: Any = make_tracker("trackio", folder=tmp_path, project="p", run="ner")
    options = {"name": "ner", "resume": "never"}
    assert (trackio.name, trackio.run_name, trackio.init_kwargs) == ("trackio", "p", options)
    mlflow: Any = make_tracker("mlflow", folder=tmp_path, project="p", run="ner")
    assert (mlflow.name, mlflow.experiment_name, mlflow.run_name) == ("mlflow", "p", "ner")
    assert (mlflow.run_id, mlflow.nested_run) == (None, True)


def test_a_run_that_goes_on_is_asked_for_by_what_each_tracker_knows(tmp_path: Path):
    board, mlflow, wandb, trackio = (
        cast("Any", make_tracker(name, folder=tmp_path, project="p", run="ner", ident="i7", number=5))
        for name in TRACKERS
    )
    assert (board.run_name, board.init_kwargs) == ("ner", {"purge_step": 5})
    assert (mlflow.run_id, mlflow.run_name) == ("i7", "ner")
    assert (wandb.init_kwargs["id"], wandb.init_kwargs["resume"]) == ("i7", "allow")
    assert trackio.init_kwargs == {"name": "i7", "resume": "allow"}


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
