"""Grafts that become one: every kind of part, against plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny import make_base, make_trained_graft
from tests.weights import WEIGHTS, draw_masks, draw_values, put, run
from torch import Tensor

from polygraft.attach.arithmetic import (
    add_grafts,
    average_grafts,
    merge_grafts,
    scale_graft,
    subtract_grafts,
)
from polygraft.attach.graft import Graft, make_graft, rebuild_graft
from polygraft.attach.merging import How, Merging
from polygraft.attach.sparse import (
    ValueFormat,
    find_edit,
    make_delta,
    make_mask,
    read_edited,
    read_places,
    read_values,
)
from polygraft.base.base import Base
from polygraft.errors import FingerprintError, GraftError
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.fusion import Fusion
from polygraft.parts.glow import Glow
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.mask import Mask, MaskLayers
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.scores import Scores
from polygraft.store.store import Store

LABELS = ("O", "B-LOC", "I-LOC")
PARTS: Mapping[str, Sequence[Part]] = {
    "language": [Bottleneck(reduction=2), Invertible(reduction=2)],
    "houlsby": [Bottleneck(reduction=4, placement="attention+ffn")],
    "tokens": [Bottleneck(reduction=8), Head(objective="tokens", labels=LABELS)],
    "sequence": [Head(objective="sequence", labels=LABELS)],
    "mlm": [Head(objective="mlm")],
    "whole delta": [Delta(weights=("linear", "norm"))],
    "compacter": [Compacter(reduction=4, terms=2)],
    "glow": [Bottleneck(reduction=2), Glow()],
    "prefix": [Prefix(length=3, reparameterization=None)],
    "fusion": [Fusion()],
    "bitfit": [BitFit()],
    "ia3": [IA3()],
    "delta and head": [Delta(), Head(objective="tokens", labels=LABELS)],
}
every_kind = pytest.mark.parametrize("kind", PARTS)


def make_two(base: Base, kind: str) -> list[Graft]:
    return [make_trained_graft(base, name, PARTS[kind], seed=seed) for seed, name in enumerate("ab")]


def make_deltas(base: Base, num: int = 2, *, dtype: ValueFormat = "float32") -> list[Graft]:
    """Deltas over different places."""
    masks = [draw_masks(base, 0.1 + 0.2 * seed, seed=seed) for seed in range(num)]
    return [
        make_delta(
            base, f"d{seed}", mask, weights=WEIGHTS, values=draw_values(mask, seed=seed + 7), dtype=dtype
        )
        for seed, mask in enumerate(masks)
    ]


def make_masks(base: Base, num: int = 2) -> list[Graft]:
    """Masks over the same places with values of their own."""
    kept = draw_masks(base, 0.4, seed=5)
    return [
        make_mask(base, f"m{seed}", kept, weights=WEIGHTS, values=draw_values(kept, seed=seed))
        for seed in range(num)
    ]


def read_dense(graft: Graft) -> dict[str, Tensor]:
    return read_values(find_edit(graft, DeltaLayers))


def assert_equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """Equal bit for bit, under the same names."""
    assert a.keys() == b.keys()
    assert [name for name in a if a[name].numpy().tobytes() != b[name].numpy().tobytes()] == []


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


@pytest.mark.parametrize("make", [make_deltas, make_masks])
def test_weights_1_and_0_give_the_first_sparse_one_back_bit_for_bit(make: Callable[[Base], list[Graft]]):
    base = make_base()
    a, b = make(base)
    same = average_grafts(base, "same", [a, b], [1, 0])
    assert same.parts == a.parts
    assert_equal(same.tensors(), a.tensors())


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


def test_ties_of_one_sparse_delta_at_density_1_is_the_delta_bit_for_bit():
    base = make_base()
    (a,) = make_deltas(base, 1)
    merged = merge_grafts(base, "same", [a], Merging(how="ties", density=1.0))
    assert_equal(merged.tensors(), a.tensors())


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


@pytest.mark.parametrize("how", ["interpolate", "add", "subtract"])
def test_deltas_are_added_up_at_the_places_of_all_of_them(how: How):
    base = make_base()
    grafts = make_deltas(base, 3)
    weights = (0.5, 0.2, 0.3)
    merged = merge_grafts(base, "merged", grafts, Merging(how=how, weights=weights))
    signs = (1, -1, -1) if how == "subtract" else (1, 1, 1)
    dense = [read_dense(graft) for graft in grafts]
    places = [read_places(find_edit(graft, DeltaLayers)) for graft in grafts]
    found, at = read_dense(merged), read_places(find_edit(merged, DeltaLayers))
    for name, values in found.items():
        expected = sum(
            sign * weight * each[name].double()
            for sign, weight, each in zip(signs, weights, dense, strict=True)
        )
        assert (values - expected).abs().max() < 1e-6
        assert torch.equal(at[name], places[0][name] | places[1][name] | places[2][name])


def test_ties_of_deltas_is_what_plain_tensors_compute():
    base = make_base()
    grafts = make_deltas(base, 3)
    merged = merge_grafts(base, "merged", grafts, Merging(how="ties", density=0.4, scale=0.7))
    flat = torch.stack(
        [torch.cat([each.flatten() for each in read_dense(graft).values()]) for graft in grafts]
    )
    for row, graft in zip(flat, grafts, strict=True):
        num_kept = int(0.4 * graft.num_parameters + 0.5)
        threshold = row.abs().sort(descending=True).values[num_kept - 1]
        row[row.abs() < threshold] = 0
    elected = flat.sum(0).sign()
    agreeing = torch.where(flat.sign() == elected, flat, 0)
    expected = 0.7 * agreeing.sum(0) / (agreeing != 0).sum(0).clamp(min=1)
    found = torch.cat([each.flatten() for each in read_dense(merged).values()])
    assert (found - expected).abs().max() < 1e-6
    # What every graft has trimmed is not stored.
    assert merged.num_parameters == int((flat != 0).any(0).sum()) < grafts[2].num_parameters


def test_a_trimmed_delta_of_all_places_has_only_those_that_are_left():
    base = make_base()
    a, _ = make_two(base, "whole delta")
    merged = merge_grafts(base, "merged", [a], Merging(how="ties", density=0.25))
    values = read_dense(a)
    largest = torch.cat([each.flatten() for each in values.values()]).abs().sort(descending=True).values
    assert merged.num_parameters == int(0.25 * a.num_parameters + 0.5)
    for name, found in read_dense(merged).items():
        is_kept = values[name].abs() >= largest[merged.num_parameters - 1]
        assert torch.equal(found, torch.where(is_kept, values[name], 0))


def test_dare_of_deltas_drops_places_and_its_mean_is_the_interpolation():
    base = make_base()
    grafts = make_deltas(base)
    expected = read_dense(average_grafts(base, "mean", grafts))
    name = "encoder.layer.0.output.dense.weight"
    total, counts = torch.zeros(expected[name].shape), set[int]()
    for seed in range(300):
        dropped = merge_grafts(base, "dropped", grafts, Merging(how="dare", drop=0.5, seed=seed))
        counts.add(dropped.num_parameters)
        total += read_dense(dropped)[name] / 300
    # A value v of weight 1/2 deviates by |v| / 2, and the mean of 300 by |v| / 35: 0.3 / 35 and less, on average.
    assert (total - expected[name]).abs().mean() < 0.01 < expected[name].abs().mean()
    assert max(counts) < average_grafts(base, "mean", grafts).num_parameters


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


def test_a_graft_that_counts_for_nothing_gives_no_places():
    base = make_base()
    a, b = make_deltas(base)
    whole = make_graft(base, "whole", [Delta(weights=WEIGHTS)])
    assert average_grafts(base, "m", [a, b, whole], [0.5, 0.5, 0]).num_parameters < whole.num_parameters
    mixed = average_grafts(base, "m", [a, whole], [0.5, 0.5])
    assert (mixed.parts, mixed.num_parameters) == (whole.parts, whole.num_parameters)
    for name, values in read_dense(mixed).items():
        assert torch.equal(values, read_dense(a)[name] / 2)


def test_deltas_in_float16_are_rounded_once():
    base = make_base()
    a, b = make_deltas(base, dtype="float16")
    merged = average_grafts(base, "mean", [a, b], [0.3, 0.7])
    assert find_edit(merged, DeltaLayers).values.dtype == torch.float16
    for name, values in read_dense(merged).items():
        expected = 0.3 * read_dense(a)[name].double() + 0.7 * read_dense(b)[name].double()
        assert torch.equal(values, expected.half().float())


def test_masks_over_the_same_weights_are_added_up_from_what_the_base_has():
    base = make_base()
    grafts = make_masks(base)
    edited = [read_edited(base, find_edit(graft, MaskLayers)) for graft in grafts]
    kept = read_places(find_edit(grafts[0], MaskLayers))
    mean, total = average_grafts(base, "mean", grafts, [0.25, 0.75]), add_grafts(base, "sum", grafts)
    found = [read_edited(base, find_edit(graft, MaskLayers)) for graft in (mean, total)]
    weights = dict(base.model.named_parameters())
    for name, mask in kept.items():
        a, b = (each[name] for each in edited)
        assert (found[0][name] - (0.25 * a + 0.75 * b)).abs().max() < 1e-6
        assert (found[1][name] - torch.where(mask, a + b - weights[name], 0)).abs().max() < 1e-6
    assert torch.equal(mean.tensors()["mask.kept.code"], grafts[0].tensors()["mask.kept.code"])
    # Where every difference is trimmed, the base's own weight is left.
    trimmed = merge_grafts(base, "trimmed", grafts, Merging(how="ties", density=0.1))
    same = [
        torch.equal(read_edited(base, find_edit(trimmed, MaskLayers))[name][mask], weights[name][mask])
        for name, mask in kept.items()
    ]
    assert not all(same)
    differs = sum(
        int((read_edited(base, find_edit(trimmed, MaskLayers))[name][mask] != weights[name][mask]).sum())
        for name, mask in kept.items()
    )
    count = sum(int(mask.sum()) for mask in kept.values())
    assert 0.1 * count <= differs <= 0.2 * count + 1


@torch.no_grad()
def test_the_sum_of_deltas_is_what_a_stack_of_them_computes():
    base = make_base()
    a, b = make_deltas(base)
    stacked = run(base, "stack(d0, d1)", [a, b])
    assert (run(base, "sum", [add_grafts(base, "sum", [a, b])]) - stacked).abs().max() < 1e-5


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


def refuse(base: Base, grafts: Sequence[Graft]) -> str:
    with pytest.raises(GraftError) as caught:
        average_grafts(base, "mean", grafts)
    return str(caught.value)


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


def test_masks_without_values_are_refused():
    base = make_base()
    assert refuse(base, [make_graft(base, name, [Mask()]) for name in "ab"]) == (
        "The mask of 'a' has values of its own for none of the weights that it keeps. Expected them for all: which "
        "weights survive has no sum. Stack such grafts in a plan, or name others."
    )
    kept = draw_masks(base, 0.5, seed=0)
    some = make_mask(base, "some", kept, weights=WEIGHTS, values=draw_values(kept, seed=0), valued=kept)
    assert refuse(base, [some, some]) == (
        "The mask of 'some' has values of its own for some of the weights that it keeps. Expected them for all: which "
        "weights survive has no sum. Stack such grafts in a plan, or name others."
    )


def test_masks_that_keep_other_weights_are_refused():
    base = make_base()
    (a,) = make_masks(base, 1)
    kept = draw_masks(base, 0.4, seed=6)
    b = make_mask(base, "b", kept, weights=WEIGHTS, values=draw_values(kept, seed=1))
    assert refuse(base, [a, b]) == (
        "The masks of 'm0' and 'b' keep other weights. Expected the same ones, since a weight that one of them prunes "
        "has no value to add. `polygraft grafts compare` counts the common ones; name grafts over one mask."
    )


def test_scores_are_refused():
    base = make_base()
    assert refuse(base, [make_graft(base, name, [Scores()]) for name in "ab"]) == (
        "The graft 'a' has scores, which say what a mask that is being learned will keep, and have no sum. Expected "
        "grafts with values. Name others."
    )


def test_values_that_are_no_numbers_are_refused():
    base = make_base()
    a, b = make_two(base, "language")
    with torch.no_grad():
        b.layers.get_parameter("invertible.F.up.bias")[0] = float("nan")
    assert refuse(base, [a, b]) == (
        "The graft 'b' holds values in 'invertible.F.up.bias' that are no finite numbers, which spoil every sum. "
        "Expected finite ones. Train it again, or name another version."
    )


def test_values_that_a_format_cannot_hold_are_refused():
    base = make_base()
    a, _ = make_deltas(base, dtype="float16")
    with pytest.raises(GraftError) as caught:
        scale_graft(base, "huge", a, 1e9)
    assert str(caught.value) == (
        "The graft 'huge' would have values in 'delta.values' that torch.float16 cannot hold. Expected finite numbers. "
        "Give a smaller scale or smaller weights."
    )
