from __future__ import annotations

import json

import pytest
import torch
from tests.cli.conftest import Command
from tests.cli.test_compare import fingerprint
from tests.tiny import make_trained_graft
from tests.weights import put

from polygraft.attach.graft import make_graft
from polygraft.attach.sparse import make_delta
from polygraft.base.load import load_base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.mask import Mask
from polygraft.parts.presets import language_graft
from polygraft.store.store import Store

WEIGHT = "encoder.layer.0.output.dense.weight"


@pytest.fixture
def merging(polygraft: Command) -> Command:
    """A store with the language grafts `a` (two versions) and `b`, the deltas `d` and `e`, and others."""
    base, other, store = load_base("base", device="cpu"), load_base("other", device="cpu"), Store("store")
    masks = [torch.zeros(16, 24, dtype=torch.bool) for _ in range(2)]
    masks[0][:4] = masks[1][2:8] = True
    for graft in (
        make_trained_graft(base, "a", language_graft(), seed=4),
        make_trained_graft(base, "a", language_graft(), seed=5),
        make_trained_graft(base, "b", language_graft(), seed=6),
        make_graft(base, "small", [Bottleneck(reduction=8)]),
        make_graft(base, "pure", [Mask()]),
        *(
            make_delta(base, name, {WEIGHT: mask}, weights=(WEIGHT,), values={WEIGHT: torch.ones(16, 24)})
            for name, mask in zip("de", masks, strict=True)
        ),
    ):
        put(store, base, graft)
    put(store, other, make_graft(other, "far", language_graft()))
    return polygraft


def read(name: str, version: int | None = None) -> dict[str, torch.Tensor]:
    return Store("store").get(name, version=version)[1]


