"""What a step trains and what it stores, told from its settings before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from polygraft.attach.graft import shape_layers
from polygraft.base.units import expand_units
from polygraft.parts.delta import Delta
from polygraft.parts.mask import Mask
from polygraft.parts.places import encode_places
from polygraft.parts.scores import Scores
from polygraft.prune.scope import count_kept, parse_scope
from polygraft.prune.scores import random
from polygraft.prune.select import select
from polygraft.prune.share import complement
from polygraft.recipe.bench import count_weights, find_shapes
from polygraft.recipe.lt_sft import NUM_BATCHES
from polygraft.recipe.methods import Full, Imp, LtSft, Movement, PackNet, Piggyback, Structured
from polygraft.recipe.packing import count_packed
from polygraft.recipe.structured import find_prunable_units, leave_out_biases
from polygraft.store.tensors import count_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.base.base import Base
    from polygraft.parts.part import Part
    from polygraft.recipe.methods import Method

SAMPLE = 1 << 18
"""Places of the mask by chance from which the size of a larger one's code is told."""
OF_BATCHES = ("movement", "fisher", "wanda")
"""Criteria that go through batches."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One training that a step goes through."""

    parts: tuple[Part, ...]
    """What is trained, with a value at every place also where only some places have one."""
    num_values: int
    """How many values are trained in fact."""
    num_held: int = 0
    """How many further values are held in memory meanwhile, float32."""
    is_scored: bool = True
    """Whether data kept apart is scored on the way, and the best values are kept."""
    is_saved: bool = False
    """Whether its end is kept as a checkpoint until the step is done."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """All trainings of a step, and the grafts that it stores."""

    rounds: tuple[Round, ...]
    stored: tuple[tuple[Part, ...], ...]
    """The parts of each graft that is stored."""
    num_scorings: int = 0
    """How often data kept apart is scored beside the trainings."""
    num_batches: int = 0
    """Batches that are gone through beside them."""
    num_chosen: int = 0
    """Weights among which places are chosen, over all choices."""


def draft_plain(base: Base, parts: Sequence[Part], *, is_scored: bool) -> Draft:
    """Say what the training of a graft that changes no weight is.

    Args:
        base: The base.
        parts: What the graft is made of.
        is_scored: Whether data kept apart is scored on the way.
    """
    trained = Round(parts=tuple(parts), num_values=count_values(base, parts), is_scored=is_scored)
    return Draft(rounds=(trained,), stored=(tuple(parts),))


def draft_method(
    base: Base,
    method: Method,
    *,
    head: Sequence[Part],
    skip_layers: tuple[int, ...],
    names: Sequence[str] = (),
    reach: float = math.inf,
) -> Draft:
    """Say what a method that changes weights trains and stores.

    How many places are kept is known; which ones is not, and so the size of their code is that of places by chance.

    Args:
        base: The base.
        method: The method.
        head: The head that is trained with the graft, if any.
        skip_layers: Layers in which the graft has nothing.
        names: The tasks that are packed into one set of weights, up to this one.
        reach: How far a value can move: the sum of the learning rates.

    Raises:
        OptionError: The method asks for what the base does not have.
    """
    if isinstance(method, Structured):
        method = leave_out_biases(base, method)
    shapes = find_shapes(base, method, skip_layers=skip_layers)
    about: dict[str, Any] = {"weights": method.weights, "skip_layers": skip_layers}
    draw = _Drawing(base=base, shapes=shapes, about=about, head=tuple(head), dtype=method.dtype)
    match method:
        case Full():
            return Draft(
                rounds=(draw.round(Delta(**about)),), stored=(draw.store(Delta, dtype=method.dtype),)
            )
        case LtSft():
            return _draft_lt_sft(draw, method)
        case Imp():
            return _draft_imp(draw, method)
        case Piggyback():
            return _draft_piggyback(draw, method, reach=reach)
        case PackNet():
            return _draft_packnet(draw, method, names)
        case Movement():
            return _draft_movement(draw, method)
        case Structured():
            return _draft_structured(draw, method)
        case _:
            raise AssertionError(method.kind)


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    """What the drafts of all methods use."""

    base: Base
    shapes: Mapping[str, tuple[int, ...]]
    about: dict[str, Any]
    head: tuple[Part, ...]
    dtype: Literal["float32", "float16"]

    @property
    def total(self) -> int:
        return count_weights(self.shapes)

    def round(self, *parts: Part, num_fewer: int = 0, **facts: Any) -> Round:
        """Say what is trained: all places of some parts but so many, and the head."""
        whole = (*parts, *self.head)
        num_values = count_values(self.base, whole) - num_fewer
        return Round(parts=whole, num_values=num_values, is_saved=True, **facts)

    def store(self, kind: type[Delta | Mask], **options: Any) -> tuple[Part, ...]:
        """Say what is stored: a part with some options, and the head."""
        return (kind(**self.about, **options), *self.head)

    def measure_code(self, share: float) -> int:
        return guess_code([math.prod(shape) for shape in self.shapes.values()], share=share)


def _draft_lt_sft(draw: _Drawing, method: LtSft) -> Draft:
    kept = count_kept(draw.shapes, scope=parse_scope(method.scope), sparsity=complement(method.density))
    delta = Delta(**draw.about)
    dense = [draw.round(delta, is_scored=False)] if method.choice == "change" else []
    sparse = draw.round(delta, num_fewer=draw.total - kept, num_held=draw.total * len(dense))
    code = draw.measure_code(kept / draw.total)
    return Draft(
        rounds=(*dense, sparse),
        stored=(draw.store(Delta, num_values=kept, num_code_bytes=code, dtype=draw.dtype),),
        num_batches=NUM_BATCHES if method.choice == "fisher" else 0,
        num_chosen=draw.total,
    )


def _draft_imp(draw: _Drawing, method: Imp) -> Draft:
    scope, mask = parse_scope(method.scope), Mask(**draw.about, retrained="all")
    # Beside what is trained: where the weights began, what was trained before, and what is cut from it.
    rounds = [draw.round(mask, num_held=draw.total)]
    stored: list[tuple[Part, ...]] = []
    num_cuts = 0
    for sparsity in method.sparsities:
        if sparsity == 0:
            stored.append(draw.store(Mask, retrained="all", dtype=draw.dtype))
            continue
        num_cuts += 1
        kept = count_kept(draw.shapes, scope=scope, sparsity=sparsity)
        if method.retrain != "never":
            rounds.append(draw.round(mask, num_fewer=draw.total - kept, num_held=3 * draw.total))
        code = draw.measure_code(kept / draw.total)
        facts = {"num_kept": kept, "num_code_bytes": code, "retrained": "all", "dtype": draw.dtype}
        stored.append(draw.store(Mask, **facts))
    return Draft(
        rounds=tuple(rounds),
        stored=tuple(stored),
        num_scorings=num_cuts * (2 if method.retrain == "never" else 1),
        num_batches=num_cuts * method.num_batches if method.criterion in OF_BATCHES else 0,
        num_chosen=num_cuts * draw.total,
    )


def _draft_piggyback(draw: _Drawing, method: Piggyback, *, reach: float) -> Draft:
    # Scores that cannot fall to the threshold keep everything; else a bit a weight is the most that it takes.
    keeps_all = reach < method.init - method.threshold
    kept = draw.total if keeps_all else draw.total // 2
    code = draw.measure_code(kept / draw.total)
    scores = Scores(**draw.about, init=method.init, threshold=method.threshold)
    return Draft(
        rounds=(draw.round(scores),),
        stored=(draw.store(Mask, num_kept=kept, num_code_bytes=code),),
        num_chosen=draw.total,
    )


def _draft_packnet(draw: _Drawing, method: PackNet, names: Sequence[str]) -> Draft:
    packed = count_packed(method, draw.shapes, names)
    own, left = packed[-1].num_own, packed[-1].num_free
    free, kept = own + left, draw.total - left
    mask = Mask(**draw.about, retrained="all")
    code, own_code = (draw.measure_code(count / draw.total) for count in (kept, own))
    return Draft(
        rounds=(
            draw.round(mask, num_fewer=draw.total - free, num_held=draw.total, is_scored=False),
            draw.round(mask, num_fewer=draw.total - own, num_held=2 * draw.total),
        ),
        stored=(
            draw.store(
                Mask,
                num_kept=kept,
                num_code_bytes=code,
                retrained="some",
                num_values=own,
                num_value_code_bytes=own_code,
                dtype=draw.dtype,
            ),
        ),
        num_chosen=2 * draw.total,
    )


def _draft_movement(draw: _Drawing, method: Movement) -> Draft:
    kept = count_kept(draw.shapes, scope=parse_scope("global"), sparsity=method.sparsity)
    code = draw.measure_code(kept / draw.total)
    trained = draw.round(Delta(**draw.about), Scores(**draw.about, init=0.0, threshold=-1.0), is_scored=False)
    mask = Mask(**draw.about, num_kept=kept, num_code_bytes=code)
    delta = Delta(**draw.about, num_values=kept, num_code_bytes=code, dtype=draw.dtype)
    return Draft(
        rounds=(trained,),
        stored=((delta, mask, *draw.head),),
        num_scorings=1,
        num_chosen=draw.total,
    )


def _draft_structured(draw: _Drawing, method: Structured) -> Draft:
    skipped = draw.about["skip_layers"]
    units = find_prunable_units(draw.base, method, draw.shapes, skip_layers=skipped)
    counts = {str(place): (each.num_units,) for place, each in enumerate(units)}
    scope = parse_scope(method.scope)
    chosen = select(counts, random(counts, seed=0), scope=scope, sparsity=method.sparsity)
    kept = {name: torch.ones(shape, dtype=torch.bool) for name, shape in draw.shapes.items()}
    for place, each in enumerate(units):
        for name, places in expand_units(each, kept=chosen[str(place)]).items():
            kept[name] &= places
    num_kept = sum(int(places.sum()) for places in kept.values())
    code = len(encode_places(list(kept.values())))
    mask = Mask(**draw.about, retrained="all")
    facts = {"num_kept": num_kept, "num_code_bytes": code, "retrained": "all", "dtype": draw.dtype}
    return Draft(
        rounds=(
            draw.round(mask, num_held=draw.total),
            draw.round(mask, num_fewer=draw.total - num_kept, num_held=3 * draw.total),
        ),
        stored=(draw.store(Mask, **facts),),
        num_scorings=1,
        num_batches=method.num_batches if method.criterion in OF_BATCHES else 0,
        num_chosen=draw.total,
    )


def count_values(base: Base, parts: Sequence[Part]) -> int:
    """Count the values that are trained of a graft of some parts."""
    return sum(tensor.numel() for tensor in shape_layers(base, parts).parameters())


def measure_stored(base: Base, parts: Sequence[Part]) -> int:
    """Give the bytes that the tensors of a graft of some parts take in a store: the size of their file."""
    tensors: dict[str, Tensor] = dict(shape_layers(base, parts).state_dict())
    return count_bytes(tensors)


def guess_code(sizes: Sequence[int], *, share: float) -> int:
    """Guess the bytes of the code of masks in which a share of the places is set by chance.

    Args:
        sizes: Places of each tensor.
        share: How many of them are set.

    Example:
        >>> guess_code([8000], share=0.5)
        1003
    """
    generator = torch.Generator().manual_seed(0)
    lengths: dict[int, int] = {}
    for size in sizes:
        if size not in lengths:
            drawn = min(size, SAMPLE)
            mask = torch.zeros(drawn, dtype=torch.bool)
            mask[torch.randperm(drawn, generator=generator)[: round(share * drawn)]] = True
            lengths[size] = round(len(encode_places([mask])) * size / drawn) if drawn else 2
    return sum(lengths[size] for size in sizes)
