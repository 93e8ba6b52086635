from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command

from polygraft.cli.train import train_sequence, train_tokens
from polygraft.recipe.train_tables import TaskSettings
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
    assert not list(Path("store/.checkpoints").glob("new*"))


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
    assert [manifest.hyperparameters["negatives"] for manifest in (first, second)] == [1024, 40]


def test_all_pieces_are_scored_if_asked_for(polygraft: Command):
    words = ("train", "mlm", "--name", "en", "--train", "text.txt", "--steps", "2")
    polygraft(*words)
    polygraft(*words, "--vocabulary", "full")
    first, second = (Store("store").manifest("en", version=version) for version in (1, 2))
    scored = [
        (manifest.hyperparameters["vocabulary"], manifest.hyperparameters["negatives"])
        for manifest in (first, second)
    ]
    assert scored == [("corpus", 1024), ("full", 0)]
    # The base has fewer pieces than that, so that both score all of them.
    losses = [[point["loss"] for point in manifest.curve] for manifest in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_lines_are_joined_if_asked_for(polygraft: Command):
    words = ("train", "mlm", "--name", "en", "--train", "text.txt", "--steps", "2")
    polygraft(*words)
    polygraft(*words, "--rows", "joined")
    first, second = (Store("store").manifest("en", version=version) for version in (1, 2))
    assert [found.hyperparameters["rows"] for found in (first, second)] == ["sentences", "joined"]
    # Three lines of three words, each in a row between two special pieces, or all in one row with two between them.
    assert [found.cost["tokens"] for found in (first, second)] == [2 * 3 * 5, 2 * (9 + 2 + 2)]


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


def read_log(path: str = "log.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "words",
    [
        ("mlm", "--train", "text.txt", "--steps", "2"),
        ("tokens", "--train", "tagged.conll", "--dev", "tagged.conll", "--steps", "2"),
        ("sequence", "--train", "labelled.tsv", "--steps", "2"),
    ],
    ids=lambda words: words[0],
)
def test_every_update_is_logged_between_what_is_trained_and_what_came_out(
    polygraft: Command, words: tuple[str, ...]
):
    assert polygraft("train", *words, "--name", "new", "--log-json", "log.jsonl").exit_code == 0
    first, *steps, last = [event for event in read_log() if event["event"] != "Noted"]
    assert [first[key] for key in ("event", "name", "objective", "base")] == [
        "TrainStarted",
        "new",
        words[0],
        "base",
    ]
    assert (first["train"], first["settings"]["steps"]) == (words[2], 2)
    assert [(event["event"], event["name"], event["step"], event["total"]) for event in steps] == [
        ("TrainStep", "new", 1, 2),
        ("TrainStep", "new", 2, 2),
    ]
    manifest = Store("store").manifest("new")
    assert [event["loss"] for event in steps] == [point["loss"] for point in manifest.curve]
    assert [event["held_out"] for event in steps] == [point.get("dev") for point in manifest.curve]
    assert steps[-1]["peak_memory_bytes"] <= manifest.cost["peak_memory_bytes"]
    assert steps[-1]["seconds_left"] == 0
    assert [last[key] for key in ("event", "name", "version", "is_new")] == ["TrainFinished", "new", 1, True]
    assert (last["scores"], last["cost"], last["sha256"]) == (manifest.scores, manifest.cost, manifest.sha256)


def test_a_training_that_goes_on_adds_to_its_log(polygraft: Command, monkeypatch: pytest.MonkeyPatch):
    words = (*TOKENS, "--name", "new", "--steps", "3", "--log-json", "log.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr("polygraft.cli.interrupt.StopFlag.__call__", lambda flag: True)
        polygraft(*words)
    assert polygraft(*words).exit_code == 0
    assert polygraft(*words).exit_code == 0
    assert [(event["event"], event.get("step"), event.get("is_new")) for event in read_log()] == [
        ("TrainStarted", None, None),
        ("TrainStep", 1, None),
        ("TrainStarted", None, None),
        ("Noted", None, None),
        ("TrainStep", 2, None),
        ("TrainStep", 3, None),
        ("TrainFinished", None, True),
        ("TrainStarted", None, None),
        ("TrainFinished", None, False),
    ]


def test_a_log_that_cannot_be_written_is_said_before_the_base_is_loaded(polygraft: Command):
    done = polygraft(*TOKENS, "--name", "new", "--base", "nosuch", "--log-json", "none/log.jsonl")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "error: The log none/log.jsonl cannot be written: No such file or directory. "
    )


SEVERAL = (*TOKENS, "--name", "new", "--dev", "tagged.conll", "--epochs", "2", "--seeds", "0,1")


def test_a_graft_is_trained_for_each_seed(polygraft: Command):
    done = polygraft(*SEVERAL, "--log-json", "log.jsonl", "--json")
    assert [(graft["name"], graft["version"]) for graft in json.loads(done.stdout)] == [
        ("new-s0", 1),
        ("new-s1", 1),
    ]
    assert done.stderr.splitlines()[0] == "Training 'new-s0', 'new-s1' (tokens) on tagged.conll ..."
    events = [(event["event"], event.get("name"), event.get("step")) for event in read_log()]
    assert [event for event in events if event[0] != "Noted"] == [
        ("TrainStarted", "new-s0", None),
        ("TrainStarted", "new-s1", None),
        ("TrainStep", "new-s0", 1),
        ("TrainStep", "new-s1", 1),
        ("TrainStep", "new-s0", 2),
        ("TrainStep", "new-s1", 2),
        ("TrainFinished", "new-s0", None),
        ("TrainFinished", "new-s1", None),
    ]
    digests = [Store("store").manifest(f"new-s{seed}").sha256 for seed in (0, 1)]
    polygraft(*SEVERAL[:-2], "--seed", "1", "--name", "new-s1")
    assert Store("store").versions("new-s1") == [1]
    assert len(set(digests)) == 2


def test_seeds_end_with_a_table_and_those_that_are_done_are_skipped(polygraft: Command):
    polygraft(*SEVERAL)
    done = polygraft(*SEVERAL[:-1], "1,2")
    assert "'new-s1' was trained before: it is version 1." in done.stderr.splitlines()
    rows = [
        line.split()[:2] for line in done.stdout.splitlines() if line.strip().startswith(("new-s", "Mean"))
    ]
    assert [row[0] for row in rows] == ["new-s1", "new-s2", "Mean"]
    assert "±" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--seeds", "a"),
            "The seeds 'a' hold 'a', which is no seed. Expected whole numbers from 0 with commas between them. Write "
            "them as in --seeds 0,1,2.",
        ),
        (
            ("--cache-gib", "-1"),
            "The cache has -1 gigabytes of memory. Expected 0 or more. Give another number; 0 keeps all of it in "
            "files.",
        ),
        (
            ("--seeds", str(2**63)),
            "Training has seed=9223372036854775808. Expected 0 or more, and less than 2**63. Give another number.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_said(polygraft: Command, words: tuple[str, ...], sentence: str):
    done = polygraft(*TOKENS, "--name", "new", *words)
    assert (done.exit_code, done.stderr) == (1, f"error: {sentence}\n")


def test_batches_are_summed_and_the_cache_is_as_it_was_asked_for(polygraft: Command):
    words = ("--batch-tokens", "8", "--epochs", "2", "--skip-layer", "0", "--name")
    polygraft(*TOKENS, *words, "one")
    polygraft(*TOKENS, *words, "two", "--accumulate", "2", "--cache", "half")
    polygraft(*TOKENS, *words, "off", "--cache", "off")
    one, two, off = (Store("store").manifest(name) for name in ("one", "two", "off"))
    assert one.hyperparameters["steps_done"] == 4
    assert (two.hyperparameters["steps_done"], two.hyperparameters["accumulate"]) == (2, 2)
    # Inside a layer two blocks of a batch are kept; rounded, it is the one below the layer.
    assert one.cost["cache_memory_bytes"] == 4 * two.cost["cache_memory_bytes"] > 0
    assert "looked_up" not in off.cost


def test_the_base_drops_values_where_asked_to_and_nothing_is_looked_up(polygraft: Command):
    words = (*TOKENS, "--epochs", "2", "--name", "new")
    told = [
        polygraft(*words, *more).stderr for more in ((), ("--dropout",), ("--dropout", "--cache", "half"))
    ]
    plain, dropping, asked = (Store("store").manifest("new", version=version) for version in (1, 2, 3))
    found = [manifest.hyperparameters["dropout"] for manifest in (plain, dropping, asked)]
    assert (found, len({manifest.sha256 for manifest in (plain, dropping)})) == ([False, True, True], 2)
    assert asked.sha256 == dropping.sha256
    assert [manifest.cost.get("looked_up") for manifest in (plain, dropping, asked)] == [0.5, None, 0]
    sentence = "Nothing is kept for later epochs while 'new' is trained: with dropout frozen layers give"
    assert [sentence in each for each in told] == [False, False, True]


def test_the_cache_is_as_large_as_in_recipes():
    for command in (train_tokens, train_sequence):
        options = inspect.signature(command).parameters
        found = (options["cache_gib"].default, options["cache"].default)
        assert found == (TaskSettings().cache_gib, TaskSettings().cache)


def test_a_fusion_of_frozen_grafts_is_trained_and_used(polygraft: Command):
    words = ("train", "tokens", "--name", "mix", "--train", "tagged.conll", "--steps", "3", "--lr", "0.01")
    done = polygraft(*words, "--fuse", "qu", "--fuse", "ner", "--json")
    assert done.exit_code == 0, done.stderr
    store = Store("store")
    manifest, tensors = store.get("mix")
    assert [part.kind for part in manifest.parts] == ["fusion", "head"]
    assert manifest.trained_under == "fuse(qu, ner, by=mix)"
    assert [member.name for member in manifest.members] == ["qu", "ner"]
    assert any(name.startswith("fusion.layers.0.ffn.query") for name in tensors)
    used = polygraft("predict", "--plan", "fuse(qu, ner, by=mix)", "--text", "ana went")
    assert used.exit_code == 0, used.stderr
    alone = polygraft("predict", "--plan", "mix", "--text", "ana went")
    assert alone.exit_code == 1
    assert alone.stderr == (
        "error: The plan 'mix' has 'mix', which fuses other grafts, by itself. Expected it as fuse(..., by=mix) with "
        "the grafts that it was trained on. Write them there.\n"
    )


def test_a_graft_is_not_called_as_the_bare_base_is(polygraft: Command):
    done = polygraft(*TOKENS, "--name", "none", "--steps", "1")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "error: A graft was to be called 'none', which in a route means the bare base. Choose another name."
    )


def test_a_fusion_of_grafts_behind_both_sublayers_mixes_behind_both(polygraft: Command):
    words = (*TOKENS, "--steps", "1", "--option", "placement=attention+ffn", "--name", "wide")
    assert polygraft(*words).exit_code == 0
    done = polygraft(*TOKENS, "--steps", "1", "--name", "mix", "--fuse", "wide", "--fuse", "ner")
    assert done.exit_code == 0, done.stderr
    assert Store("store").manifest("mix").parts[0].options["placement"] == "attention+ffn"


def test_texts_before_their_labels_are_no_labels(polygraft: Command):
    rows = [f"the house number {number} is big\t{('good', 'bad')[number % 2]}" for number in range(12)]
    Path("swapped.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    done = polygraft("train", "sequence", "--train", "swapped.tsv", "--name", "new", "--steps", "1")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: swapped.tsv seems to have texts where labels should be: its 12 lines have 12 different labels and 2 "
        "different texts, as in line 1 ('the house number 0 is big\\tgood')."
    )
    Path("named.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n", encoding="utf-8")
    done = polygraft("train", "sequence", "--train", "named.tsv", "--name", "new", "--steps", "1")
    assert done.exit_code == 0, done.stderr
