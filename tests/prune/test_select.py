from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.prune.reference import Named, allowed_of, flat, largest, masks_of, shapes_of, tensors

from polygraft.errors import GraftError, OptionError
from polygraft.prune import keys, rows
from polygraft.prune.mask import count_places
from polygraft.prune.scope import parse_scope
from polygraft.prune.select import select, select_global, select_n_of_m, select_per_row, select_per_tensor

MATRICES = st.lists(st.sampled_from([(4,), (8,), (0, 4), (3, 4), (2, 3, 8)]), min_size=1, max_size=3)


@contextmanager
def chunks_of(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "CHUNK", size)
        patch.setattr(rows, "CHUNK", size)
        yield


def draw_within(data: st.DataObject, scores: Named) -> Named | None:
    return data.draw(st.one_of(st.none(), masks_of(shapes_of(scores))))


def half_up(share: float, total: int) -> int:
    return math.floor(Fraction(str(share)) * total + Fraction(1, 2))


def as_lists(masks: Named) -> dict[str, list[bool]]:
    return {name: mask.reshape(-1).tolist() for name, mask in masks.items()}


def cut(values: list, width: int) -> list[list]:
    return [values[start : start + width] for start in range(0, len(values), width)] if width else []


def width_of(shape: tuple[int, ...]) -> int:
    return math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)


@given(tensors(), st.sampled_from([1, 3, 1 << 18]), st.data())
def test_global_selection_equals_a_stable_sort(scores: Named, chunk: int, data: st.DataObject):
    within = draw_within(data, scores)
    allowed = allowed_of(scores, within)
    together = [place for places in allowed.values() for place in places]
    num_kept = data.draw(st.integers(0, sum(together)))
    with chunks_of(chunk):
        masks = select_global(shapes_of(scores), scores.__getitem__, num_kept=num_kept, within=within)
    values = [value for tensor in scores.values() for value in flat(tensor)]
    assert [place for mask in masks.values() for place in flat(mask)] == largest(values, together, num_kept)
    assert shapes_of(masks) == shapes_of(scores)
    assert count_places(masks) == num_kept


@given(tensors(), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([1, 5]), st.data())
def test_every_tensor_keeps_its_share_of_candidates(
    scores: Named, share: float, chunk: int, data: st.DataObject
):
    within = draw_within(data, scores)
    with chunks_of(chunk):
        masks = select_per_tensor(shapes_of(scores), scores.__getitem__, share_kept=share, within=within)
    assert as_lists(masks) == {
        name: largest(flat(scores[name]), allowed, half_up(share, sum(allowed)))
        for name, allowed in allowed_of(scores, within).items()
    }


@given(tensors(), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([1, 5]), st.data())
def test_every_row_keeps_its_share_of_candidates(
    scores: Named, share: float, chunk: int, data: st.DataObject
):
    within = draw_within(data, scores)
    with chunks_of(chunk):
        masks = select_per_row(shapes_of(scores), scores.__getitem__, share_kept=share, within=within)
    for name, allowed in allowed_of(scores, within).items():
        width = width_of(tuple(scores[name].shape))
        expected = [
            largest(row, places, half_up(share, sum(places)))
            for row, places in zip(cut(flat(scores[name]), width), cut(allowed, width), strict=True)
        ]
        assert cut(flat(masks[name]), width) == expected


@given(tensors(shapes=MATRICES), st.sampled_from([(1, 2), (2, 4), (4, 4)]), st.data())
def test_every_group_keeps_its_largest(scores: Named, n_of_m: tuple[int, int], data: st.DataObject):
    n, m = n_of_m
    within = draw_within(data, scores)
    with chunks_of(7):
        masks = select_n_of_m(shapes_of(scores), scores.__getitem__, n=n, m=m, within=within)
    for name, allowed in allowed_of(scores, within).items():
        groups = zip(cut(flat(scores[name]), m), cut(allowed, m), strict=True)
        expected = [largest(group, places, n) for group, places in groups]
        assert cut(flat(masks[name]), m) == expected


