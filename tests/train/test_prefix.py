"""What frozen layers give is computed once, and the numbers stay the same to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import make_base, make_trained_graft
from tests.train.material import LABELS, encode_sentences, make_training, read_bytes, run

from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.parse import parse_plan
from polygraft.attach.plan import Named, Stack
from polygraft.base.base import Base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.parts.presets import language_graft
from polygraft.parts.prompt import Prompt
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.labels import Labelling
from polygraft.train.loop import Interrupted, Training
from polygraft.train.prefix import PrefixCache

SKIPS = {"none": (), "one": (0,), "two": (0, 1), "head": None}


PARTS_BELOW = {"language": language_graft(), "prompt": [Prompt(length=3)]}


def train(
    cache: PrefixCache | None,
    *,
    skipped: str = "two",
    base_name: str = "bert",
    lowest: str = "language",
    **changes: Any,
):
    """Train a task graft above another graft in three epochs."""
    base = make_base(base_name)
    below = make_trained_graft(base, "qu", PARTS_BELOW[lowest], seed=6)
    skip = SKIPS[skipped]
    parts = [] if skip is None else [Bottleneck(reduction=2, skip_layers=skip)]
    graft = make_graft(base, "new", [*parts, Head(objective="tokens", labels=LABELS)], seed=4)
    training = make_training(
        "tokens",
        base=base,
        graft=graft,
        plans=[Stack((Named("qu"), Named("new"))), Named("new")],
        grafts={"qu": below, "new": graft},
        objective=Labelling(encode_sentences(base), cache=cache),
        steps=None,
        epochs=3,
        **changes,
    )
    return training, [step.loss for step in run(training)]


@pytest.mark.parametrize(
    "base_name", ["bert", "deberta-v2", "modernbert", "electra-small", "distilbert", "gpt2"]
)
@pytest.mark.parametrize("skipped", SKIPS)
def test_training_from_the_cache_gives_the_same_bits(skipped: str, base_name: str):
    plain, losses = train(None, skipped=skipped, base_name=base_name)
    cache = PrefixCache()
    cached, found = train(cache, skipped=skipped, base_name=base_name)
    if (base_name, skipped) == ("deberta-v2", "none"):
        # Behind its lowest layer it looks at the embeddings.
        assert found == losses
        assert cache.num_computed == 0
        return
    assert found == losses
    assert read_bytes(cached.graft) == read_bytes(plain.graft)
    batches = {rows.tobytes() for update in cached.updates for rows in update}
    assert len(batches) < cache.num_computed <= 2 * len(batches)
    assert cache.num_computed + cache.num_found == cached.total
    cost = cached.measure_cost()
    assert cost["looked_up"] == cache.num_found / cached.total
    assert (cost["cache_memory_bytes"], cost["cache_file_bytes"]) == (cache.bytes_in_memory, 0)
    assert "looked_up" not in plain.measure_cost()


@pytest.mark.parametrize(
    "changes", [{"recompute": True}, {"precision": "bfloat16"}, {"accumulate": 2}], ids=str
)
@pytest.mark.parametrize("skipped", ["none", "one"])
def test_with_other_ways_of_computing_too(skipped: str, changes: dict[str, Any]):
    plain, losses = train(None, skipped=skipped, **changes)
    cache = PrefixCache()
    cached, found = train(cache, skipped=skipped, **changes)
    assert found == losses
    assert read_bytes(cached.graft) == read_bytes(plain.graft)
    assert cache.num_found > 0


@pytest.mark.parametrize("skip_layers", [(0,), (0, 1)])
@pytest.mark.parametrize(
    "under", ["average(en, qu)", "average(en, qu, of=outputs)", "stack(average(en, qu), es)"]
)
def test_trainings_above_other_plans_than_stacks_share_what_is_below(
    under: str, skip_layers: tuple[int, ...]
):
    base = make_base("bert")
    below = {
        name: make_trained_graft(base, name, [Bottleneck(reduction=2)], seed=seed)
        for seed, name in enumerate(("en", "qu", "es"))
    }

    def start(cache: PrefixCache | None, *, number: int, averages: Mapping[str, Graft]) -> Training:
        name = f"ner{number}"
        parts = [Bottleneck(skip_layers=skip_layers), Head(objective="tokens", labels=LABELS)]
        graft = make_graft(base, name, parts, seed=number)
        training = make_training(
            "tokens",
            base=base,
            graft=graft,
            grafts={**below, **averages, name: graft},
            plans=[parse_plan(f"stack({under}, {name})")],
            objective=Labelling(encode_sentences(base), cache=cache),
            steps=None,
            epochs=1,
        )
        run(training)
        return training

    cache = PrefixCache()
    first = start(cache, number=1, averages={})
    assert cache.num_found == 0
    second = start(cache, number=2, averages=first.averages)
    assert cache.num_found == second.total
    assert read_bytes(second.graft) == read_bytes(start(None, number=2, averages={}).graft)
    # Another mean of the same grafts is another key.
    below["qu"], below["en"] = below["en"], below["qu"]
    with torch.no_grad():
        next(below["qu"].layers.parameters()).mul_(1.5)
    found = cache.num_found
    third = start(cache, number=2, averages={})
    assert cache.num_found == found
    assert read_bytes(third.graft) == read_bytes(start(None, number=2, averages={}).graft)


@pytest.mark.parametrize("below", [[], [Lora(rank=2)], language_graft()], ids=["nothing", "lora", "language"])
def test_inside_a_layer_what_stands_there_below_is_kept(below: list[Part]):
    def start(cache: PrefixCache | None) -> Training:
        base = make_base("bert")
        graft = make_graft(
            base, "new", [Bottleneck(skip_layers=(0,)), Head(objective="tokens", labels=LABELS)], seed=4
        )
        found = {"qu": make_trained_graft(base, "qu", below, seed=6)} if below else {}
        training = make_training(
            "tokens",
            base=base,
            graft=graft,
            grafts={"new": graft, **found},
            plans=[Stack((Named("qu"), Named("new"))) if below else Named("new")],
            objective=Labelling(encode_sentences(base), cache=cache),
            steps=None,
            epochs=3,
        )
        if cache is not None:
            count_layers(base, passes)
        run(training)
        return training

    passes: dict[int, int] = {}
    plain, cache = start(None), PrefixCache()
    cached = start(cache)
    assert read_bytes(cached.graft) == read_bytes(plain.graft)
    # The attention and the feed-forward part of the two lowest layers in the first epoch only.
    assert passes == {0: cached.total // 3, 1: cached.total // 3, 2: cached.total}


def count_layers(base: Base, passes: dict[int, int]) -> None:
    """Count how often each layer computes its feed-forward part from now on."""
    for index in range(base.sites.num_layers):
        inner = base.sites.sublayer(index, "ffn").input
        inner.register_forward_hook(lambda *_, index=index: passes.update({index: passes.get(index, 0) + 1}))


@pytest.mark.parametrize("base_name", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("skipped", SKIPS)
def test_above_a_prompt_only_what_a_head_reads_is_kept(skipped: str, base_name: str):
    plain, losses = train(None, skipped=skipped, base_name=base_name, lowest="prompt")
    cache = PrefixCache()
    cached, found = train(cache, skipped=skipped, base_name=base_name, lowest="prompt")
    assert found == losses
    assert read_bytes(cached.graft) == read_bytes(plain.graft)
    # The plan without the prompt goes on as it would.
    assert cache.num_found > 0
    without = cached.total - cache.num_computed - cache.num_found
    assert (without == 0) == (skipped == "head")


@pytest.mark.parametrize("memory", [0, 20_000])
def test_what_finds_no_room_in_memory_goes_to_files_with_the_same_bits(memory: int, tmp_path: Path):
    plain, _ = train(None)
    cache = PrefixCache(memory=memory, folder=tmp_path / "new")
    cached, _ = train(cache)
    assert read_bytes(cached.graft) == read_bytes(plain.graft)
    assert cache.num_found > 0
    assert cache.bytes_in_memory <= memory
    assert cache.bytes_in_files > 0
    assert list((tmp_path / "new").iterdir()) == []


def test_without_room_anywhere_all_is_computed_again(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    cache = PrefixCache(memory=0, folder=tmp_path / "file")
    cached, _ = train(cache)
    assert read_bytes(cached.graft) == read_bytes(train(None)[0].graft)
    assert cache.bytes_in_files == cache.bytes_in_memory == 0


def test_half_as_many_bytes_give_nearly_the_same_numbers():
    exact, half = PrefixCache(), PrefixCache(half=True)
    _, losses = train(exact)
    _, found = train(half)
    assert 2 * half.bytes_in_memory == exact.bytes_in_memory
    assert found != losses
    assert found == pytest.approx(losses, abs=2e-3)


def test_values_that_float16_cannot_tell_stay_as_they_are():
    cache = PrefixCache(half=True)
    block = torch.tensor([1e-8, 70_000.0])
    assert torch.equal(cache.fetch("large", lambda: block), block)
    assert torch.equal(cache.fetch("small", lambda: block[:1]), torch.zeros(1))
    assert cache.bytes_in_memory == 8 + 2


def test_what_finds_no_room_is_rounded_too(monkeypatch: pytest.MonkeyPatch):
    cache = PrefixCache(memory=0, half=True)
    monkeypatch.setattr(cache._files, "store", lambda _: None)
    block = torch.tensor([0.1, 1 / 3])
    assert torch.equal(cache.fetch("no room", lambda: block), block.half().float())
    assert cache.bytes_in_memory == cache.bytes_in_files == 0


def test_a_pair_is_kept_in_memory_or_not_at_all(tmp_path: Path):
    cache = PrefixCache(memory=20, folder=tmp_path)
    first, second = torch.zeros(2), torch.ones(2).bfloat16()
    for _ in range(3):
        found = cache.fetch_pair("first", lambda: (first, second), num_bytes=16)
        assert found is not None
        assert [(block.tolist(), block.dtype) for block in found] == [
            ([0, 0], torch.float32),
            ([1, 1], torch.bfloat16),
        ]
        assert cache.fetch_pair("second", lambda: (second, second), num_bytes=16) is None
    assert (cache.bytes_in_memory, cache.bytes_in_files) == (12, 0)
    assert (cache.num_computed, cache.num_found) == (1, 2)
    first.fill_(7)
    assert cache.fetch_pair("first", lambda: (first, first), num_bytes=16) is not None
    assert found[0].tolist() == [0, 0]
    assert PrefixCache(half=True).fetch_pair("first", lambda: (first, first), num_bytes=16) is None


@pytest.mark.parametrize("memory", [0, 20_000])
@pytest.mark.parametrize("skipped", ["none", "one"])
def test_without_room_for_a_pair_the_whole_layers_below_are_kept(skipped: str, memory: int, tmp_path: Path):
    cache = PrefixCache(memory=memory, folder=tmp_path)
    plain, losses = train(None, skipped=skipped)
    cached, found = train(cache, skipped=skipped)
    assert found == losses
    assert read_bytes(cached.graft) == read_bytes(plain.graft)
    assert 0.5 * memory <= cache.bytes_in_memory <= memory
    # Below a bottleneck in the lowest layer there is no whole layer.
    assert (cache.bytes_in_files > 0) == (skipped == "one")
    assert (cache.num_computed + cache.num_found == cached.total) == (skipped == "one")


def test_rounded_blocks_are_whole_layers():
    half = PrefixCache(half=True)
    train(half, skipped="none")
    assert half.bytes_in_memory == 0
    _, losses = train(half, skipped="one")
    whole = PrefixCache()
    _, exact = train(whole, skipped="one")
    # A block in place of two, at half the bytes.
    assert 4 * half.bytes_in_memory == whole.bytes_in_memory
    assert losses != exact
    assert losses == pytest.approx(exact, abs=2e-3)


def test_objectives_with_other_rows_may_share_it():
    base = make_base("bert")

    def start(cache: PrefixCache | None, *, count: int) -> Graft:
        parts = [Bottleneck(skip_layers=(0, 1)), Head(objective="tokens", labels=LABELS)]
        graft = make_graft(base, "new", parts, seed=1)
        objective = Labelling(encode_sentences(base, count), cache=cache)
        run(make_training("tokens", base=base, graft=graft, objective=objective))
        return graft

    cache = PrefixCache()
    grafts = [start(cache, count=count) for count in (20, 30)]
    assert [read_bytes(graft) for graft in grafts] == [
        read_bytes(start(None, count=count)) for count in (20, 30)
    ]


def test_a_block_is_a_copy_and_has_no_gradient():
    weight = torch.ones(3, requires_grad=True)
    made = weight * 2
    block = PrefixCache().fetch("a", lambda: made * 1)
    assert not block.requires_grad
    source = torch.ones(3)
    cache = PrefixCache()
    cache.fetch("a", lambda: source[:2])
    cache.fetch("b", lambda: source[2:])
    source.zero_()
    assert cache.fetch("a", torch.zeros).tolist() == [1, 1]


def test_a_graft_below_that_has_changed_is_computed_anew():
    base = make_base("bert")
    below = make_trained_graft(base, "qu", language_graft(), seed=6)

    def start(cache: PrefixCache, *, seed: int) -> Graft:
        parts = [Bottleneck(skip_layers=(0, 1)), Head(objective="tokens", labels=LABELS)]
        graft = make_graft(base, "new", parts, seed=seed)
        training = make_training(
            "tokens",
            base=base,
            graft=graft,
            grafts={"qu": below, "new": graft},
            plans=[Stack((Named("qu"), Named("new")))],
            objective=Labelling(encode_sentences(base), cache=cache),
        )
        run(training)
        return graft

    cache = PrefixCache()
    start(cache, seed=1)
    found = cache.num_found
    start(cache, seed=2)
    assert cache.num_found > found
    with torch.no_grad():
        next(below.layers.parameters()).mul_(1.5)
    assert read_bytes(start(cache, seed=3)) == read_bytes(start(PrefixCache(), seed=3))


@pytest.mark.parametrize(
    "parts", [[Lora(rank=2)], language_graft(), [Bottleneck(placement="attention+ffn")]], ids=len
)
def test_with_a_graft_that_begins_in_or_below_the_lowest_layer_nothing_is_looked_up(parts: list[Part]):
    base, cache = make_base("bert"), PrefixCache()
    training = make_training(
        "tokens",
        base=base,
        graft=make_graft(base, "new", [*parts, Head(objective="tokens", labels=LABELS)], seed=4),
        objective=Labelling(encode_sentences(base), cache=cache),
        steps=None,
        epochs=2,
    )
    run(training)
    assert training.measure_cost()["looked_up"] == training.measure_cost()["cache_memory_bytes"] == 0


def test_what_was_looked_up_is_counted_over_a_stop_and_each_training_counts_its_own(tmp_path: Path):
    base, cache = make_base("bert"), PrefixCache()

    def start(*, seed: int) -> Training:
        parts = [Bottleneck(skip_layers=(0, 1)), Head(objective="tokens", labels=LABELS)]
        graft = make_graft(base, "new", parts, seed=seed)
        return make_training(
            "tokens",
            base=base,
            graft=graft,
            objective=Labelling(encode_sentences(base), cache=cache),
            steps=None,
            epochs=2,
            checkpoints=Checkpoints(tmp_path / str(seed), key="k"),
        )

    first = start(seed=1)
    half = first.total // 2
    first.should_stop = lambda: first.progress.step == half + 1
    with pytest.raises(Interrupted):
        run(first)
    again = start(seed=1)
    run(again)
    assert again.measure_cost()["looked_up"] == 0.5
    other = start(seed=2)
    run(other)
    assert other.measure_cost()["looked_up"] == 1
