"""Whole runs on a tiny base."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from safetensors.torch import load_file, save_file
from tests.recipe.material import find_end, load, read_grafts, run_all
from tests.tiny import SPECIAL
from torch import Tensor

from polygraft.attach.graft import rebuild_graft
from polygraft.base.load import load_base
from polygraft.data.example import TaggedSentence
from polygraft.data.read import read_sentences
from polygraft.data.reading import Reading
from polygraft.errors import DataError, RecipeError
from polygraft.evaluate.result import Result
from polygraft.parts.bottleneck import Bottleneck, BottleneckLayers
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.events import (
    Event,
    Noted,
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
from polygraft.train.loop import Interrupted

STEPS = ["mlm", "language.en", "language.qu", "task.ner-alone", "task.ner", "evaluate.ner"]
HEADED = ()
BARE = ("base=bare",)


def strip(results: tuple[Result, ...]) -> list[Result]:
    """Results without what differs from one machine and hour to the next."""
    return [dataclasses.replace(result, seconds=0.0, tokens_per_second=0.0) for result in results]


def names_of(events: list[Event], kind: type) -> list[str]:
    return [event.name for event in events if isinstance(event, kind)]


def list_sentences(events: list[Event]) -> list[str]:
    return [event.sentence for event in events if isinstance(event, Noted)]


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
        ("qu", other, scores["qu", "target"] - scores["qu", other])
        for other in ("task alone", "none", "source")
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


@pytest.mark.parametrize(
    ("setting", "moves"), [("negatives=0", False), ("negatives=1000", True), ("vocabulary=full", True)]
)
def test_all_pieces_can_be_scored_instead_of_the_texts_own(here: Path, setting: str, moves: bool):
    recipe = load(*BARE, f"train.language.{setting}")
    run_all(recipe, only=["mlm"])
    corpus = Corpus(recipe=recipe, tokenizer=load_base("bare", device="cpu").tokenizer)
    seen = {*corpus.read_mixed().ids.tolist(), *range(len(SPECIAL))}
    bias = Store(Path("store")).get("mlm")[1]["head.bias"]
    others = [piece for piece in range(len(bias)) if piece not in seen]
    assert others
    # A piece that is scored and is never right loses by it.
    assert all((bias[piece] < 0).item() is moves for piece in others)
    assert all(bias[piece] == 0 for piece in others) is not moves


def test_some_pieces_that_no_text_has_can_be_scored_beside_its_own(here: Path):
    few_lines = ("language.en.max_lines=3", "language.qu.max_lines=3")
    recipe = load(*BARE, *few_lines, "train.language.negatives=2", "train.mlm.steps=1")
    run_all(recipe, only=["mlm", "language.en"])
    corpus = Corpus(recipe=recipe, tokenizer=load_base("bare", device="cpu").tokenizer)
    seen = {*corpus.read_mixed().ids.tolist(), *range(len(SPECIAL))}
    bias = Store(Path("store")).get("mlm")[1]["head.bias"]
    others = [piece for piece in range(len(bias)) if piece not in seen]
    assert len(others) > 2
    assert sum((bias[piece] < 0).item() for piece in others) == 2
    assert sum((bias[piece] == 0).item() for piece in others) == len(others) - 2
    assert Store(Path("store")).manifest("en").hyperparameters["negatives"] == 2


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


def test_a_run_stopped_again_and_again_ends_with_the_same_bytes(here: Path):
    whole = find_end(run_all(load(*BARE, "store=whole", "runs=whole/runs")))
    stops: list[str] = []
    while True:
        asked: list[int] = []

        def should_stop(asked: list[int] = asked) -> bool:
            asked.append(1)
            return len(asked) >= 3

        try:
            finished = find_end(run_all(load(*BARE), should_stop=should_stop))
            break
        except Interrupted as error:
            stops.append(str(error))
            if stops[-1].startswith("The scoring"):
                # Scoring starts anew each time, so it is left alone once it was stopped.
                finished = find_end(run_all(load(*BARE)))
                break
    assert len(stops) >= 6
    assert stops[0] == (
        "Training of 'mlm' was stopped after step 2 of 3, and all of it is saved. Give the same command again to "
        "go on."
    )
    assert stops[-1] == (
        "The scoring of 'ner' was stopped after 1 scores, which are not kept. All grafts are. Give the same command "
        "again to score anew."
    )
    assert read_grafts(Path("store")) == read_grafts(Path("whole"))
    assert strip(finished.summary.results) == strip(whole.summary.results)


def test_a_run_can_be_stopped_between_two_steps(here: Path):
    with pytest.raises(Interrupted) as caught:
        run_all(load(*HEADED), should_stop=lambda: True)
    assert str(caught.value) == (
        "The run was stopped before the step 'language.en', and all steps before it are saved. Give the same command "
        "again to go on."
    )


def test_a_damaged_checkpoint_is_told_in_the_run(here: Path):
    asked: list[int] = []
    recipe = load(*HEADED, "train.language.steps=5")
    with pytest.raises(Interrupted):
        run_all(recipe, should_stop=lambda: bool(asked.append(1)) or len(asked) == 4)
    [path] = Path("runs/recipe/checkpoints/language.en").iterdir()
    (path / "state.json").write_text("")
    events = run_all(recipe)
    assert list_sentences(events)[0] == (
        f"The checkpoint {path.name} in {path.parent} cannot be read (JSONDecodeError); training goes on from the one "
        "before, or from the start if there is none."
    )
    assert [event.step.number for event in events if isinstance(event, TrainStep)][:5] == [1, 2, 3, 4, 5]


def test_a_dry_run_plans_and_writes_nothing(here: Path):
    before = sorted(here.rglob("*"))
    [event] = run_recipe(load(*BARE), dry_run=True)
    assert isinstance(event, RunPlanned)
    assert [step.name for step in event.plan.steps] == STEPS
    assert all(step.seconds is not None and step.seconds > 0 for step in event.plan.steps)
    assert sorted(here.rglob("*")) == before


def test_chosen_steps_are_run_alone(here: Path):
    events = run_all(load(*BARE), only=["mlm", "language.qu"])
    assert names_of(events, StepFinished) == ["mlm", "language.qu"]
    assert sorted(Store(Path("store")).names()) == ["mlm", "qu"]
    assert names_of(run_all(load(*BARE)), StepSkipped) == ["mlm", "language.qu"]


def test_results_of_earlier_runs_stay_when_steps_are_chosen(here: Path):
    whole = find_end(run_all(load(*HEADED)))
    chosen = find_end(run_all(load(*HEADED), only=["language"]))
    assert chosen.summary.results == whole.summary.results
    assert len(json.loads(Path("runs/recipe/results.json").read_text())["results"]) == 10


def test_results_of_an_earlier_run_are_not_replaced_by_none(here: Path):
    run_all(load(*HEADED))
    before = {path.name: path.read_bytes() for path in Path("runs/recipe").iterdir() if path.is_file()}
    events = run_all(load(*HEADED, "train.language.steps=2"), only=["language"])
    assert list_sentences(events)[-1] == (
        "No scores belong to the recipe as it is now. The results of an earlier run in runs/recipe were left as they "
        "are; run the recipe without --only to renew them."
    )
    assert find_end(events).summary.results == ()
    assert {
        path.name: path.read_bytes() for path in Path("runs/recipe").iterdir() if path.is_file()
    } == before


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


@pytest.mark.parametrize(
    ("only", "sentence"),
    [
        (
            "language.que",
            "The recipe has no step 'language.que'. Its steps are language.en, language.qu, task.ner-alone, task.ner, "
            "evaluate.ner. Did you mean 'language.qu'? Correct the name.",
        ),
        (
            "task.ner",
            "A step needs the graft 'en', which was not trained yet. Expected it in the store 'store'. Run the recipe "
            "without --only, or with the step that makes it.",
        ),
        (
            "evaluate",
            "A step needs the graft 'ner-alone', which was not trained yet. Expected it in the store 'store'. Run the "
            "recipe without --only, or with the step that makes it.",
        ),
    ],
)
def test_a_chosen_step_that_cannot_be_run_is_said(here: Path, only: str, sentence: str):
    with pytest.raises(RecipeError) as caught:
        run_all(load(*HEADED), only=[only])
    assert str(caught.value) == sentence


def test_a_tag_that_training_never_saw_gets_a_note(here: Path):
    with Path("data/sw.conll").open("a", encoding="utf-8") as file:
        file.write("\nmoon\tB-DATE\nwater\tO\n")
    summary = find_end(run_all(load(*HEADED))).summary
    note = "The test file has labels that training never saw: B-DATE."
    assert summary.notes == (note,)
    assert {result.language for result in summary.results if note in result.notes} == {"sw"}


def test_rows_that_are_too_long_get_a_note(here: Path):
    words = "\n".join("ana\tB-PER" for _ in range(60))
    with Path("data/train.conll").open("a", encoding="utf-8") as file:
        file.write(f"\n{words}\n")
    sentences = list_sentences(run_all(load(*HEADED), only=["task.ner-alone"]))
    assert sentences[0] == (
        "1 of 31 rows of train.conll are longer than 40 tokens; what is past that (22 words) is not learned from."
    )


def test_a_text_of_one_line_has_no_held_out_loss(here: Path):
    Path("data/qu.txt").write_text("ana went to the house\n")
    events = run_all(load(*HEADED, "train.language.strength=0.5"), only=["language.qu"])
    assert list_sentences(events)[0] == (
        "Only one line of qu.txt is there to learn from: none is kept apart, and no held-out loss is measured. Give "
        "two or more lines, better some hundred."
    )
    manifest = Store(Path("store")).manifest("qu")
    assert manifest.scores == {}
    assert not any("dev" in point for point in manifest.curve)


def test_text_that_the_tokenizer_does_not_know_is_named(here: Path):
    Path("data/qu.txt").write_text("\x7f\n\x7f\n\x7f\n")
    with pytest.raises(DataError) as caught:
        run_all(load(*HEADED), only=["language.qu"])
    assert str(caught.value) == (
        "None of the 3 lines of data/qu.txt has a token that the tokenizer knows. Text in the tokenizer's script was "
        "expected. Check the file, or take a base that was trained on this script."
    )


def test_a_text_that_is_not_used_whole_for_the_masked_lm_head_gets_a_note(here: Path):
    path = here / "data" / "en.txt"
    path.write_text(path.read_text() * 20)
    events = run_all(load(*BARE), only=["mlm"])
    [sentence] = [text for text in list_sentences(events) if text.startswith("The masked-LM head")]
    corpus = Corpus(recipe=load(*BARE), tokenizer=load_base("bare", device="cpu").tokenizer)
    whole = sum(corpus.read_language(name).train.num_tokens for name in ("en", "qu"))
    smallest = corpus.read_language("qu").train.num_tokens
    used = corpus.read_mixed().num_tokens
    assert sentence == (
        f"The masked-LM head is learned from {used:,} of the languages' {whole:,} tokens: of each language at most "
        "twice as many as the smallest text has."
    )
    assert 2 * smallest < used < 3.2 * smallest


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


def test_a_run_that_goes_on_says_where(here: Path):
    asked: list[int] = []
    with pytest.raises(Interrupted):
        run_all(load(*HEADED), should_stop=lambda: bool(asked.append(1)) or len(asked) == 3)
    assert list_sentences(run_all(load(*HEADED)))[0] == "Training of 'en' goes on after step 2 of 3."


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


def test_names_mean_the_grafts_of_the_recipe_that_ran_last(here: Path):
    store, other = Store(Path("store")), "train.language.steps=2"
    run_all(load(*HEADED), only=["language"])
    run_all(load(*HEADED, other), only=["language.qu"])
    assert [store.latest(name) for name in ("en", "qu")] == [1, 2]
    list(run_recipe(load(*HEADED), only=["language"], dry_run=True))
    assert store.latest("qu") == 2
    sentences = list_sentences(run_all(load(*HEADED), only=["language"]))
    assert sentences[0] == (
        "The name 'qu' now means version 1, which this recipe made; it meant version 2, which stays in the store."
    )
    assert [store.latest(name) for name in ("en", "qu")] == [1, 1]
    assert store.versions("qu") == [1, 2]


def test_a_graft_that_another_recipe_named_otherwise_is_there_under_both_names(here: Path):
    first = find_end(run_all(load(*BARE))).summary
    path = Path("recipe.toml")
    path.write_text(path.read_text().replace("task.ner", "task.tags"))
    list(run_recipe(load(*BARE), dry_run=True))
    assert "tags" not in Store(Path("store")).names()
    events = run_all(load(*BARE))
    assert names_of(events, StepStarted) == ["evaluate.tags"]
    store = Store(Path("store"))
    assert store.manifest("tags").sha256 == store.manifest("ner").sha256
    plans = {result.plan for result in find_end(events).summary.results}
    assert plans == {result.plan.replace("ner", "tags") for result in first.results}


def test_a_graft_that_was_renamed_is_copied_back_once(here: Path):
    store = Store(Path("store"))
    run_all(load(*HEADED), only=["language"])
    store.rename("en", "earlier")
    for _ in range(3):
        run_all(load(*HEADED), only=["language"])
    assert {name: store.versions(name) for name in store.names()} == {"earlier": [1], "en": [1], "qu": [1]}


def test_a_language_graft_is_stored_at_its_strength(here: Path):
    run_all(load(*BARE, "train.language.strength=0.5"), only=["mlm", "language"])
    manifest, tensors = Store(Path("store")).get("qu")
    base = load_base("bare")
    whole = rebuild_graft(base, manifest, tensors)
    assert [part.scale for part in whole.parts if isinstance(part, Bottleneck)] == [0.5]
    assert manifest.hyperparameters["strength"] == 0.5
    assert manifest.scores["held_out_loss"] != manifest.scores["held_out_loss_at_strength_1"]


def test_a_language_is_not_named_as_the_masked_lm_head(here: Path):
    path = Path("recipe.toml")
    path.write_text(path.read_text().replace("language.qu", "language.mlm"))
    with pytest.raises(RecipeError, match="would make a graft called 'mlm'"):
        load(*BARE)


@pytest.mark.parametrize(
    ("settings", "own", "below"),
    [
        ((), [2], [0, 1]),
        (("train.mlm.from_layer=1",), [1, 2], [0]),
        (("train.mlm.from_layer=1", "train.mlm.layer=2"), [1], [0]),
        (("train.mlm.reduction=0",), [], [0, 1, 2]),
        (("train.mlm.reduction=0", "train.mlm.layer=2", "train.mlm.from_layer=1"), [], [0, 1]),
    ],
)
def test_the_masked_lm_bottleneck_stands_above_the_language_grafts(
    here: Path, settings: tuple[str, ...], own: list[int], below: list[int]
):
    run_all(load(*BARE, *settings), only=["mlm", "language.qu"])
    base, store = load_base("bare", device="cpu"), Store(Path("store"))
    found = {name: rebuild_graft(base, *store.get(name)) for name in ("mlm", "qu")}
    places = {
        name: sorted(place[0] for layers in graft.layers.children() for place in _list_places(layers))
        for name, graft in found.items()
    }
    assert places == {"mlm": own, "qu": below}


def _list_places(layers: object) -> list[tuple[int, str]]:
    return layers.list_places() if isinstance(layers, BottleneckLayers) else []
