"""--tracker tells every training to a tracker, and leaves standard output to results."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from tests.cli.conftest import Command

from polygraft.cli.progress import SilentDisplay, make_display
from polygraft.train import trackers

TOLD: list[Any] = []


class Printing:
    """A tracker that prints, as some do."""

    def __init__(self, name: str, **facts: Any) -> None:
        self.name = f"{name} {facts['project']} {facts['run']}"
        self.tracker = SimpleNamespace(name="found", info=SimpleNamespace(run_id="found"))

    def start(self) -> None:
        sys.stdout.write("Welcome!\n")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        TOLD.append((self.name, values))

    def log(self, values: dict[str, Any], step: int, **options: Any) -> None:
        TOLD.append((self.name, step, values["loss"]))

    def finish(self) -> None:
        sys.stdout.write("Good-bye!\n")


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    TOLD.clear()
    monkeypatch.setattr(trackers, "make_tracker", Printing)
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "wandb" else object())


def test_a_training_is_told_with_its_settings(polygraft: Command):
    words = ("train", "tokens", "--train", "tagged.conll", "--name", "new", "--steps", "2", "--json")
    done = polygraft(*words, "--tracker", "trackio", "--precision", "bfloat16")
    assert json.loads(done.stdout)["name"] == "new"
    assert "Welcome!\n" in done.stderr
    assert "Good-bye!\n" in done.stderr
    (name, settings), *steps = TOLD
    assert name == "trackio train new"
    assert (settings["run"], settings["train.steps"], settings["train.precision"]) == ("new", 2, "bfloat16")
    assert "train.epochs" not in settings
    assert [(name, number) for name, number, _ in steps] == [
        ("trackio train new", 1),
        ("trackio train new", 2),
    ]


def test_seeds_that_are_trained_together_are_told_as_they_go(polygraft: Command):
    words = ("train", "tokens", "--train", "tagged.conll", "--name", "new", "--steps", "2", "--seeds", "0,1")
    polygraft(*words, "--tracker", "trackio")
    assert [(item[0], item[1]) for item in TOLD if len(item) == 3] == [
        ("trackio train new-s0", 1),
        ("trackio train new-s1", 1),
        ("trackio train new-s0", 2),
        ("trackio train new-s1", 2),
    ]


def test_each_training_of_a_recipe_is_told_as_a_run(polygraft: Command):
    done = polygraft("run", "recipe.toml", "--tracker", "mlflow", "--only", "language", "--json")
    assert done.exit_code == 0
    assert "Welcome!" not in done.stdout
    told = [item[0] for item in TOLD]
    assert told == ["mlflow recipe language.en"] * 4 + ["mlflow recipe language.qu"] * 4
    assert TOLD[0][1]["train.language.steps"] == 3
    assert TOLD[0][1]["train.task.skip_layers"] == "()"


@pytest.mark.parametrize(
    "words", [("run", "recipe.toml"), ("train", "mlm", "--name", "new", "--train", "text.txt")]
)
def test_a_tracker_that_is_not_installed_is_refused(polygraft: Command, words: tuple[str, ...]):
    done = polygraft(*words, "--tracker", "wandb")
    assert done.exit_code == 1
    assert done.stderr == (
        "error: The tracker 'wandb' needs the package wandb, which is not installed. Expected it beside polygraft. "
        "Install it: pip install wandb\n"
    )


def test_of_several_processes_only_the_first_shows_something(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert isinstance(make_display(), SilentDisplay)
    monkeypatch.setenv("RANK", "0")
    assert not isinstance(make_display(), SilentDisplay)
