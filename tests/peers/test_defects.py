"""Where the incumbents are silently wrong, and polygraft is right: each case on both sides."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import make_base, make_batch, make_trained_graft

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, copy_tensors
from polygraft.base.base import Base
from polygraft.errors import GraftError
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not PEERS.is_file(), reason="`make bench-peers` makes the environment of the peers"),
]
PARTS: Mapping[str, Sequence[Part]] = {
    "en": [Bottleneck(reduction=2), Invertible()],
    "qu": [Bottleneck(reduction=2), Invertible()],
    "l1": [Bottleneck(reduction=2)],
    "l2": [Bottleneck(reduction=2)],
    "ner": [Bottleneck(reduction=2)],
    "pos": [Bottleneck(reduction=2)],
    "one": [IA3()],
    "two": [IA3()],
    "long": [Prefix(length=5, reparameterization=None)],
    "also_long": [Prefix(length=5, reparameterization=None)],
    "short": [Prefix(length=2, reparameterization=None)],
    "hint": [Prompt(length=3)],
    "cue": [Prompt(length=3)],
    "norms": [BitFit(weights=("norm",))],
    "others": [BitFit(weights=("norm",))],
}
ROUTES = {
    "single adapters in a split": ("ner", "pos"),
    "stacks in a split": ("stack(l1, ner)", "stack(l2, pos)"),
    "invertible adapters in a split": ("en", "qu"),
    "prefixes of one length in a split": ("long", "also_long"),
    "prefixes of two lengths in a split": ("long", "short"),
    "prompts in a split": ("hint", "cue"),
    "named rows of (IA)3": ("one", "two"),
    "named rows of LayerNorms": ("norms", "others"),
}
SIDE_BY_SIDE = {
    "single adapters side by side": ("ner", "pos"),
    "invertible adapters side by side": ("en", "qu"),
    "prefixes of two lengths side by side": ("long", "short"),
}
RIGHT_THERE_TOO = {
    "single adapters in a split",
    "prefixes of one length in a split",
    "single adapters side by side",
}
"""What shows that the other cases are no accident of the comparison."""
WRONG, RIGHT = 1e-2, 1e-5
"""Of hidden states of size one."""


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    done = subprocess.run(
        [str(PEERS), str(Path(__file__).parent / "incumbents.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("bert")


@pytest.fixture(scope="module")
def grafts(base: Base) -> list[Graft]:
    return [
        make_trained_graft(base, name, parts, seed=seed) for seed, (name, parts) in enumerate(PARTS.items())
    ]


@torch.no_grad()
def measure(base: Base, grafts: Sequence[Graft], ways: tuple[str, str]) -> float:
    """The largest difference between rows of a route and the same rows alone."""
    batch = make_batch(lengths=(6, 6))
    with attach(base, f"route({', '.join(ways)})", grafts=grafts) as attachment:
        routed = attachment.run(*batch, rows=[0, 1])
    differences: list[float] = []
    for row, way in enumerate(ways):
        with attach(base, way, grafts=grafts) as attachment:
            alone = attachment.run(batch.input_ids[row : row + 1], batch.attention_mask[row : row + 1])[0]
        differences.append(float((routed[row] - alone).abs().max()))
    return max(differences)


def assert_theirs(theirs: dict[str, Any], case: str) -> None:
    """Right where the incumbent is right as well, and wrong where it is wrong."""
    if case in RIGHT_THERE_TOO:
        assert theirs[case] < RIGHT
    else:
        assert theirs[case] > WRONG


@pytest.mark.parametrize("case", ROUTES)
def test_rows_of_a_route_equal_rows_alone(base: Base, grafts: list[Graft], theirs: dict[str, Any], case: str):
    assert measure(base, grafts, ROUTES[case]) < RIGHT
    assert_theirs(theirs, case)


@pytest.mark.parametrize("case", SIDE_BY_SIDE)
@torch.no_grad()
def test_members_side_by_side_equal_members_alone(
    base: Base, grafts: list[Graft], theirs: dict[str, Any], case: str
):
    names, batch = SIDE_BY_SIDE[case], make_batch(lengths=(6, 6))
    with attach(base, f"parallel({', '.join(names)})", grafts=grafts) as attachment:
        together = attachment.run_each(*batch)
    for name, hidden in zip(names, together, strict=True):
        with attach(base, name, grafts=grafts) as attachment:
            assert (hidden - attachment.run(*batch)).abs().max() < RIGHT
    assert_theirs(theirs, case)


@pytest.mark.parametrize("of", ["parameters", "outputs"])
@torch.no_grad()
def test_the_average_of_two_that_are_the_same_is_each_of_them(
    base: Base, grafts: list[Graft], theirs: dict[str, Any], of: str
):
    ner = next(graft for graft in grafts if graft.name == "ner")
    too = Graft(name="too", parts=ner.parts, layers=ner.layers, base_fingerprint=ner.base_fingerprint)
    batch = make_batch()
    with attach(base, f"average(ner, too, of={of})", grafts=[ner, too]) as attachment:
        averaged = attachment.run(*batch)
    with attach(base, "ner", grafts=[ner]) as attachment:
        alone = attachment.run(*batch)
    assert (averaged - alone).abs().max() < RIGHT
    assert theirs["average of two that are the same"] > WRONG


def test_a_damaged_file_is_refused(base: Base, grafts: list[Graft], theirs: dict[str, Any]):
    ner = next(graft for graft in grafts if graft.name == "ner")
    tensors = dict(ner.tensors())
    tensors.pop(next(iter(tensors)))
    with pytest.raises(GraftError, match="lacks the tensor"):
        copy_tensors(ner, tensors)
    with pytest.raises(GraftError, match="that its parts do not know"):
        copy_tensors(ner, {**ner.tensors(), "zz": torch.zeros(1)})
    assert theirs["damaged adapter"] == "loaded"