@given(tensors(shapes=MATRICES), st.sampled_from(["global", "tensor", "row"]), st.sampled_from([0.1, 0.5]))
def test_a_scope_prunes_its_share_of_all_weights(scores: Named, scope: str, sparsity: float):
    shapes = shapes_of(scores)
    total = sum(tensor.numel() for tensor in scores.values())
    if not total:
        return
    masks = select(shapes, scores.__getitem__, scope=parse_scope(scope), sparsity=sparsity)
    if scope == "global":
        by_number = select_global(shapes, scores.__getitem__, num_kept=half_up(1 - sparsity, total))
    elif scope == "tensor":
        by_number = select_per_tensor(shapes, scores.__getitem__, share_kept=1 - sparsity)
    else:
        by_number = select_per_row(shapes, scores.__getitem__, share_kept=1 - sparsity)
    assert as_lists(masks) == as_lists(by_number)


@pytest.mark.parametrize("scope", ["global", "tensor", "row"])
def test_rounds_of_pruning_nest_and_count_all_weights(scope: str):
    scores = {"a": torch.randn(6, 20), "b": torch.randn(40)}
    shapes, within = shapes_of(scores), None
    for sparsity, num_kept in [(0.0, 160), (0.5, 80), (0.75, 40), (0.9, 16)]:
        masks = select(shapes, scores.__getitem__, scope=parse_scope(scope), sparsity=sparsity, within=within)
        assert count_places(masks) == num_kept
        once = select(shapes, scores.__getitem__, scope=parse_scope(scope), sparsity=sparsity)
        assert as_lists(masks) == as_lists(once)
        within = masks


def test_n_of_m_needs_no_sparsity():
    scores = {"w": torch.tensor([[1.0, 4.0, 3.0, 2.0], [-1.0, -1.0, -1.0, -1.0]])}
    for sparsity in (None, 0.5):
        masks = select({"w": (2, 4)}, scores.__getitem__, scope=parse_scope("2:4"), sparsity=sparsity)
        assert masks["w"].tolist() == [[False, True, True, False], [True, True, False, False]]


def test_float64_scores_are_told_apart_beyond_float32():
    scores = {
        "half": torch.tensor([1.0, 1.0], dtype=torch.bfloat16),
        "fine": torch.tensor([1.0 + 2**-50, 1.0 - 2**-50], dtype=torch.float64),
    }
    masks = select_global(shapes_of(scores), scores.__getitem__, num_kept=2)
    assert as_lists(masks) == {"half": [True, False], "fine": [True, False]}


def test_scores_that_lie_in_memory_in_another_order_are_read_in_theirs():
    score = torch.arange(6.0).reshape(2, 3).T
    masks = select_global({"w": (3, 2)}, lambda _: score, num_kept=2)
    assert masks["w"].tolist() == [[False, False], [False, True], [False, True]]


def test_scores_with_gradients_are_read_as_numbers():
    score = torch.tensor([1.0, 2.0], requires_grad=True)
    masks = select_global({"w": (2,)}, lambda _: score, num_kept=1)
    assert masks["w"].tolist() == [False, True]
    assert not masks["w"].requires_grad


def test_a_large_selection_equals_a_sort():
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.randn(300_001, generator=generator).round(decimals=3) for name in "ab"}
    masks = select_global(shapes_of(scores), scores.__getitem__, num_kept=123_457)
    order = torch.sort(torch.cat(list(scores.values())), descending=True, stable=True).indices[:123_457]
    assert torch.equal(torch.cat(list(masks.values())).nonzero()[:, 0], order.sort().values)


