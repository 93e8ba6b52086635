from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from polygraft.recipe.schema import TaskSettings
from polygraft.store.store import Store

TOKENS = ("train", "tokens", "--train", "tagged.conll")


def test_a_tagger_is_trained_on_a_frozen_stack_and_stored(polygraft: Command):
    words = (
        *TOKENS,
        "--name",
        "new",
        "--dev",
        "tagged.conll",
        "--under",
        "stack(qu)",
        "--epochs",
        "2",
        "--json",
    )
    found = json.loads(polygraft(*words).stdout)
    manifest = Store("store").manifest("new")
    assert (found["name"], found["version"], found["trained_under"]) == ("new", 1, "stack(qu, new)")
    assert manifest.members[0].sha256 == Store("store").manifest("qu").sha256
    assert manifest.hyperparameters["steps_done"] == 2
    assert [record.name for record in manifest.data] == ["train tagged.conll", "dev tagged.conll"]
    assert not Path("store/.checkpoints/new").exists()


def test_the_same_order_twice_trains_once(polygraft: Command):
    words = ("train", "mlm", "--name", "en", "--train", "text.txt", "--steps", "2")
    assert polygraft(*words).exit_code == 0
    done = polygraft(*words)
    assert done.stderr.endswith("This very graft was trained before: it is version 1 of 'en'.\n")
    assert Store("store").versions("en") == [1]


def test_other_options_make_another_version(polygraft: Command):
    words = ("train", "sequence", "--name", "top", "--train", "labelled.tsv", "--epochs", "1")
    polygraft(*words)
    polygraft(*words, "--seed", "1")
    assert Store("store").versions("top") == [1, 2]


def test_the_number_of_negatives_is_part_of_the_order(polygraft: Command):
    words = ("train", "mlm", "--name", "en", "--train", "text.txt", "--steps", "2")
    polygraft(*words)
    polygraft(*words, "--negatives", "40")
    first, second = (Store("store").manifest("en", version=version) for version in (1, 2))
    assert first.sha256 != second.sha256
    assert first.step != second.step


@pytest.mark.parametrize(("objective", "file"), [("tokens", "tagged.conll"), ("sequence", "labelled.tsv")])
def test_labels_are_learned_at_the_rates_of_recipes(polygraft: Command, objective: str, file: str):
    words = ("train", objective, "--train", file, "--steps", "1")
    polygraft(*words, "--name", "new")
    polygraft(*words, "--name", "slow", "--lr", "5e-4", "--head-lr-factor", "2")
    found = [Store("store").manifest(name).hyperparameters for name in ("new", "slow")]
    settings = TaskSettings()
    assert [(facts["lr"], facts["head_lr_factor"]) for facts in found] == [
        (settings.lr, settings.head_lr_factor),
        (5e-4, 2.0),
    ]


def test_a_trained_graft_can_be_used(polygraft: Command):
    polygraft(*TOKENS, "--name", "new", "--steps", "2")
    done = polygraft("predict", "--plan", "new", "--text", "ana")
    assert json.loads(done.stdout)["tokens"] == ["ana"]


def test_a_new_masked_lm_head_bounds_the_layers(polygraft: Command):
    words = ("train", "mlm", "--name", "en", "--train", "text.txt", "--steps", "1", "--head-layer", "2")
    assert polygraft(*words).exit_code == 0
    bottleneck, head = Store("store").manifest("en").parts
    assert bottleneck.options["skip_layers"] == [2]
    assert (head.options["objective"], head.options["layer"]) == ("mlm", 2)


def test_a_masked_lm_head_gets_its_bottleneck_in_the_upper_layers(polygraft: Command):
    words = ("train", "mlm", "--name", "mlm", "--train", "text.txt", "--steps", "1", "--head-layer", "-1")
    assert polygraft(*words, "--from-layer", "2").exit_code == 0
    bottleneck, head = Store("store").manifest("mlm").parts
    assert bottleneck.options["skip_layers"] == [0, 1]
    assert (head.options["objective"], head.options["layer"]) == ("mlm", -1)
    done = polygraft(*words, "--from-layer", "3")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "error: The bottleneck of 'mlm' would begin at layer 3, and the layers that may have one are 0, 1, 2, counted "
        "from 0. Expected a number from 0 to 2. Give another --from-layer."
    )


def test_a_graft_cannot_stand_on_itself(polygraft: Command):
    done = polygraft(*TOKENS, "--name", "qu", "--under", "qu", "--steps", "1")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "error: The plan 'qu' below the new graft 'qu' names 'qu', which is there already. Each graft stands in a plan "
        "once. Choose another name."
    )


def test_a_graft_of_nothing_is_refused(polygraft: Command):
    done = polygraft("train", "mlm", "--name", "en", "--train", "text.txt", "--reduction", "0")
    assert done.stderr.splitlines()[-1] == (
        "error: The graft 'en' would have no part: the reduction is 0, and no head or invertible part is asked for. "
        "Give a reduction above 0, such as 2."
    )
