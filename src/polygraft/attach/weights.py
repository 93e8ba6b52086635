"""Grafts that change a base's weights: put in, differentiated, and taken out again bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.errors import GraftError
from polygraft.parts.edit import EditLayers, mark
from polygraft.parts.mask import MaskLayers

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base


@dataclass(kw_only=True)
class _Changed:
    """One weight, and what changes it, lowest first."""

    weight: nn.Parameter
    stacked: list[tuple[str, EditLayers]] = field(default_factory=list)
    """The parts, with the names of their grafts."""
    places: Tensor | None = None
    """The flat places that any of them may change, sorted [U]; None is all of them."""
    at: list[Tensor | None] = field(default_factory=list)
    """Where among these each part's own are."""
    original: Tensor | None = None
    """What stood at these places."""

    def read_original(self) -> Tensor:
        """Give the base's own numbers at the places, float32 [U], to be changed."""
        assert self.original is not None
        return self.original.to(torch.float32, copy=True)


class WeightEdits:
    """What the grafts of one attachment make of the base's weights.

    The numbers at all touched places are kept and put back by `remove`, however often and in whatever order grafts
    come and go. Weights that a graft in training changes are differentiated; their gradient is reduced to the graft's
    own values as soon as it is there, weight by weight, and let go.

    Args:
        base: The base.
        grafts: The grafts of the plan, lowest first.
        learns: Whether grafts in training get gradients.
    """

    def __init__(self, base: Base, grafts: Sequence[Graft], *, learns: bool = True) -> None:
        self.learns = learns
        self.changed: dict[str, _Changed] = {}
        self.handles: list[RemovableHandle] = []
        self.waiting: set[str] = set()
        """Weights that are being trained and had no gradient yet."""
        edits = [
            (graft.name, layers)
            for graft in grafts
            for layers in graft.layers.children()
            if isinstance(layers, EditLayers)
        ]
        if not edits:
            return
        refuse_int8(base, edits[0][0])
        try:
            self._collect(base, edits)
            self._put_in()
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Put back what stood in the base. Safe to call twice."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        with torch.no_grad():
            for changed in self.changed.values():
                changed.weight.requires_grad_(False)
                changed.weight.grad = None
                if changed.original is not None:
                    _write(changed.weight, changed.places, changed.original)
        self.changed.clear()

    def find_name(self, weight: Tensor) -> str | None:
        """Give the name by which a weight is changed here, also where another name leads to the same numbers."""
        place = weight.data_ptr()
        return next((name for name, each in self.changed.items() if each.weight.data_ptr() == place), None)

    def find_learner(self, name: str) -> str | None:
        """Give the name of a graft in training that changes a weight, or None."""
        return next((graft for graft, layers in self.changed[name].stacked if layers.learns), None)

    def list_conflicts(self) -> list[str]:
        """Say where a mask undoes what a graft below it made of the same weights."""
        counts: dict[tuple[str, str], list[int]] = {}
        for name, changed in self.changed.items():
            for index, (above, layers) in enumerate(changed.stacked):
                if isinstance(layers, MaskLayers):
                    under = changed.stacked[:index]
                    for below in dict.fromkeys(graft for graft, _ in under if graft != above):
                        others = [each for graft, each in under if graft == below]
                        num = count_undone(layers, others, name, size=changed.weight.numel())
                        counts.setdefault((above, below), []).append(num)
        return [
            f"The mask of '{above}' wins over the graft '{below}' below it at {sum(nums):,} places of "
            f"{sum(num > 0 for num in nums)} weights, where both change the same one."
            for (above, below), nums in counts.items()
            if sum(nums)
        ]

    def _collect(self, base: Base, edits: Sequence[tuple[str, EditLayers]]) -> None:
        weights = dict(base.model.named_parameters())
        for graft, layers in edits:
            check_weights(base, graft, layers)
            for info in layers.infos:
                changed = self.changed.setdefault(info.name, _Changed(weight=weights[info.name]))
                changed.stacked.append((graft, layers))

    def _put_in(self) -> None:
        for name, changed in self.changed.items():
            own = [layers.find_places(name) for _, layers in changed.stacked]
            sparse = [places for places in own if places is not None]
            if len(sparse) == len(own):
                changed.places = sparse[0] if len(sparse) == 1 else torch.cat(sparse).unique()
            changed.at = [_locate(places, changed.places) for places in own]
            with torch.no_grad():
                flat = changed.weight.detach().view(-1)
                changed.original = flat.clone() if changed.places is None else flat[changed.places]
                v = changed.read_original()
                self._apply(name, changed, v, until=len(own))
                _write(changed.weight, changed.places, v)
            if self.learns and any(layers.learns for _, layers in changed.stacked):
                changed.weight.requires_grad_(True)
                self.waiting.add(name)
                hook = self._make_hook(name, changed)
                self.handles.append(changed.weight.register_post_accumulate_grad_hook(hook))

    @staticmethod
    def _apply(name: str, changed: _Changed, v: Tensor, *, until: int) -> None:
        for (_, layers), at in zip(changed.stacked[:until], changed.at[:until], strict=True):
            layers.edit(name, v, at=at)

    def _make_hook(self, name: str, changed: _Changed) -> Callable[[Tensor], None]:
        def reduce(weight: Tensor) -> None:
            dense, weight.grad = weight.grad, None
            assert dense is not None
            self.waiting.discard(name)
            flat = dense.reshape(-1)
            grad = flat.float() if changed.places is None else flat[changed.places].float()
            with torch.no_grad():
                for index in reversed(range(len(changed.stacked))):
                    _, layers = changed.stacked[index]
                    layers.differentiate(
                        name,
                        grad,
                        at=changed.at[index],
                        below=lambda top=index: self._below(name, changed, top),
                    )

        return reduce

    def _below(self, name: str, changed: _Changed, top: int) -> Tensor:
        v = changed.read_original()
        self._apply(name, changed, v, until=top)
        return v


