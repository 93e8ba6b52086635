"""Whole runs on a tiny base."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from safetensors.torch import load_file, save_file
from tests.recipe.material import (
    BARE,
    HEADED,
    STEPS,
    find_end,
    list_sentences,
    load,
    names_of,
    read_grafts,
    run_all,
    strip,
)
from torch import Tensor

from polygraft.base.load import load_base
from polygraft.data.example import TaggedSentence
from polygraft.data.read import read_sentences
from polygraft.data.reading import Reading
from polygraft.errors import RecipeError
from polygraft.recipe.events import (
    RunPlanned,
    StepFinished,
    StepSkipped,
    StepStarted,
    TrainStep,
)
from polygraft.recipe.run import run_recipe
from polygraft.report.summary import summary_from_json
from polygraft.store.store import Store
from polygraft.store.tensors import read_tensors


@pytest.mark.parametrize(
    ("settings", "grafts", "steps"),
    [
        (BARE, ["en", "mlm", "ner", "ner-alone", "qu"], STEPS),
        ((*BARE, "train.mlm.reduction=0"), ["en", "mlm", "ner", "ner-alone", "qu"], STEPS),
        (HEADED, ["en", "ner", "ner-alone", "qu"], STEPS[1:]),
    ],
)
def test_a_run_makes_every_graft_and_scores_every_condition(
    here: Path, settings: tuple[str, ...], grafts: list[str], steps: list[str]
):
    before = {path: path.read_bytes() for path in here.glob("ba*/model.safetensors")}
    events = run_all(load(*settings))
    assert isinstance(events[0], RunPlanned)
    assert [step.name for step in events[0].plan.steps] == steps
    assert names_of(events, StepStarted) == names_of(events, StepFinished) == steps
    assert sorted(Store(Path("store")).names()) == grafts
    summary = find_end(events).summary
    conditions = [(result.language, result.condition, result.plan) for result in summary.results]
    assert conditions == [
        (language, condition, plan)
        for language in ("en", "qu", "sw")
        for condition, plan in {
            "task alone": "ner-alone",
            "none": "ner",
            "source": "stack(en, ner)",
            **({"target": "stack(qu, ner)"} if language == "qu" else {}),
        }.items()
    ]
    assert {result.metric for result in summary.results} == {"f1"}
    scores = {(result.language, result.condition): result.score for result in summary.results}
    assert [(gain.language, gain.other, gain.gain) for gain in summary.gains] == [
        *(
            ("qu", other, scores["qu", "target"] - scores["qu", other])
            for other in ("task alone", "none", "source")
        ),
        # It has no text, and so no graft of its own.
        *(("sw", other, scores["sw", "source"] - scores["sw", other]) for other in ("none", "task alone")),
    ]
    assert list_sentences(events)[-1] == "The base is unchanged, bit for bit."
    assert {path: path.read_bytes() for path in before} == before
    assert not Path("runs/recipe/checkpoints").exists() or not list(Path("runs/recipe/checkpoints").iterdir())


def test_the_steps_of_training_are_told_and_kept_in_manifests(here: Path):
    events = run_all(load(*BARE))
    told = [(event.name, event.step.number) for event in events if isinstance(event, TrainStep)]
    assert told[:6] == [("mlm", n) for n in (1, 2, 3)] + [("language.en", n) for n in (1, 2, 3)]
    manifest = Store(Path("store")).manifest("qu")
    losses = [
        event.step.loss for event in events if isinstance(event, TrainStep) and event.name == "language.qu"
    ]
    assert [point["loss"] for point in manifest.curve] == losses
    assert manifest.trained_under == "stack(mlm, qu)"
    assert [member.name for member in manifest.members] == ["mlm"]
    assert manifest.scores["held_out_loss"] == min(point["dev"] for point in manifest.curve) > 0
    assert manifest.hyperparameters["steps_done"] == 3
    task = Store(Path("store")).manifest("ner")
    assert task.hyperparameters["plans"] == ["stack(en, ner)", "stack(qu, ner)", "ner"]
    assert [(record.name, record.num_examples) for record in task.data] == [("train", 30), ("dev", 10)]


def test_results_and_a_page_are_written(here: Path):
    finished = find_end(run_all(load(*HEADED)))
    folder = Path("runs/recipe")
    assert finished.folder == folder
    assert summary_from_json((folder / "results.json").read_text()) == finished.summary
    rows = (folder / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + len(finished.summary.results) == 11
    page = finished.report.read_text()
    assert page.startswith("<!doctype html>")
    assert "stack(qu, ner)" in page
    assert "https://" not in page


def test_a_second_run_skips_everything_and_gives_the_same_results(here: Path):
    first, stored = find_end(run_all(load(*BARE))), read_grafts(Path("store"))
    events = run_all(load(*BARE))
    assert names_of(events, StepSkipped) == STEPS
    assert names_of(events, StepStarted) == []
    assert isinstance(events[0], RunPlanned)
    assert (events[0].plan.seconds, [step.is_done for step in events[0].plan.steps]) == (0, [True] * 6)
    assert find_end(events).summary.results == first.summary.results
    assert read_grafts(Path("store")) == stored


def test_labelled_files_and_stored_grafts_are_read_once_in_a_run(here: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []

    def note(path: Path, reading: Reading) -> list[TaggedSentence]:
        read.append(path.name)
        return read_sentences(path, reading)

    def note_file(file: BinaryIO, **facts: Any) -> dict[str, Tensor]:
        read.append(Path(facts["where"]).parts[1])
        return read_tensors(file, **facts)

    monkeypatch.setattr("polygraft.recipe.corpus.read_sentences", note)
    monkeypatch.setattr("polygraft.store.graft.read_tensors", note_file)
    files = ["dev.conll", "en.conll", "qu.conll", "sw.conll", "train.conll"]
    run_all(load(*HEADED))
    assert sorted(read) == files
    read.clear()
    run_all(load(*HEADED))
    assert sorted(read) == sorted([*files, "en", "ner", "ner-alone", "qu"])


def test_the_same_recipe_gives_the_same_bytes_elsewhere(here: Path):
    first = find_end(run_all(load(*BARE)))
    second = find_end(run_all(load(*BARE, "store=two", "runs=two/runs")))
    assert read_grafts(Path("store")) == read_grafts(Path("two"))
    assert strip(first.summary.results) == strip(second.summary.results)


def test_a_dry_run_plans_and_writes_nothing(here: Path):
    before = sorted(here.rglob("*"))
    [event] = run_recipe(load(*BARE), dry_run=True)
    assert isinstance(event, RunPlanned)
    assert [step.name for step in event.plan.steps] == STEPS
    assert all(step.seconds is not None and step.seconds > 0 for step in event.plan.steps)
    assert sorted(here.rglob("*")) == before


def test_seeds_of_one_recipe_are_reported_together(here: Path):
    alone = [find_end(run_all(dataclasses.replace(load(*HEADED), seed=seed))).summary for seed in (3, 1)]
    assert {result.seed for result in alone[0].results} == {3}
    assert [result.seed for result in alone[1].results] == [1] * 10 + [3] * 10
    assert alone[1].results[10:] == alone[0].results
    assert {gain.seed for gain in alone[1].gains} == {1, 3}
    assert alone[0].means == ()
    assert [mean.seeds for mean in alone[1].means] == [(1, 3)] * 10
    # A recipe that differs in more than the seed is another experiment.
    other = find_end(run_all(load(*HEADED, "train.task.lr=1e-4"))).summary
    assert {result.seed for result in other.results} == {0}
    again = find_end(run_all(dataclasses.replace(load(*HEADED), seed=3)))
    assert [result.seed for result in again.summary.results] == [3] * 10 + [1] * 10


def test_scores_that_cannot_be_read_are_made_again(here: Path):
    whole = find_end(run_all(load(*HEADED)))
    [path] = Path("runs/recipe/scores").glob("*.json")
    path.write_text(path.read_text()[:50])
    events = run_all(load(*HEADED))
    assert names_of(events, StepStarted) == ["evaluate.ner"]
    assert strip(find_end(events).summary.results) == strip(whole.summary.results)


def test_texts_are_labelled_too(here: Path):
    rows = "good\tgood man\nbad\twater moon\ngood\tgood house\nbad\tthe moon\n"
    for name in ("train", "dev", "en", "qu"):
        (here / "data" / f"{name}.tsv").write_text(rows)
    text = Path("recipe.toml").read_text().replace('sw = "sw.conll"\n', "").replace(".conll", ".tsv")
    Path("recipe.toml").write_text(text.replace('source = "en"', 'source = "en"\nobjective = "sequence"'))
    events = run_all(load(*HEADED, "train.task.reduction=2"))
    assert isinstance(events[0], RunPlanned)
    assert events[0].plan.seconds is not None
    results = find_end(events).summary.results
    assert [(result.metric, result.num_gold) for result in results] == [("accuracy", 4)] * 7


def test_grafts_that_were_trained_against_another_head_are_not_taken_for_done(here: Path):
    run_all(load(*HEADED), only=["language"])
    shutil.copytree("base", "other")
    path = Path("other/model.safetensors")
    tensors = load_file(path)
    tensors["cls.predictions.transform.dense.weight"] *= 1.5
    save_file(tensors, path, metadata={"format": "pt"})
    assert load_base("other").fingerprint == load_base("base").fingerprint
    events = run_all(load(*HEADED, "base=other"), only=["language"])
    assert names_of(events, StepSkipped) == []


def test_two_runs_in_one_folder_are_refused(here: Path):
    first = run_recipe(load(*HEADED))
    while not isinstance(next(first), TrainStep):
        pass
    with pytest.raises(RecipeError) as caught:
        run_all(load(*HEADED))
    assert str(caught.value) == (
        "Another run is at work in runs/recipe. Expected one at a time, because they would remove each other's "
        "checkpoints. Wait for it or end it, or give this recipe another `name`."
    )
    first.close()
    assert names_of(run_all(load(*HEADED)), StepFinished) == STEPS[1:]


def test_languages_alone_are_a_recipe(here: Path):
    text = Path("recipe.toml").read_text()
    Path("recipe.toml").write_text(text[: text.index("[task.ner]")])
    events = run_all(load(*HEADED, "train.language.steps=2"))
    assert names_of(events, StepFinished) == ["language.en", "language.qu"]
    assert find_end(events).summary.results == ()


def test_the_base_that_ran_is_the_base_that_was_loaded(here: Path):
    fingerprint = load_base("bare", device="cpu").fingerprint
    summary = find_end(run_all(load(*BARE), only=["mlm"])).summary
    assert summary.base.fingerprint == fingerprint
    assert load_base("bare", device="cpu").compute_fingerprint() == fingerprint
    assert [graft.role for graft in summary.grafts] == ["head"]
