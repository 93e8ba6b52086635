"""What is forgotten: nothing by grafts, something by one copy that learns one task after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.recipe.material import RECIPE, find_end, load, run_all
from tests.tiny import make_base

from polygraft.attach.graft import make_graft
from polygraft.parts.delta import Delta
from polygraft.parts.head import Head
from polygraft.recipe.recheck import take_head

NAMES = ("ana", "pedro")
MORE = """
[task.pos]
source = "en"
train = "train.conll"
dev = "dev.conll"
tag_column = 0
[task.pos.test]
en = "en.conll"
[task.again]
source = "en"
train = "dev.conll"
dev = "en.conll"
[task.again.test]
en = "en.conll"
[train.mlm]"""


@pytest.fixture(autouse=True)
def three_tasks(here: Path) -> None:
    (here / "recipe.toml").write_text(RECIPE.replace("[train.mlm]", MORE), encoding="utf-8")


def test_grafts_forget_nothing_and_one_copy_does():
    summary = find_end(
        run_all(
            load(
                'methods=["sequential", "packnet", "lora", "madx"]',
                "forgetting=true",
                "method.sequential.task.epochs=30",
                "method.lora.task.epochs=30",
                "train.task.batch_tokens=64",
                "method.sequential.task.lr=1e-2",
                "method.sequential.task.head_lr_factor=1",
                "method.packnet.task.lr=1e-2",
                "method.packnet.task.head_lr_factor=1",
                "train.task.lr=3e-2",
            )
        )
    ).summary
    learned = {
        (result.method, result.task, result.language, result.condition): result for result in summary.results
    }
    again = [
        (result.task, result.language, result.after) for result in summary.rechecks if result.method == "lora"
    ]
    languages = ("en", "qu", "sw")
    assert again == [
        *(("ner", language, "pos") for language in languages),
        *(("ner", language, "again") for language in languages),
        ("pos", "en", "again"),
    ]
    forgot = {
        method: [
            result.predictions != learned[method, result.task, result.language, result.condition].predictions
            for result in summary.rechecks
            if result.method == method
        ]
        for method in ("sequential", "packnet", "lora", "madx")
    }
    assert {method: any(each) for method, each in forgot.items()} == {
        "sequential": True,
        "packnet": False,
        "lora": False,
        "madx": False,
    }
    # And what was not forgotten had been learned.
    assert learned["lora", "ner", "en", "task alone"].score > 0.1
    assert {len(each) for each in forgot.values()} == {7}
    assert {result.condition for result in summary.rechecks if result.method == "madx"} == {
        "source",
        "target",
    }


def test_without_being_asked_nothing_is_scored_again():
    summary = find_end(run_all(load('methods=["head"]'))).summary
    assert summary.rechecks == ()


def test_a_head_is_put_on_what_a_later_task_made():
    base = make_base("bert")
    early, late = (
        make_graft(base, name, [Delta(), Head(objective="tokens", labels=labels)], seed=seed)
        for name, labels, seed in (("ner", ("O", "B-LOC"), 1), ("pos", ("NOUN", "VERB", "X"), 2))
    )
    with torch.no_grad():
        for graft in (early, late):
            graft.layers["delta"].values.normal_()
    made = take_head(base, early, late)
    assert (made.name, made.labels) == ("ner", ("O", "B-LOC"))
    assert torch.equal(made.tensors()["delta.values"], late.tensors()["delta.values"])
    assert torch.equal(made.tensors()["head.out.weight"], early.tensors()["head.out.weight"])
