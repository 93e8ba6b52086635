"""What selection is compared with: a stable sort of a Python list."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from hypothesis import strategies as st
from torch import Tensor

Named = dict[str, Tensor]

VALUES = [-math.inf, -2.5, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 1.0000001, 3e38, math.inf]
FLOATS = st.one_of(st.sampled_from(VALUES), st.floats(allow_nan=False, width=32))
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])
SHAPES = st.lists(st.sampled_from([(), (0,), (1,), (7,), (2, 3), (3, 4), (2, 2, 4)]), min_size=1, max_size=4)


@st.composite
def tensors(draw: st.DrawFn, *, shapes: st.SearchStrategy[list[tuple[int, ...]]] = SHAPES) -> Named:
    """Some tensors of scores of a dtype each, with few distinct values or many."""
    values = draw(st.sampled_from([FLOATS, st.sampled_from(VALUES), st.sampled_from([-0.0, 0.0])]))
    named: Named = {}
    for number, shape in enumerate(draw(shapes)):
        size = math.prod(shape)
        given = draw(st.lists(values, min_size=size, max_size=size))
        named[f"w{number}"] = torch.tensor(given, dtype=torch.float64).reshape(shape).to(draw(DTYPES))
    return named


@st.composite
def masks_of(draw: st.DrawFn, shapes: Mapping[str, tuple[int, ...]]) -> Named:
    """A mask for some of the tensors."""
    masks: Named = {}
    for name, shape in shapes.items():
        if draw(st.booleans()):
            size = math.prod(shape)
            given = draw(st.lists(st.booleans(), min_size=size, max_size=size))
            masks[name] = torch.tensor(given, dtype=torch.bool).reshape(shape)
    return masks


def shapes_of(scores: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in scores.items()}


def largest(values: list[float], allowed: list[bool], num_kept: int) -> list[bool]:
    """The places of the largest values; sorted() leaves equal ones in their order."""
    places = [place for place, is_allowed in enumerate(allowed) if is_allowed]
    kept = set(sorted(places, key=lambda place: -values[place])[:num_kept])
    return [place in kept for place in range(len(values))]


def flat(tensor: Tensor) -> list[float]:
    return tensor.reshape(-1).tolist()


def allowed_of(scores: Named, within: Mapping[str, Tensor] | None) -> dict[str, list[bool]]:
    nothing = {name: torch.zeros(tensor.shape).bool() for name, tensor in scores.items()}
    return {
        name: [True] * tensor.numel()
        if within is None
        else within.get(name, nothing[name]).reshape(-1).tolist()
        for name, tensor in scores.items()
    }
