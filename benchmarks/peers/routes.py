"""The grafts and plans of a routed batch."""

from __future__ import annotations

from collections.abc import Iterable

from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.plan import Named, Plan, stack
from polygraft.base.base import Base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")


def make_grafts(base: Base, *, count: int) -> list[Graft]:
    """Make languages of reduction 2 and tasks of reduction 16 with random values."""
    grafts: list[Graft] = []
    for index in range(count):
        grafts.append(make_graft(base, f"l{index}", [Bottleneck(reduction=2, init="bert")], seed=index))
        head = Head(objective="tokens", labels=LABELS)
        grafts.append(make_graft(base, f"t{index}", [Bottleneck(init="bert"), head], seed=100 + index))
    for graft in grafts:
        graft.layers.requires_grad_(False)
    return grafts


def make_plans(pairs: Iterable[tuple[int, int]]) -> list[Plan]:
    """Make a stack of each language and task."""
    return [stack(Named(f"l{language}"), Named(f"t{task}")) for language, task in pairs]
