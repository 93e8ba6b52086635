"""What a run over many plans reads, and what it keeps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from polygraft.base.base import Base
from polygraft.base.load import load_base
from polygraft.cli.routed import RoutedLabeller, RoutedLine
from polygraft.store.store import Store


class CountingStore(Store):
    """A store that counts what is read from it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read: Counter[str] = Counter()

    def get(self, name: str, *, version: int | None = None):
        self.read[f"{name}@{version}"] += 1
        return super().get(name, version=version)


@pytest.fixture(scope="module")
def base(made: Path) -> Base:
    return load_base(str(made / "base"), device="cpu")


def ask(*plans: str) -> list[RoutedLine]:
    return [
        RoutedLine("ana went", plan, f"asked, line {number}") for number, plan in enumerate(plans, start=1)
    ]


def test_each_version_is_read_once_in_a_run(base: Base, made: Path):
    store = CountingStore(made / "store")
    labeller = RoutedLabeller(base, store, any_base=False)
    for _ in range(3):
        found = labeller.label(ask("ner@1", "stack(qu, ner)", "stack(qu@1, ner)", "topic"))
    assert [each["plan"] for each in found] == ["ner@1", "stack(qu, ner)", "stack(qu@1, ner)", "topic"]
    assert store.read == {"ner@1": 1, "qu@1": 1, "topic@1": 1}


def test_what_was_needed_longest_ago_is_forgotten_where_there_is_no_room(base: Base, made: Path):
    store = CountingStore(made / "store")
    labeller = RoutedLabeller(base, store, any_base=False)
    expected = labeller.label(ask("stack(qu, ner)", "topic"))
    sizes = {
        str(named): sum(tensor.nbytes for tensor in graft.tensors().values())
        for named, graft in labeller.kept.items()
    }
    assert list(sizes) == ["qu@1", "ner@1", "topic@1"]
    small = RoutedLabeller(base, store, any_base=False, kept_bytes=sizes["ner@1"] + sizes["topic@1"])
    assert small.label(ask("stack(qu, ner)", "topic")) == expected
    assert list(map(str, small.kept)) == ["ner@1", "topic@1"]
    # What is needed moves to the end; what went is read again, in the version that was the latest.
    store.read.clear()
    assert small.label(ask("stack(qu, ner)")) == expected[:1]
    assert store.read == {"qu@1": 1}
    none = RoutedLabeller(base, store, any_base=False, kept_bytes=0)
    assert none.label(ask("stack(qu, ner)", "topic")) == expected
    assert none.kept == {}