def _write(weight: nn.Parameter, places: Tensor | None, values: Tensor) -> None:
    """Set the numbers of a weight at some places, or all; PyTorch counts the change."""
    flat = weight.detach().view(-1)
    if places is None:
        flat.copy_(values)
    else:
        flat[places] = values.to(flat.dtype)


def _locate(places: Tensor | None, among: Tensor | None) -> Tensor | None:
    """Give where some sorted places are among others, or None where both are the same."""
    if places is among:
        return None
    if among is None:
        return places
    assert places is not None
    return torch.searchsorted(among, places)


def count_undone(mask: MaskLayers, others: Sequence[EditLayers], name: str, *, size: int) -> int:
    """Count the places of a weight that the parts of a graft below may change and the mask sets to something else."""
    touched = torch.zeros(size, dtype=torch.bool)
    for other in others:
        places = other.find_kept(name) if isinstance(other, MaskLayers) else other.find_places(name)
        touched |= mark(places, size=size)
    left = mark(mask.find_kept(name), size=size) & ~mark(mask.find_valued(name), size=size)
    return int((touched & ~left).sum())


def check_weights(base: Base, graft: str, layers: EditLayers) -> None:
    """Refuse a part that changes weights which a base does not have.

    Args:
        base: The base.
        graft: What messages call the graft.
        layers: The part.

    Raises:
        GraftError: It does.
    """
    weights = dict(base.model.named_parameters())
    for info in layers.infos:
        if info.name not in weights or tuple(weights[info.name].shape) != info.shape:
            raise GraftError(
                f"The graft '{graft}' changes the weight '{info.name}' of the shape {list(info.shape)}, which "
                f"the base '{base.name}' does not have. Load the base that the graft was made for."
            )


def refuse_int8(base: Base, graft: str) -> None:
    """Refuse a graft that changes weights for a base whose weights were rounded.

    Args:
        base: The base.
        graft: What messages call the graft.

    Raises:
        GraftError: The base was loaded in int8.
    """
    if base.is_int8:
        raise GraftError(
            f"The graft '{graft}' changes weights of the base, and the base '{base.name}' was loaded in int8, whose "
            "weights were rounded once. Expected float32 or bfloat16. Load it with another --dtype."
        )
