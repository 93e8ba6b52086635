"""`polygraft plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.cli.conftest import Command

from polygraft.cli.planned import draw_plan
from polygraft.recipe.events import PlannedStep, RunPlan

STEPS = ["language.en", "language.qu", "task.ner-alone", "task.ner", "evaluate.ner"]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def list_files() -> dict[str, tuple[int, int]]:
    found = sorted(path for path in Path().rglob("*"))
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def test_a_plan_tells_time_memory_and_disk_and_writes_nothing(
    polygraft: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path / "cache"
    monkeypatch.setenv("POLYGRAFT_CACHE", str(cache))
    before = list_files()
    done = polygraft("plan", "recipe.toml", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [step["name"] for step in found["steps"]] == STEPS
    assert set(found) == {
        "folder",
        "seconds",
        "memory_bytes",
        "above_bytes",
        "kept_bytes",
        "passing_bytes",
        "warnings",
        "steps",
    }
    steps = found["steps"]
    assert found["seconds"] == pytest.approx(sum(step["seconds"] for step in steps))
    assert found["kept_bytes"] == sum(step["kept_bytes"] for step in steps)
    assert found["memory_bytes"] == max(step["memory_bytes"] for step in steps)
    assert all(0 < step["above_bytes"] < step["memory_bytes"] for step in steps)
    assert found["warnings"] == []
    assert list_files() == before
    assert not cache.exists()


def test_a_dry_run_tells_the_same(polygraft: Command):
    plan, dry = (
        polygraft("plan", "recipe.toml", "--json"),
        polygraft("run", "recipe.toml", "--dry-run", "--json"),
    )
    planned, told = json.loads(plan.stdout), json.loads(dry.stdout)
    assert planned.keys() == told.keys()
    assert [step["kept_bytes"] for step in planned["steps"]] == [step["kept_bytes"] for step in told["steps"]]


def test_a_run_says_what_it_did_not_try(polygraft: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.recipe.run.REHEARSAL_SECONDS", 1e-9)
    assert "not tried beforehand" not in polygraft("run", "recipe.toml", "--dry-run").stderr
    done = polygraft("run", "recipe.toml")
    assert done.exit_code == 0
    assert (
        "kinds of work were not tried beforehand, so as not to keep the run waiting. `polygraft plan` tries them all."
        in done.stderr
    )


@pytest.mark.parametrize(
    ("seconds", "whole"),
    [((60.0, 30.0), "about 1 min 30 s"), ((60.0, None), "over 1 min"), ((None, None), "–")],
)
def test_the_whole_time_is_that_of_all_steps_or_more_than_is_known(
    seconds: tuple[float | None, ...], whole: str
):
    steps = [
        PlannedStep(name="s", kind="task", description="", digest="", is_done=False, seconds=each)
        for each in seconds
    ]
    assert draw_plan(RunPlan(steps=tuple(steps))).foot[3].text == whole


def test_a_plan_is_a_table(polygraft: Command):
    done = polygraft("plan", "recipe.toml", "--only", "language", "--set", "train.language.steps=400")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["Step", "What", "it", "does", "Time", "Memory", "Disk"] in lines
    [row] = [line for line in lines if "language.qu" in line]
    # Bytes that stay, and two checkpoints of four times the values.
    assert row[-4:] == ["4.50", "kB", "(+26.9", "kB)"]
    assert not [line for line in lines if "task.ner" in line]


def test_what_was_done_is_told(polygraft: Command):
    polygraft("run", "recipe.toml")
    found = json.loads(polygraft("plan", "recipe.toml", "--json").stdout)
    assert all(step["is_done"] and step["seconds"] is None for step in found["steps"])
    assert (found["seconds"], found["memory_bytes"], found["kept_bytes"]) == (0, None, 0)
    again = polygraft("plan", "recipe.toml", "--seed", "7", "--json")
    assert not any(step["is_done"] for step in json.loads(again.stdout)["steps"])


@pytest.mark.parametrize(
    "words",
    [
        ("none.toml",),
        ("recipe.toml", "--only", "task.nre"),
        ("recipe.toml", "--set", "base='none'"),
        ("recipe.toml", "--set", "task.ner.dev='none.conll'"),
        ("recipe.toml", "--set", "language.en.text='none.txt'"),
        ("recipe.toml", "--set", "train.task.reduction=0"),
    ],
)
def test_what_is_wrong_is_said_as_a_run_says_it(words: tuple[str, ...], polygraft: Command):
    before = list_files()
    planned = polygraft("plan", *words)
    assert (planned.exit_code, planned.stdout) == (1, "")
    assert list_files() == before
    assert planned.stderr.startswith("error: ")
    run = polygraft("run", *words)
    assert (run.exit_code, run.stderr) == (planned.exit_code, planned.stderr)


def test_memory_and_room_that_are_not_there_are_told(polygraft: Command, monkeypatch: pytest.MonkeyPatch):
    from polygraft.recipe import planning, room

    monkeypatch.setattr(planning, "read_free", lambda: 10)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: Usage(20, 20, 20))
    done = polygraft("plan", "recipe.toml")
    assert done.exit_code == 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert warnings[0].startswith("warning: The step '")
    assert warnings[1].startswith("warning: The run is expected to need 18.0 kB on the disk of store and ")
    assert len(json.loads(polygraft("plan", "recipe.toml", "--json").stdout)["warnings"]) == 2


def test_a_run_ends_with_what_was_expected_beside_what_was_taken(polygraft: Command):
    done = polygraft("run", "recipe.toml")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["Expected", "and", "taken"] in lines
    [row] = [line for line in lines if line[:1] == ["language.en"]]
    # Time and ratio, memory, and disk at the end of the line.
    assert row[-4:] == ["4.50", "kB", "4.50", "kB"]
    left = [line for line in done.stderr.splitlines() if line.startswith(("language.", "task."))]
    assert len([line for line in left if line.endswith(" left)") and "; about " in line]) == 4
    page = Path("runs/recipe/report.html").read_text(encoding="utf-8")
    assert '<h2 id="planned-head">Expected and taken</h2>' in page
    # What was expected and taken then is still told when nothing is left to do.
    again = [line.split() for line in polygraft("run", "recipe.toml").stdout.splitlines()]
    assert [line for line in again if line[:1] == ["language.en"]] == [row]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_ctrl_c_ends_planning_at_once(command: str, polygraft: Command, monkeypatch: pytest.MonkeyPatch):
    from polygraft.recipe import planning

    def press(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "estimate_step", press)
    before = list_files()
    done = polygraft(command, "recipe.toml")
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == (
        "error: Stopped. Nothing was left half-written; give the same command again to start anew."
    )
    assert list_files() == before
