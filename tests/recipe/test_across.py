"""Methods of several runs are compared by what they predicted."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from tests.recipe.material import load
from tests.report.sample import make_result, make_summary
from tests.tiny import make_base

from polygraft.evaluate.contest import System, hold_contests
from polygraft.recipe.across import hold_across
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.gold import keep_gold, load_gold
from polygraft.recipe.provenance import list_data
from polygraft.recipe.score import save_labels
from polygraft.report.joining import Run
from polygraft.report.methods import build_method_grids
from polygraft.report.summary import DataSummary, StepSummary

TAGS = np.array(["O", "B-LOC", "B-PER"])
GOLD = [[str(tag) for tag in np.random.default_rng(0).choice(TAGS, size=5)] for _ in range(30)]


def predict(seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[str(rng.choice(TAGS)) if rng.random() < 0.3 else tag for tag in row] for row in GOLD]


def make_run(label: str, *, method: str, seeds: tuple[int, ...], digest: str = "d" * 64) -> Run:
    """Write what a run of one method predicted, and give the run."""
    results, steps = [], []
    for seed in seeds:
        result = make_result("qu", "task alone", score=0.5, half=0.1, seed=seed)
        results.append(dataclasses.replace(result, method=method, source="en"))
        scored = f"{label}-{seed}"
        save_labels(Path(label, "scores"), scored, {"qu": {"task alone": predict(10 * len(method) + seed)}})
        steps.append(
            StepSummary(
                name=scored,
                kind="evaluate",
                digest=scored,
                method=method,
                seed=seed,
                task="ner",
                source="en",
            )
        )
    data = DataSummary(
        use="test", task="ner", source="en", language="qu", file="qu", sha256="s", digest=digest
    )
    place = Path(label, "gold", f"{digest}.json.gz")
    place.parent.mkdir(parents=True)
    place.write_bytes(gzip.compress(json.dumps(GOLD).encode()))
    summary = make_summary()
    return Run(
        label=label,
        summary=dataclasses.replace(summary, results=tuple(results), steps=tuple(steps), data=(data,)),
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_two_methods_of_two_runs_are_compared_over_the_seeds_that_both_have():
    runs = [make_run("a", method="lora", seeds=(0, 1, 2)), make_run("b", method="ia3", seeds=(1, 2, 3))]
    found = hold_across(runs, [Path("a"), Path("b")])
    systems = {
        System(method=name, condition="task alone"): {seed: predict(10 * len(name) + seed) for seed in seeds}
        for name, seeds in (("lora", (0, 1, 2)), ("ia3", (1, 2, 3)))
    }
    assert list(found) == hold_contests(
        systems, gold=GOLD, metric="f1", task="ner", language="qu", source="en"
    )
    assert found[0].by_seed.keys() == {"1", "2"}
    [grid] = build_method_grids(runs, held=found)
    assert grid.find_contest("qu", "lora", "ia3") == found[0]


def test_without_predictions_of_both_on_the_same_data_nothing_is_compared():
    runs = [
        make_run("a", method="lora", seeds=(0,)),
        make_run("b", method="ia3", seeds=(0,), digest="e" * 64),
    ]
    assert hold_across(runs, [Path("a"), Path("b")]) == ()
    runs = [runs[0], make_run("c", method="ia3", seeds=(0,))]
    Path("c/scores/c-0.labels.json.gz").write_bytes(b"spoiled")
    assert hold_across(runs, [Path("a"), Path("c")]) == ()


def test_a_run_keeps_the_right_labels_of_its_tests(here: Path):
    recipe, base = load(), make_base("bert")
    corpus = Corpus(recipe=recipe, tokenizer=base.tokenizer)
    keep_gold([corpus], folder=Path("kept"))
    for data in list_data([corpus]):
        if data.use == "test":
            task = recipe.tasks["ner"]
            rows = corpus.read_examples(task, task.test[data.language])
            assert load_gold(Path("kept"), data.digest) == tuple(row.tags for row in rows)
    assert len(list(Path("kept/gold").iterdir())) == 3
    assert load_gold(Path("kept"), "0" * 64) is None
