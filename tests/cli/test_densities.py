from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Command
from tests.weights import put

from polygraft.attach.graft import make_graft
from polygraft.attach.sparse import make_delta, make_mask
from polygraft.base.load import load_base
from polygraft.parts.delta import Delta
from polygraft.parts.mask import Mask
from polygraft.store.store import Store

NAMES = tuple(f"encoder.layer.{layer}.output.dense.weight" for layer in range(2))


@pytest.fixture
def sparse(polygraft: Command) -> Command:
    """A store with the delta `en` and the mask `tag`, on weights of [16, 24], and `whole`, about all weights."""
    base, store = load_base("base", device="cpu"), Store("store")
    few = torch.zeros(16, 24, dtype=torch.bool)
    few[0] = True
    for graft in (
        make_delta(base, "en", {NAMES[1]: few}, weights=NAMES, dtype="float16"),
        make_mask(base, "tag", {NAMES[0]: ~few}, weights=NAMES[:1]),
        make_graft(base, "whole", [Delta(weights=("*",))]),
        make_graft(base, "free", [Mask()]),
    ):
        put(store, base, graft)
    return polygraft


def read_lines(text: str) -> list[str]:
    """The lines that are not empty, with one space where there are more."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_densities_are_told_weight_by_weight(sparse: Command):
    done = sparse("grafts", "show", "en", "--densities")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = read_lines(done.stdout)
    assert any(line.startswith("Part: delta ") for line in lines)
    assert "What the delta of en changes" in lines
    assert [line for line in lines if line.startswith((*NAMES, "all "))] == [
        f"{NAMES[0]} 384 0 0 %",
        f"{NAMES[1]} 384 24 6.2 %",
        "all 768 24 3.1 %",
    ]


def test_bytes_stand_beside_those_of_copies(sparse: Command):
    lines = read_lines(sparse("grafts", "show", "en", "--densities").stdout)
    num_code = Store("store").get("en")[1]["delta.places.code"].numel()
    num_base = 4 * load_base("base", device="cpu").num_parameters
    num_both = num_code + 24 * 2
    at = lines.index("On disk, beside float32 copies")
    assert lines[at + 3 :] == [
        f"which places {num_code} B",
        "their values 48 B",
        f"both {num_both} B",
        f"a copy of these weights 3.07 kB {100 * num_both / 3072:.1f} %",
        f"the whole base {num_base / 1000:.1f} kB {100 * num_both / num_base:.2f} %",
    ]


def test_densities_as_json_have_every_weight(sparse: Command):
    found = json.loads(sparse("grafts", "show", "tag", "--densities", "--json").stdout)
    (weight,) = found.pop("weights")
    assert weight == {
        "name": NAMES[0],
        "layer": 0,
        "role": "linear",
        "size": 384,
        "num_places": 360,
        "density": 0.9375,
    }
    assert (found["part"], found["size"], found["num_places"]) == ("mask", 384, 360)
    assert (found["num_value_bytes"], found["num_copy_bytes"]) == (0, 1536)


def test_many_weights_are_taken_together_by_layer_and_role(sparse: Command):
    done = sparse("grafts", "show", "whole", "--densities")
    assert done.stderr == "The 53 weights are shown by layer and role; --json lists each of them.\n"
    names = [
        line.strip().split("  ")[0]
        for line in done.stdout.splitlines()
        if line.strip().startswith(("layer ", "outside "))
    ]
    assert names == [
        "outside of the layers, embedding",
        "outside of the layers, norm",
        *(f"layer {layer}, {role}" for layer in range(3) for role in ("bias", "linear", "norm")),
    ]
    whole = json.loads(sparse("grafts", "show", "whole", "--densities", "--json").stdout)
    assert (len(whole["weights"]), whole["num_places"]) == (53, whole["size"])


def test_the_bytes_of_a_delta_below_a_mask_count_as_well(sparse: Command):
    base = load_base("base", device="cpu")
    few = torch.zeros(16, 24, dtype=torch.bool)
    few[0] = True
    put(
        Store("store"),
        base,
        make_delta(base, "both", {NAMES[0]: few}, weights=NAMES[:1], others=[Mask(weights=NAMES[:1])]),
    )
    found = json.loads(sparse("grafts", "show", "both", "--densities", "--json").stdout)
    num_code = Store("store").get("both")[1]["delta.places.code"].numel()
    assert (found["part"], found["num_places"]) == ("mask", 384)
    assert (found["num_mask_bytes"], found["num_value_bytes"]) == (num_code + 1, 24 * 4)


def test_a_mask_that_keeps_everything_has_a_density_of_one(sparse: Command):
    found = json.loads(sparse("grafts", "show", "free", "--densities", "--json").stdout)
    assert (found["num_places"], found["num_mask_bytes"], found["num_value_bytes"]) == (found["size"], 1, 0)


def test_show_says_bytes_without_the_base_and_how_to_see_densities(sparse: Command):
    shutil.move("base", "elsewhere")
    done = sparse("grafts", "show", "en")
    num_code = Store("store").get("en")[1]["delta.places.code"].numel()
    assert done.exit_code == 0
    assert f"Bytes: delta {num_code} B say which places, 48 B are their values" in read_lines(done.stdout)
    assert done.stderr == "--densities loads the base and shows how many places of each weight these are.\n"


def test_show_of_other_grafts_says_nothing_of_densities(sparse: Command):
    done = sparse("grafts", "show", "ner")
    assert (done.stderr, "Bytes: " in done.stdout) == ("", False)


def test_densities_need_the_base(sparse: Command):
    shutil.move("base", "elsewhere")
    done = sparse("grafts", "show", "en", "--densities", "--base", "./base", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: There is no folder './base'.")
    assert sparse("grafts", "show", "en", "--densities", "--base", "./elsewhere").exit_code == 0


def test_densities_of_a_damaged_graft_are_an_error(sparse: Command):
    path = Path("store/en/1/graft.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    done = sparse("grafts", "show", "en", "--densities", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "error: store/en/1/graft.safetensors does not match its manifest: sha256 is "
    )


def test_densities_of_a_graft_without_places_are_refused(sparse: Command):
    done = sparse("grafts", "show", "ner", "--densities", "--base", "base", "--json")
    assert done.stderr == (
        "error: The graft 'ner' has no delta and no mask: its parts are bottleneck, head. Expected a graft that "
        "changes weights. Name another one.\n"
    )


COMMANDS = {
    "predict": ("predict", "--text", "qam llaqta"),
    "evaluate": ("evaluate", "tagged.conll"),
    "doctor": ("doctor",),
}
SAID = "The mask of 'tag' wins over the graft 'low' below it at 24 places of 1 weights, where both change the same one."


@pytest.fixture
def stacked(sparse: Command) -> Command:
    """The delta `low`, of which the mask `tag` undoes all."""
    base = load_base("base", device="cpu")
    few = torch.zeros(16, 24, dtype=torch.bool)
    few[0] = True
    values = {NAMES[0]: torch.ones(16, 24)}
    put(Store("store"), base, make_delta(base, "low", {NAMES[0]: few}, weights=NAMES, values=values))
    return sparse


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_where_a_mask_wins_is_said_to_whoever_uses_the_plan(stacked: Command, words: tuple[str, ...]):
    done = stacked(*words, "--plan", "stack(low, tag, ner)")
    assert done.exit_code == 0, done.stderr
    assert SAID in done.stderr.splitlines()
    assert SAID not in stacked(*words, "--plan", "stack(tag, low, ner)").stderr


def test_doctor_has_conflicts_as_json(stacked: Command):
    done = stacked("doctor", "--plan", "stack(low, tag)", "--json")
    assert (json.loads(done.stdout)["conflicts"], done.stderr) == ([SAID], f"{SAID}\n")
    assert json.loads(stacked("doctor", "--plan", "stack(tag, low)", "--json").stdout)["conflicts"] == []
