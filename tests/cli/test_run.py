from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command

from polygraft.base.load import load_base
from polygraft.store.store import Store

STEPS = ["language.en", "language.qu", "task.ner-alone", "task.ner", "evaluate.ner"]


def test_a_dry_run_shows_the_plan_and_writes_nothing(polygraft: Command):
    done = polygraft("run", "recipe.toml", "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert [step["name"] for step in found["steps"]] == STEPS
    assert found["folder"] == "runs/recipe"
    assert not Path("runs").exists()


def test_a_run_writes_grafts_results_and_a_page(polygraft: Command):
    before = load_base("base", device="cpu").fingerprint
    done = polygraft("run", "recipe.toml", "--log-json", "log.jsonl")
    assert done.exit_code == 0
    for line in (
        "Results  runs/recipe/results.json",
        "Table    runs/recipe/results.csv",
        "Report   runs/recipe/report.html",
    ):
        assert line in done.stdout.splitlines()
        assert Path(line.split()[1]).is_file()
    events = [json.loads(line) for line in Path("log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["name"] for event in events if event["event"] == "StepStarted"] == STEPS
    assert events[-1]["event"] == "RunFinished"
    [first, *_] = [event for event in events if event["event"] == "TrainStep"]
    assert (first["name"], first["step"], first["total"]) == ("language.en", 1, 3)
    assert load_base("base", device="cpu").fingerprint == before


def test_costs_stand_in_the_results(polygraft: Command):
    polygraft("run", "recipe.toml", "--set", "train.task.skip_layers=[0,1]", "--set", "train.task.epochs=8")
    grafts = json.loads(Path("runs/recipe/results.json").read_text(encoding="utf-8"))["grafts"]
    found = {graft["name"]: graft for graft in grafts}
    for name, graft in found.items():
        cost = Store("store").manifest(name).cost
        keys = ("padding", "peak_memory_bytes", "peak_memory_above_start_bytes")
        assert [graft[key] for key in keys] == [cost[key] for key in keys]
    assert found["en"]["looked_up"] is None
    assert 0 < found["ner"]["looked_up"] < 1
    assert found["ner"]["cache_memory_bytes"] > 0


def test_a_log_that_cannot_be_written_is_said_before_anything_is_done(polygraft: Command):
    done = polygraft("run", "recipe.toml", "--log-json", "none/log.jsonl")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: The log none/log.jsonl cannot be written: No such file or directory. A file in a folder that is there "
        "and may be written was expected. Make the folder, or give another file to --log-json.\n"
    )
    assert not Path("runs").exists()


def test_a_second_run_does_nothing_again(polygraft: Command):
    polygraft("run", "recipe.toml")
    done = polygraft("run", "recipe.toml", "--json")
    assert [line for line in done.stderr.splitlines() if line.startswith("[")] == [
        f"[{number}/5] {name}: done by an earlier run" for number, name in enumerate(STEPS, start=1)
    ]
    assert len(json.loads(done.stdout)["summary"]["results"]) == 7


def test_set_and_seed_change_the_recipe(polygraft: Command):
    done = polygraft(
        "run",
        "recipe.toml",
        "--set",
        "train.language.steps=1",
        "--seed",
        "3",
        "--only",
        "language.en",
        "--json",
    )
    text = json.loads(done.stdout)["summary"]["recipe_text"]
    assert text.endswith("# --set train.language.steps=1\n# --set seed=3")
    assert Store("store").names() == ["en", "ner", "qu", "topic"]


def test_the_report_is_written_again_from_the_results(polygraft: Command):
    polygraft("run", "recipe.toml")
    page = Path("runs/recipe/report.html")
    content = page.read_text(encoding="utf-8")
    page.unlink()
    done = polygraft("report", "runs/recipe")
    assert done.stdout == "runs/recipe/report.html\n"
    assert page.read_text(encoding="utf-8") == content


@pytest.fixture
def signal_after_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Ctrl-C were pressed once training has begun."""
    from polygraft.train.loop import Training

    run = Training.run

    def run_and_press(training: Training) -> Iterator[Any]:
        for step in run(training):
            # What is rehearsed for the plan has no checkpoints.
            if step.number == 1 and training.checkpoints is not None:
                os.kill(os.getpid(), signal.SIGINT)
            yield step

    monkeypatch.setattr(Training, "run", run_and_press)


@pytest.mark.usefixtures("signal_after_the_first_step")
def test_an_interrupted_run_says_how_to_go_on_and_exits_130(polygraft: Command):
    # A shell that starts the tests in the background leaves SIGINT ignored: what counts is that it is put back.
    before = signal.getsignal(signal.SIGINT)
    done = polygraft("run", "recipe.toml")
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-2:] == [
        "Stopping after the step in progress, so that nothing is lost. Press Ctrl-C again to stop at once.",
        "error: Training of 'en' was stopped after step 1 of 3, and all of it is saved. Give the same "
        "command again to go on.",
    ]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_quickstart_ends_with_tagged_sentences_and_what_to_do_next(
    polygraft: Command, monkeypatch: pytest.MonkeyPatch
):
    from polygraft.recipe.read import load_recipe

    def load_small(folder: Path) -> object:
        return load_recipe(Path("recipe.toml"), settings=[f"store='{folder}/store'", f"runs='{folder}/runs'"])

    monkeypatch.setattr("polygraft.recipe.quickstart.load_quickstart", load_small)
    done = polygraft("quickstart", "--folder", "qs")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-4:] == [
        "Look at the page qs/runs/recipe/report.html, or go on:",
        "  polygraft predict --store qs/store --plan 'stack(qu, ner)' --text \"...\"",
        "  polygraft grafts list --store qs/store",
        "  polygraft doctor --store qs/store --plan 'stack(qu, ner)'",
    ]


def test_packed_tasks_are_shown_with_what_each_took(polygraft: Command):
    recipe = Path("recipe.toml").read_text(encoding="utf-8")
    task = 'source = "en"\ntrain = "tagged.conll"\ndev = "tagged.conll"\ntest.en = "tagged.conll"\n'
    tasks = f"[task.ner]\n{task}[task.pos]\n{task}"
    method = '[train.task]\nmethod = "packnet"\nepochs = 1\n'
    Path("packed.toml").write_text(f"{recipe.splitlines()[1]}\n{tasks}{method}", encoding="utf-8")
    done = polygraft("run", "packed.toml")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["Packed", "into", "one", "set", "of", "weights"] in lines
    assert ["ner", "2,688", "50", "%", "50", "%"] in lines
    assert ["pos", "1,344", "25", "%", "25", "%"] in lines


def test_methods_are_shown_side_by_side_with_costs_and_what_they_forgot(polygraft: Command):
    text = Path("recipe.toml").read_text(encoding="utf-8")
    task = 'source = "en"\ntrain = "tagged.conll"\ndev = "tagged.conll"\ntest.en = "tagged.conll"\n'
    tasks = f"[task.ner]\n{task}[task.pos]\n{task}"
    head = 'methods = ["sequential", "head"]\nseeds = [0, 1]\nforgetting = true\n'
    Path("compare.toml").write_text(
        f"{head}{text.splitlines()[1]}\n{tasks}[train.task]\nepochs = 1\n", encoding="utf-8"
    )
    done = polygraft("run", "compare.toml")
    assert done.exit_code == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "ner: cost by method" in lines
    assert "What was forgotten of earlier tasks" in lines
    assert len([line for line in lines if line.startswith("sequential ")]) == 5
    [*_, kept] = [line for line in lines if line.startswith("head ")]
    # After one epoch on such a base it tags nothing, which is no proof that it forgets nothing.
    assert kept.endswith("nothing was predicted")
    assert "Gain of target" not in done.stdout
    summary = json.loads(Path("runs/compare/results.json").read_text(encoding="utf-8"))
    after = {graft["name"]: graft["after"] for graft in summary["grafts"] if graft["after"]}
    assert after == {
        "pos-sequential": "ner-sequential",
        "pos-sequential-seed-1": "ner-sequential-seed-1",
    }
    # The sentences are shown once a method, not once a seed.
    shown = {(example["method"], example["task"], example["source"]) for example in summary["examples"]}
    assert shown == {(method, task, "en") for method in ("sequential", "head") for task in ("ner", "pos")}
    assert len(summary["examples"]) == len(shown)
