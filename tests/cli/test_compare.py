from __future__ import annotations

import json

import pytest
from tests.cli.conftest import Command

SPARSE = ("--train", "text.txt", "--objective", "mlm", "--steps", "2", "--density", "0.2")


@pytest.fixture
def two(polygraft: Command) -> Command:
    for name, seed in (("en", "0"), ("swa", "1")):
        done = polygraft("prune", "lt-sft", "--name", name, *SPARSE, "--seed", seed)
        assert done.exit_code == 0, done.stderr
    return polygraft


def test_two_deltas_are_compared(two: Command):
    done = two("grafts", "compare", "en", "swa@1")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["Weight", "en", "swa@1", "Both", "By", "chance", "Jaccard", "Opposite"] in rows
    assert [row[:3] for row in rows if row and row[0] == "all"] == [["all", "1,075", "1,075"]]
    assert "In a stack 'en' and 'swa' add up, in either order: both change" in done.stderr
    found = json.loads(two("grafts", "compare", "en", "swa", "--json").stdout)
    assert len(found["weights"]) == 18
    assert found["total"]["num_both"] == sum(each["num_both"] for each in found["weights"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("en", "ner"),
            "The graft 'ner' has no delta and no mask: its parts are bottleneck, head. Expected two grafts that change "
            "weights. Name another one.",
        ),
        (
            ("en", "stack(en, swa)"),
            "'stack(en, swa)' is a plan of several grafts. Expected one graft, such as qu or qu@2. Name it by itself.",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(two: Command, words: tuple[str, ...], sentence: str):
    done = two("grafts", "compare", *words)
    assert done.exit_code == 1
    assert done.stderr.strip().replace("\n", " ").endswith(sentence)
