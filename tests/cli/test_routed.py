"""What a run over many plans reads, and what it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from polygraft.attach.attach import Attachment
from polygraft.base.base import Base
from polygraft.base.load import load_base
from polygraft.cli.predict import predict_routed
from polygraft.cli.routed import Refusal, RoutedLabeller, RoutedLine
from polygraft.errors import DataError
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


def test_plans_that_cannot_be_in_force_are_told_and_the_others_share_batches(
    base: Base, made: Path, monkeypatch: pytest.MonkeyPatch
):
    labeller = RoutedLabeller(base, Store(made / "store"), any_base=False)
    batches: list[list[str]] = []
    label = RoutedLabeller._label

    def note(attachment: Attachment, texts: Sequence[str], rows: Sequence[int]):
        batches.append(list(texts))
        return label(attachment, texts, rows)

    monkeypatch.setattr(RoutedLabeller, "_label", staticmethod(note))
    plans = ("ner", "qu", "topic", "stack(qu, ner)", "ner")
    asked = [RoutedLine(f"ana {number}", plan, f"line {number}") for number, plan in enumerate(plans)]
    found = labeller.label(asked)
    assert found[1] == Refusal(
        "The plan 'qu' has no head for tokens or sequences, so it cannot label anything. Expected a task graft in it, "
        "as in stack(qu, ner). Add one. That is the plan of line 1."
    )
    assert [None if isinstance(each, Refusal) else each["plan"] for each in found] == [
        None if plan == "qu" else plan for plan in plans
    ]
    # Sorted, the plans are ner, qu, stack(qu, ner), topic: of the half with the bad one, the good one is alone.
    assert batches == [["ana 0", "ana 4"], ["ana 2", "ana 3"]]
    assert base.in_force == []


def test_each_batch_is_answered_or_refused_before_the_next_one_is_read(
    base: Base, made: Path, capsys: pytest.CaptureFixture[str]
):
    def arrive() -> Iterator[list[bytes]]:
        for line, out, err in (
            (b'{"text": "ana", "plan": "ner"}', '{"text": "ana"', ""),
            (b"{", "", "error: standard input, line 2: the line is no JSON."),
            (b'{"text": "ana", "plan": "nerr"}', "", "error: The plan 'nerr' names 'nerr', which is not"),
            (b'{"text": "lima", "plan": "topic"}', '{"text": "lima"', ""),
        ):
            yield [line]
            told = capsys.readouterr()
            assert told.out.startswith(out) and told.err.startswith(err)
            assert (bool(told.out), bool(told.err)) == (bool(out), bool(err))

    with pytest.raises(DataError) as caught:
        predict_routed(base, arrive(), store=made / "store", plan=None, name="standard input", any_base=False)
    assert str(caught.value) == (
        "2 of 4 lines of standard input got no answer, each for the reason that was told. Expected an answer to each; "
        "the other lines have theirs, in their order. Correct these lines and give them again."
    )
    assert capsys.readouterr() == ("", "")


def test_refusals_are_handed_on_in_their_places(base: Base, made: Path):
    labeller = RoutedLabeller(base, Store(made / "store"), any_base=False)
    refusal = Refusal("line 1: the line is no JSON.")
    (good,) = labeller.label(ask("ner"))
    assert labeller.label([refusal, *ask("ner"), refusal]) == [refusal, good, refusal]
    assert labeller.label([refusal]) == [refusal]
    assert labeller.label([]) == []


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
