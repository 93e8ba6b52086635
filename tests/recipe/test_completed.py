"""Scores that an older version kept are completed without scoring anything again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tests.recipe.material import find_end, load, run_all
from tests.tiny import make_base

from polygraft.evaluate.result import Result
from polygraft.recipe.completed import name_scores
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.events import StepSkipped
from polygraft.recipe.score import Scores
from polygraft.recipe.steps import list_jobs

SETTINGS = ('controls=["nearest"]', "name=old")


def make_old() -> Path:
    """Take from kept scores what older versions did not keep."""
    [path] = [each for each in Path("runs/old/scores").glob("*.json") if "." not in each.stem]
    kept = json.loads(path.read_text())
    del kept["overlaps"]
    kept["gains"] = [gain for gain in kept["gains"] if gain["language"] == "qu"]
    path.write_text(json.dumps(kept))
    return path


@pytest.mark.usefixtures("here")
def test_what_older_scores_lack_is_made_of_what_was_predicted():
    whole = find_end(run_all(load(*SETTINGS))).summary
    path = make_old()
    events = run_all(load(*SETTINGS))
    again = find_end(events).summary
    assert "evaluate.ner" in {event.name for event in events if isinstance(event, StepSkipped)}
    assert (again.results, again.gains, again.overlaps) == (whole.results, whole.gains, whole.overlaps)
    assert {overlap["language"] for overlap in json.loads(path.read_text())["overlaps"]} == {"en", "qu", "sw"}


@pytest.mark.usefixtures("here")
def test_without_predictions_older_scores_stay_as_they_are():
    run_all(load(*SETTINGS))
    make_old()
    [labels] = Path("runs/old/scores").glob("*.labels.json.gz")
    labels.unlink()
    again = find_end(run_all(load(*SETTINGS))).summary
    assert {gain.language for gain in again.gains} == {"qu"}


@pytest.mark.usefixtures("here")
def test_how_alike_texts_are_is_told_when_scoring_is_skipped_too():
    first = find_end(run_all(load(*SETTINGS))).summary
    again = find_end(run_all(load(*SETTINGS))).summary
    assert [overlap.by_language.keys() for overlap in first.overlaps] == [{"qu"}, {"en"}, {"en", "qu"}]
    assert again.overlaps == first.overlaps
    assert "how alike the pieces of each test are" in Path("runs/old/report.html").read_text()


@pytest.mark.usefixtures("here")
def test_a_task_that_was_renamed_is_called_so_in_scores_of_before():
    first = find_end(run_all(load(*SETTINGS))).summary
    events = run_all(load(*SETTINGS, "task.ner.task=names"))
    again = find_end(events).summary
    assert "evaluate.ner" in {event.name for event in events if isinstance(event, StepSkipped)}
    assert again.results == tuple(dataclasses.replace(result, task="names") for result in first.results)
    kinds = (again.gains, again.overlaps, again.examples)
    assert {each.task for rows in kinds for each in rows} == {"names"}


@pytest.mark.usefixtures("here")
def test_scores_of_earlier_tasks_get_the_names_that_hold_now():
    more = 'task.pos={source="en",train="train.conll",dev="dev.conll",test={en="en.conll"},task="kinds"}'
    recipe = load(more, "forgetting=true", "task.ner.task=names")
    base = make_base("bert")
    jobs = list_jobs(recipe, base, Corpus(recipe=recipe, tokenizer=base.tokenizer))
    [job] = [job for job in jobs if job.kind == "recheck"]
    scored = tuple(
        Result(
            task="ner",
            language=language,
            condition="source",
            plan="",
            metric="f1",
            score=0.5,
            num_sentences=1,
            num_gold=1,
            seconds=1.0,
            tokens_per_second=1.0,
            seed=0,
        )
        for language in ("en", "qu", "sw")
    )
    named = name_scores(recipe, job, Scores(results=scored, examples=(), gains=()))
    assert [result.task for result in named.results] == ["names"] * 3
