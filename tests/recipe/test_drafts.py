"""Sizes that are told before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.recipe.by_method import carry_out
from tests.recipe.material import find_end, load, run_all
from tests.tiny import make_base

from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.places import encode_places
from polygraft.recipe.bench import count_weights, find_shapes
from polygraft.recipe.drafts import count_values, draft_method, draft_plain, guess_code, measure_stored
from polygraft.recipe.methods import Full, Imp, LtSft, Method, Movement, PackNet, Piggyback, Structured

LABELS = ("O", "B-LOC", "B-PER", "I-PER")
EVERY = [
    "full",
    "sequential",
    "head",
    "bottleneck",
    "madx",
    "lora",
    "ia3",
    "bitfit",
    "lt-sft",
    "imp",
    "piggyback",
]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", EVERY)
def test_a_plan_tells_the_bytes_that_every_method_stores(name: str):
    steps = find_end(run_all(load(f'methods=["{name}"]'))).summary.steps
    trained = [step for step in steps if step.kind in ("language", "task")]
    assert trained
    for step in trained:
        assert step.predicted_bytes == pytest.approx(step.num_bytes, rel=0.01)


@pytest.mark.usefixtures("here")
def test_a_plan_tells_the_bytes_of_packed_tasks():
    text = Path("recipe.toml").read_text(encoding="utf-8")
    task = '[task.pos]\nsource = "en"\ntrain = "train.conll"\ndev = "dev.conll"\ntest.en = "en.conll"\n'
    Path("recipe.toml").write_text(text.replace("[train.mlm]", f"{task}[train.mlm]"), encoding="utf-8")
    steps = find_end(run_all(load('methods=["packnet"]'))).summary.steps
    sizes = {step.name: (step.predicted_bytes, step.num_bytes) for step in steps if step.kind == "task"}
    assert list(sizes) == ["packnet.task.ner", "packnet.task.pos"]
    for predicted, actual in sizes.values():
        assert predicted == pytest.approx(actual, rel=0.01)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "method",
    [
        Movement(sparsity=0.6),
        Structured(),
        Structured(units="heads"),
        LtSft(density=0.2, dtype="float16"),
        LtSft(density=0.1, choice="random"),
        Imp(sparsities=(0.0, 0.5, 0.9)),
        Imp(sparsities=(0.5,), scope="2:4"),
        Imp(sparsities=(0.3,), scope="row", retrain="never"),
    ],
    ids=lambda method: f"{method.kind} {method.dtype}",
)
def test_a_draft_tells_the_bytes_of_each_graft_that_a_method_stores(method: Method):
    base = make_base("bert")
    _, _, manifests = carry_out(method, base=base)
    heads = [Head.from_options(dict(part.options)) for part in manifests[-1].parts if part.kind == "head"]
    draft = draft_method(base, method, head=heads, skip_layers=())
    predicted = [measure_stored(base, parts) for parts in draft.stored]
    assert predicted == pytest.approx([manifest.num_bytes for manifest in manifests], rel=0.02)


def test_scores_that_can_fall_to_the_threshold_take_a_bit_a_weight():
    base, method = make_base("bert"), Piggyback()
    sizes = {
        reach: measure_stored(
            base, draft_method(base, method, head=(), skip_layers=(), reach=reach).stored[0]
        )
        for reach in (0.004, 0.006)
    }
    num_bits = count_weights(find_shapes(base, method, skip_layers=()))
    assert sizes[0.006] - sizes[0.004] == pytest.approx(num_bits / 8, rel=0.05)


def test_rounds_train_as_many_values_as_the_method_leaves():
    base = make_base("bert")
    total = count_weights(find_shapes(base, LtSft(), skip_layers=()))
    head = [Head(objective="tokens", labels=LABELS)]
    num_head = count_values(base, head)
    dense, sparse = draft_method(base, LtSft(density=0.25), head=head, skip_layers=()).rounds
    assert (dense.num_values, sparse.num_values) == (total + num_head, total // 4 + num_head)
    assert (dense.is_scored, sparse.is_scored) == (False, True)
    free, kept = draft_method(base, PackNet(), head=head, skip_layers=(), names=["a", "b"]).rounds
    assert (free.num_values, kept.num_values) == (total // 2 + num_head, total // 4 + num_head)
    trained = draft_method(base, Movement(), head=head, skip_layers=()).rounds[0]
    assert trained.num_values == 2 * total + num_head
    levels = draft_method(base, Imp(sparsities=(0.5, 0.75)), head=head, skip_layers=()).rounds
    assert [each.num_values - num_head for each in levels] == [total, total // 2, total // 4]


def test_a_full_copy_has_every_weight():
    base = make_base("bert")
    draft = draft_method(base, Full(), head=(), skip_layers=())
    assert draft.rounds[0].num_values == sum(weight.numel() for weight in base.model.parameters())


def test_a_plain_graft_is_stored_as_it_is_trained():
    base, parts = make_base("bert"), [Bottleneck(reduction=2)]
    draft = draft_plain(base, parts, is_scored=False)
    assert draft.stored == (tuple(parts),)
    assert draft.rounds[0].num_values == 3 * (16 * 8 * 2 + 8 + 16)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.93, 1.0])
def test_the_code_of_a_large_mask_is_told_from_a_smaller_one(share: float):
    size = 3 * (1 << 18)
    places = torch.rand(size, generator=torch.Generator().manual_seed(7)).argsort()[: round(share * size)]
    mask = torch.zeros(size, dtype=torch.bool)
    mask[places] = True
    assert guess_code([size], share=share) == pytest.approx(len(encode_places([mask])), rel=0.005, abs=8)