def test_a_mean_of_two_is_stored_with_what_it_was_made_of(merging: Command):
    done = merging("grafts", "merge", "a@1", "b", "--name", "ab", "--weights", "0.3,0.7", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    store = Store("store")
    a, b, made = store.manifest("a", version=1), store.manifest("b"), store.manifest("ab")
    found = json.loads(done.stdout)
    assert (found["name"], found["version"], found["parts"]) == ("ab", 1, ["bottleneck", "invertible"])
    assert found["settings"] == {"how": "interpolate", "weights": [0.3, 0.7], "scale": 1.0}
    assert found["members"] == [
        {"name": "a", "version": 1, "sha256": a.sha256},
        {"name": "b", "version": 1, "sha256": b.sha256},
    ]
    assert [vars(member) for member in made.members] == found["members"]
    assert (made.trained_under, made.scores, made.base.fingerprint) == (None, {}, a.base.fingerprint)
    for name, tensor in read("ab").items():
        expected = 0.3 * read("a", 1)[name] + 0.7 * read("b")[name]
        assert (tensor - expected).abs().max() < 1e-6
    assert store.verify("ab") == made


def test_without_json_it_is_shown_as_grafts_show_does(merging: Command):
    done = merging("grafts", "merge", "a", "b", "--name", "ab", "--how", "ties", "--density", "0.5")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == merging("grafts", "show", "ab").stdout
    assert "Made of a" in done.stdout
    assert 'density = 0.5, how = "ties", scale = 1.0, weights = [1.0, 1.0]' in done.stdout


def test_a_name_that_is_taken_gets_a_new_version(merging: Command):
    before = read("a", 2)
    done = merging("grafts", "merge", "a", "b", "--name", "a", "--how", "subtract", "--json")
    assert json.loads(done.stdout)["version"] == 3
    assert [member["version"] for member in json.loads(done.stdout)["members"]] == [2, 1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in read("a", 2).items())
    assert all(
        (tensor - (before[name] - read("b")[name])).abs().max() < 1e-6 for name, tensor in read("a").items()
    )


def test_dare_says_its_chance_and_seed_and_gives_the_same_again(merging: Command):
    words = (
        "grafts",
        "merge",
        "d",
        "e",
        "--name",
        "m",
        "--how",
        "dare",
        "--drop",
        "0.25",
        "--seed",
        "3",
        "--json",
    )
    once, again = (json.loads(merging(*words).stdout) for _ in range(2))
    assert once["settings"] == {"how": "dare", "weights": [0.5, 0.5], "drop": 0.25, "seed": 3, "scale": 1.0}
    assert (once["version"], again["version"]) == (1, 2)
    assert once["num_parameters"] < 4 * 24 + 6 * 24 - 2 * 24
    assert Store("store").manifest("m", version=1).sha256 == Store("store").manifest("m", version=2).sha256


def test_a_merged_delta_is_put_in_force_as_any_other(merging: Command):
    assert (
        merging("grafts", "merge", "d", "e", "--name", "m", "--how", "add", "--scale", "0.5").exit_code == 0
    )
    found = json.loads(merging("grafts", "show", "m", "--densities", "--json").stdout)
    assert found["num_places"] == 8 * 24
    assert read("m")["delta.values"].tolist() == [0.5] * 48 + [1.0] * 48 + [0.5] * 96
    assert merging("doctor", "--plan", "m").exit_code == 0


TWO = ("a", "b", "--name", "ab")
REFUSED = {
    "unknown graft": (
        ("a", "c", "--name", "ab"),
        "The store store holds no graft 'c'. `polygraft grafts list` shows all 10.",
    ),
    "one graft": (
        ("a", "--name", "ab"),
        "One graft was named, 'a'. Expected two or more that are merged. Name them one after the other.",
    ),
    "a plan": (
        ("a", "stack(a, b)", "--name", "ab"),
        "'stack(a, b)' is a plan of several grafts. Expected one graft, such as qu or qu@2. Name it by itself.",
    ),
    "number of weights": (
        (*TWO, "--how", "add", "--weights", "1,2,3"),
        "A merge has 3 weights (1, 2, 3) for 2 grafts. Expected one for each graft, in the same order. Give as "
        "many, or leave them out for equal ones.",
    ),
    "no weights": (
        (*TWO, "--weights", "half"),
        "The weights 'half' cannot be read. Expected one number for each graft with commas between them, such as "
        "0.3,0.7. Correct them.",
    ),
    "NaN": (
        (*TWO, "--weights", "nan,1"),
        "A weight or the scale of a merge is nan. Expected finite numbers. Correct it.",
    ),
    "density": (
        (*TWO, "--how", "ties", "--density", "0"),
        "A merge has the density 0. Expected a share above 0 and at most 1 of its values that each graft keeps. Give "
        "one, for example 0.2.",
    ),
    "drop": (
        (*TWO, "--how", "dare", "--drop", "1"),
        "A merge drops values with the chance 1. Expected a number from 0 up to but not including 1. Give one, for "
        "example 0.5.",
    ),
    "name": (
        ("a", "b", "--name", "../ab"),
        "'../ab' cannot be a graft's name. A name has 1 to 64 of the characters A-Z a-z 0-9 _ . -, begins with a "
        "letter or digit, and has no two dots in a row. Choose another name.",
    ),
    "other parts": (
        ("a", "d", "--name", "ab"),
        "The grafts 'a@2' and 'd@1' are made of other parts: bottleneck, invertible and delta. Expected the same ones "
        "in the same order. Name grafts that were made alike.",
    ),
    "a mask": (
        ("pure", "pure", "--name", "ab"),
        "The mask of 'pure@1' has values of its own for none of the weights that it keeps. Expected them for all: "
        "which weights survive has no sum. Stack such grafts in a plan, or name others.",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_merged_is_said_and_nothing_is_stored(
    merging: Command, words: tuple[str, ...], sentence: str
):
    done = merging("grafts", "merge", *words)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"error: {sentence}\n")
    assert "ab" not in Store("store").names()


def test_grafts_of_two_bases_are_refused_before_a_base_is_loaded(merging: Command):
    done = merging("grafts", "merge", "a", "far", "--name", "ab", "--base", "nowhere")
    bases = [Store("store").manifest(name).base.name for name in ("a", "far")]
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: Grafts 'a@2' and 'far@1' were trained on two bases: '{bases[0]}' with fingerprint {fingerprint('a')}, "
        f"and '{bases[1]}' with {fingerprint('far')}. Expected one, since a value means something else in another "
        "base. Name grafts of one base.\n"
    )


def test_another_formula_or_no_name_is_wrong_usage(merging: Command):
    assert merging("grafts", "merge", *TWO, "--how", "mean").exit_code == 2
    assert merging("grafts", "merge", "a", "b").exit_code == 2
    assert merging("grafts", "merge", "--name", "ab").exit_code == 2
