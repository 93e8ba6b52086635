from __future__ import annotations

import json

import pytest
import torch
from tests.cli.conftest import Command
from tests.weights import put

from polygraft.attach.graft import make_graft
from polygraft.attach.sparse import make_delta, make_mask
from polygraft.base.load import load_base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.store.store import Store

NAMES = tuple(f"encoder.layer.{layer}.output.dense.weight" for layer in range(2))


@pytest.fixture
def sparse(polygraft: Command) -> Command:
    """A store with the deltas `en` (two versions) and `swa` and the mask `tag` on weights of [16, 24], and others."""
    base, store = load_base("base", device="cpu"), Store("store")
    rows = {"en": slice(0, 4), "swa": slice(2, 10), "tag": slice(1, 16)}
    masks = {key: torch.zeros(16, 24, dtype=torch.bool) for key in rows}
    for key, where in rows.items():
        masks[key][where] = True
    signs = torch.ones(16, 24)
    signs[3] = -1
    up, down = (dict.fromkeys(NAMES, 0.5 * sign) for sign in (torch.ones(16, 24), signs))
    en = make_delta(base, "en", dict.fromkeys(NAMES, masks["en"]), weights=NAMES, values=up)
    for graft in (
        en,
        en,
        make_delta(base, "swa", {NAMES[1]: masks["swa"]}, weights=NAMES, values=down),
        make_mask(base, "tag", {NAMES[0]: masks["tag"]}, weights=NAMES[:1]),
        make_graft(base, "small", [Bottleneck(reduction=4)]),
        make_graft(base, "whole", [Delta(weights=("*",))]),
    ):
        put(store, base, graft)
    other = load_base("other", device="cpu")
    put(store, other, make_delta(other, "far", {}, weights=NAMES))
    return polygraft


def read_lines(text: str) -> list[str]:
    """The lines that are not empty, with one space where there are more."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_two_deltas_are_compared(sparse: Command):
    done = sparse("grafts", "compare", "en@1", "swa")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = read_lines(done.stdout)
    assert lines[0] == "en@1 and swa: 2 weights"
    assert lines[1] == "Weight Numbers en@1 changes swa changes Both By chance Jaccard Opposite Cosine"
    assert lines[3:6] == [
        f"{NAMES[1]} 384 96 192 48 48 20 % 50 % 0.00",
        f"{NAMES[0]} 384 96 – – – 0 % – –",
        "all 768 192 192 48 48 14 % 50 % 0.00",
    ]
    assert done.stdout.endswith(
        "In a stack 'en' and 'swa' add up, in either order: both change 48 places, 24 of them in opposite "
        "directions.\n"
    )


def test_json_has_every_weight_and_the_norms(sparse: Command):
    found = json.loads(sparse("grafts", "compare", "en", "swa", "--json").stdout)
    assert (found["a"], found["b"]) == (
        {"name": "en", "version": 2, "part": "delta"},
        {"name": "swa", "version": 1, "part": "delta"},
    )
    assert [each["name"] for each in found["weights"]] == [NAMES[1], NAMES[0]]
    total = found["total"]
    assert (total["num_both"], total["share_by_chance"], total["num_opposite"]) == (48, 0.0625, 24)
    assert total["norm_a"] == total["norm_b"] == pytest.approx(0.5 * 48**0.5)
    assert total["norm_of_sum"] == pytest.approx(24**0.5)


def test_a_table_has_the_twenty_weights_with_the_most_in_common(sparse: Command):
    text = sparse("grafts", "compare", "whole", "en").stdout
    assert "whole and en: 53 weights; the 20 with the most in common" in text
    names = [
        line.split()[0] for line in read_lines(text) if line.startswith(("encoder.", "embeddings.", "all "))
    ]
    assert (len(names), names[:2], names[-1]) == (21, list(NAMES), "all")
    assert len(json.loads(sparse("grafts", "compare", "whole", "en", "--json").stdout)["weights"]) == 53


def test_a_delta_and_a_mask_say_what_either_stack_does(sparse: Command):
    done = sparse("grafts", "compare", "en", "tag")
    lines = read_lines(done.stdout)
    assert lines[1] == "Weight Numbers en changes tag keeps Both By chance Jaccard Pruned by tag"
    assert "all 768 192 360 72 90 15 % 24" in lines
    assert done.stdout.endswith(
        "In stack(en, tag) the mask of 'tag' wins over 'en' at 24 places that 'en' changes.\n"
        "In stack(tag, en) the differences of 'en' are added to what 'tag' left, also at 24 places that 'tag' sets to "
        "zero.\n"
    )


def test_two_versions_of_a_graft_are_compared(sparse: Command):
    done = sparse("grafts", "compare", "en@1", "en@2")
    assert done.stdout.endswith(
        "A plan names a graft once: it can have one version of 'en' in it, and no stack of two.\n"
    )


def fingerprint(name: str) -> str:
    return Store("store").manifest(name).base.fingerprint[:8]


REFUSED = {
    "no such part": (
        ("en", "small"),
        "The graft 'small' has no delta and no mask: its parts are bottleneck. Expected a graft that changes weights. "
        "Name another one.",
    ),
    "a stack": (
        ("en", "stack(en, swa)"),
        "'stack(en, swa)' is a plan of several grafts. Expected one graft, such as qu or qu@2. Name it by itself.",
    ),
    "no such graft": (
        ("en", "sw"),
        "The store store holds no graft 'sw'. Did you mean 'swa'? `polygraft grafts list` shows all 9.",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_said(sparse: Command, words: tuple[str, ...], sentence: str):
    done = sparse("grafts", "compare", *words)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"error: {sentence}\n")


def test_grafts_of_two_bases_are_refused_before_a_base_is_loaded(sparse: Command):
    done = sparse("grafts", "compare", "en", "far", "--base", "nowhere")
    bases = [Store("store").manifest(name).base.name for name in ("en", "far")]
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: Grafts 'en' and 'far' were trained on two bases: '{bases[0]}' with fingerprint {fingerprint('en')}, "
        f"and '{bases[1]}' with {fingerprint('far')}. Expected one, since a place is another weight in another base. "
        "Name two grafts of one base, or pass --any-base to try it all the same.\n"
    )
    assert sparse("grafts", "compare", "en", "far", "--any-base").exit_code == 0


def test_grafts_of_another_base_than_the_loaded_one_are_refused(sparse: Command):
    done = sparse("grafts", "compare", "en", "swa", "--base", "other")
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "error: Graft 'en' (store/en/2/graft.json) was trained on another base: it carries fingerprint "
    )