def test_a_selection_copies_a_chunk_at_a_time():
    scores = torch.randn(8, 500_000, generator=torch.Generator().manual_seed(0))
    for scope in ("global", "tensor", "row", "2:4"):
        tracemalloc.start()
        select({"w": (8, 500_000)}, lambda _: scores, scope=parse_scope(scope), sparsity=0.5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # A row of 500,000 is a chunk of its own, and is sorted with counts of what is equal.
        assert peak < (0.9 if scope == "row" else 0.5) * 4 * scores.numel(), scope


def test_a_global_selection_asks_three_times_for_scores():
    asked = []

    def score(name: str) -> torch.Tensor:
        asked.append(name)
        return torch.ones(3)

    select_global({"a": (3,), "b": (3,)}, score, num_kept=2)
    assert asked == ["a", "b"] * 3
    asked.clear()
    select_global({"a": (3,), "b": (3,)}, score, num_kept=0)
    assert asked == []


@pytest.mark.parametrize("num_kept", [-1, 1_201])
def test_more_than_the_candidates_cannot_be_kept(num_kept: int):
    with pytest.raises(OptionError) as caught:
        select_global({"w": (30, 40)}, lambda _: torch.ones(30, 40), num_kept=num_kept)
    assert str(caught.value) == (
        f"num_kept is {num_kept:,}. A whole number from 0 to 1,200 was expected, the places that may be kept. Keep "
        "fewer, or allow more places."
    )


@pytest.mark.parametrize("function", [select_per_tensor, select_per_row])
@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
def test_a_share_that_is_none_is_refused(function, share: float):
    with pytest.raises(OptionError) as caught:
        function({"w": (2,)}, lambda _: torch.ones(2), share_kept=share)
    assert str(caught.value) == (
        f"share_kept is {share}. A share from 0 to 1 was expected. Give one, for example 0.5."
    )


@pytest.mark.parametrize(
    ("scope", "within", "found"),
    [
        (
            "row",
            [[True] * 4, [True, False, False, False]],
            "row of 4 weights in 'w' has too few candidates: 1, where 2",
        ),
        ("row", [[False] * 4, [False] * 4], "row of 4 weights in 'w' has too few candidates: 0, where 2"),
        (
            "tensor",
            [[True] * 3 + [False], [False] * 4],
            "tensor of 8 weights in 'w' has too few candidates: 3, where 4",
        ),
    ],
)
def test_a_row_or_tensor_with_too_few_candidates_is_refused(scope: str, within: list, found: str):
    masks = {"w": torch.tensor(within), "other": torch.ones(9, dtype=torch.bool)}
    shapes = {"other": (9,), "w": (2, 4)}
    with pytest.raises(OptionError) as caught:
        select(
            shapes,
            lambda name: torch.ones(shapes[name]),
            scope=parse_scope(scope),
            sparsity=0.5,
            within=masks,
        )
    assert str(caught.value) == (
        f"A {found} are to be kept. At least as many were expected. Give a larger sparsity, or choose the scope that "
        "the candidates were chosen in."
    )


def test_a_selection_is_checked_before_scores_are_asked_for():
    def score(name: str) -> torch.Tensor:
        raise AssertionError(name)

    with pytest.raises(OptionError, match=r"^sparsity is 1\."):
        select({"w": (2,)}, score, scope=parse_scope("global"), sparsity=1.0)


def test_nan_is_refused_with_its_place():
    score = torch.arange(12.0).reshape(3, 4)
    score[1, 2] = math.nan
    for sign in (1.0, -1.0):
        with chunks_of(4), pytest.raises(GraftError) as caught:
            select_global(
                {"a.weight": (3, 4)}, lambda _, sign=sign: score.copysign(torch.tensor(sign)), num_kept=2
            )
        assert str(caught.value) == (
            "The scores of 'a.weight' hold NaN, first at the flat position 6. Numbers or infinities were expected, "
            "because NaN is neither larger nor smaller than another score. Look for a loss or a gradient that is not "
            "finite."
        )


def test_scores_of_another_shape_are_refused():
    with pytest.raises(GraftError) as caught:
        select_global({"w": (2, 3)}, lambda _: torch.ones(3, 2), num_kept=2)
    assert str(caught.value) == (
        "The scores of 'w' have the shape (3, 2), and the weight has (2, 3). One score for each weight was expected. "
        "Give scores that were made for these weights."
    )


def test_scores_that_are_whole_numbers_are_refused():
    with pytest.raises(GraftError) as caught:
        select_global({"w": (2,)}, lambda _: torch.ones(2, dtype=torch.int32), num_kept=1)
    assert str(caught.value) == (
        "The scores of 'w' are of the dtype int32. float32, bfloat16, float16 or float64 was expected. Convert them, "
        "for example by `.float()`."
    )


def test_candidates_of_another_shape_are_refused():
    with pytest.raises(GraftError) as caught:
        select_global(
            {"w": (2,)}, lambda _: torch.ones(2), num_kept=1, within={"w": torch.ones(3, dtype=torch.bool)}
        )
    assert str(caught.value) == (
        "The mask of 'w' has the shape (3,), and the weight has (2,). One bool for each weight was expected. Use a "
        "mask that was made for these weights."
    )
