"""Grafts that become one: every kind of part, against plain tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.attach.summed import (
    PARTS,
    assert_equal,
    make_deltas,
    make_two,
    refuse,
)
from tests.tiny import make_base, make_trained_graft
from tests.weights import put

from polygraft.attach.arithmetic import (
    add_grafts,
    average_grafts,
    merge_grafts,
    scale_graft,
    subtract_grafts,
)
from polygraft.attach.graft import make_graft, rebuild_graft
from polygraft.attach.merging import Merging
from polygraft.errors import FingerprintError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.parts.head import Head
from polygraft.store.store import Store

every_kind = pytest.mark.parametrize("kind", PARTS)


@every_kind
def test_a_mean_is_that_of_the_parameters(kind: str):
    base = make_base()
    a, b = make_two(base, kind)
    mean = average_grafts(base, "mean", [a, b], [0.3, 0.7])
    assert (mean.name, mean.parts, mean.base_fingerprint) == ("mean", a.parts, base.fingerprint)
    for name, tensor in mean.tensors().items():
        expected = 0.3 * a.tensors()[name].double() + 0.7 * b.tensors()[name].double()
        assert torch.equal(tensor, expected.to(tensor.dtype)) or (tensor - expected).abs().max() < 1e-7
    assert not any(parameter.requires_grad for parameter in mean.layers.parameters())


@every_kind
def test_equal_weights_are_the_default(kind: str):
    base = make_base()
    grafts = [*make_two(base, kind), make_trained_graft(base, "c", PARTS[kind], seed=5)]
    mean = average_grafts(base, "mean", grafts)
    for name, tensor in mean.tensors().items():
        expected = torch.stack([graft.tensors()[name] for graft in grafts]).double().mean(0)
        assert (tensor - expected).abs().max() < 1e-6


@every_kind
def test_weights_1_and_0_give_the_first_back_bit_for_bit(kind: str):
    base = make_base()
    a, b = make_two(base, kind)
    assert_equal(average_grafts(base, "same", [a, b], [1, 0]).tensors(), a.tensors())
    assert_equal(average_grafts(base, "same", [a, b], [0, 1]).tensors(), b.tensors())


@every_kind
def test_what_is_added_and_taken_away_again_leaves_what_was(kind: str):
    base = make_base()
    a, b = make_two(base, kind)
    back = subtract_grafts(base, "back", add_grafts(base, "sum", [a, b]), b)
    for name, tensor in a.tensors().items():
        assert (back.tensors()[name] - tensor).abs().max() < 1e-6


@every_kind
def test_ties_of_one_graft_at_density_1_is_the_graft(kind: str):
    base = make_base()
    a, _ = make_two(base, kind)
    merged = merge_grafts(base, "same", [a], Merging(how="ties", density=1.0))
    for name, tensor in a.tensors().items():
        assert torch.equal(merged.tensors()[name], tensor)


def test_a_norm_of_a_head_is_counted_from_one():
    base = make_base()
    a, b = make_two(base, "mlm")
    total, opposite = add_grafts(base, "sum", [a, b]), scale_graft(base, "opposite", a, -1)
    none = scale_graft(base, "none", a, 0)
    for name, tensor in a.tensors().items():
        start = 1.0 if name == "head.norm.weight" else 0.0
        expected = tensor + b.tensors()[name] - start
        assert (total.tensors()[name] - expected).abs().max() < 1e-6
        assert (opposite.tensors()[name] - (2 * start - tensor)).abs().max() < 1e-6
        assert torch.equal(none.tensors()[name], torch.full_like(tensor, start))


def test_dare_of_a_graft_leaves_its_head_whole():
    base = make_base()
    a, b = make_two(base, "tokens")
    merged = merge_grafts(base, "merged", [a, b], Merging(how="dare", drop=0.9))
    mean = average_grafts(base, "mean", [a, b])
    for name, tensor in mean.tensors().items():
        if name.startswith("head."):
            assert torch.equal(merged.tensors()[name], tensor)
        elif tensor.numel() > 100:
            assert 0 < torch.count_nonzero(merged.tensors()[name]) < 0.5 * tensor.numel()


def test_the_same_settings_give_the_same_bytes_and_leave_the_grafts_alone():
    base = make_base()
    grafts = make_deltas(base)
    before = [{name: tensor.clone() for name, tensor in graft.tensors().items()} for graft in grafts]
    once, again = (merge_grafts(base, "m", grafts, Merging(how="ties", drop=0.3)) for _ in range(2))
    assert_equal(once.tensors(), again.tensors())
    for graft, tensors in zip(grafts, before, strict=True):
        assert_equal(graft.tensors(), tensors)


def test_a_merged_graft_can_be_stored_and_read_again(tmp_path: Path):
    base = make_base()
    merged = merge_grafts(base, "merged", make_deltas(base), Merging(how="ties"))
    store = Store(tmp_path)
    put(store, base, merged)
    assert_equal(rebuild_graft(base, *store.get("merged")).tensors(), merged.tensors())


def test_no_grafts_are_refused():
    assert refuse(make_base(), []) == (
        "The graft 'mean' was to be made of no grafts. Expected at least one. Name those to merge."
    )


def test_other_parts_are_named():
    base = make_base()
    assert refuse(base, [make_two(base, "tokens")[0], make_two(base, "language")[1]]) == (
        "The grafts 'a' and 'b' are made of other parts: bottleneck, head and bottleneck, invertible. Expected the "
        "same ones in the same order. Name grafts that were made alike."
    )


def test_other_options_are_named():
    base = make_base()
    grafts = [make_graft(base, name, [Bottleneck(reduction=size)]) for name, size in (("a", 2), ("b", 4))]
    assert refuse(base, grafts) == (
        "The part 'bottleneck' has reduction=2 in the graft 'a', and reduction=4 in 'b'. Expected the same, so that "
        "each value has its like. Name grafts that were made alike."
    )
    deltas = [make_graft(base, "a", [Delta()]), make_graft(base, "b", [Delta(dtype="float16")])]
    assert refuse(base, deltas) == (
        "The part 'delta' has dtype='float32' in the graft 'a', and dtype='float16' in 'b'. Expected the same, so that "
        "each value has its like. Name grafts that were made alike."
    )


def test_other_labels_are_named():
    base = make_base()
    heads = [
        make_graft(base, name, [Head(objective="tokens", labels=labels)])
        for name, labels in (("a", ("O", "LOC")), ("b", ("LOC", "O")))
    ]
    assert refuse(base, heads) == (
        "The part 'head' has labels=['O', 'LOC'] in the graft 'a', and labels=['LOC', 'O'] in 'b'. Expected the same, "
        "so that each value has its like. Name grafts that were made alike."
    )


def test_a_graft_of_another_base_is_refused():
    base, other = make_base(), make_base(seed=3)
    grafts = [make_graft(each, name, [Bottleneck()]) for each, name in ((base, "a"), (other, "b"))]
    with pytest.raises(FingerprintError) as caught:
        average_grafts(base, "mean", grafts)
    assert str(caught.value) == (
        f"Graft 'b' was made for another base: that one's fingerprint is {other.fingerprint[:8]}, 'tiny-bert' has "
        f"{base.fingerprint[:8]}. Expected grafts of one base, since a value means something else in another. Load "
        "their base, or name other grafts."
    )


def test_grafts_of_unknown_bases_with_other_shapes_are_refused():
    base, other = make_base(), make_base(hidden_size=32)
    for parts, sentence in (
        (
            [Bottleneck()],
            "The tensor 'layers.0.ffn.down.weight' of the graft 'b' has the shape [2, 32] where [1, 16] was expected. "
            "The graft was made for a base of other sizes.",
        ),
        (
            [Delta()],
            "The part 'delta' is about other weights in the graft 'a' than in 'b'. Expected weights of one base. Name "
            "grafts that were made for the same one.",
        ),
    ):
        a, b = make_graft(base, "a", parts), replace(make_graft(other, "b", parts), base_fingerprint=None)
        assert refuse(base, [a, b]) == sentence


def test_values_that_are_no_numbers_are_refused():
    base = make_base()
    a, b = make_two(base, "language")
    with torch.no_grad():
        b.layers.get_parameter("invertible.F.up.bias")[0] = float("nan")
    assert refuse(base, [a, b]) == (
        "The graft 'b' holds values in 'invertible.F.up.bias' that are no finite numbers, which spoil every sum. "
        "Expected finite ones. Train it again, or name another version."
    )
