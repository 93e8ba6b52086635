"""Random ways through a plan, of every form that one may have, over grafts of every kind."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from tests.test_laws import GRAFTS
from tests.tiny import make_base, make_trained_graft

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.attach.plan import Average, Fuse, Named, Parallel, Plan, Stack, list_names
from polygraft.base.base import Base
from polygraft.errors import GraftError, PlanError
from polygraft.parts.edit import EditLayers
from polygraft.parts.fusion import Fusion
from polygraft.parts.head import Head

FUSIONS = {"mix": [Fusion()], "mix-both": [Fusion(placement="attention+ffn", skip_layers=(1,))]}
SECOND = "-2"
"""What ends the name of a graft that was made as another one, with other values."""
FORMS = ("name", "name", "parameters", "outputs", "mix", "mix-both", "stack")
WEIGHTS = ((0.25, 0.75), (0.9, 0.1), (1.0, 0.0))
MAX_DEPTH = 2
TRIES = 200


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A tiny base and what plans may be drawn of."""

    base: Base
    grafts: dict[str, Graft]
    fitting: dict[str, frozenset[str]]
    """For each form, the grafts that may be its only member."""


FIRST = ("bert", torch.float32)
MADE: dict[tuple[str, torch.dtype], Drawn] = {}


def make_all(family: str, *, dtype: torch.dtype = torch.float32) -> Drawn:
    """A tiny base with two grafts of every kind that it can have, and two fusions, made once."""
    if not MADE and (family, dtype) != FIRST:
        make_all(FIRST[0])
    if (family, dtype) not in MADE:
        base = make_base(family, initializer_range=0.02)
        grafts: dict[str, Graft] = {}
        for seed, (kind, parts) in enumerate(GRAFTS.items()):
            for name, own_seed in ((kind, seed), (kind + SECOND, seed + 1000)):
                graft = make_trained_graft(base, name, parts, seed=own_seed)
                if is_possible(base, Named(name), {name: graft}):
                    grafts[name] = graft
                # Of the size of the base's own weights, which they change.
                for layers in graft.list_layers(EditLayers):
                    for value in layers.parameters():
                        value.data.mul_(0.1)
        for name, parts in FUSIONS.items():
            grafts[name] = make_trained_graft(base, name, parts)
        # What may stand where is told by the parts alike on every base; what is refused all the same is drawn anew.
        fitting = MADE[FIRST].fitting if MADE else _find_fitting(base, grafts)
        base.model.to(dtype)
        for graft in grafts.values():
            graft.layers.to(dtype)
        MADE[family, dtype] = Drawn(base=base, grafts=grafts, fitting=fitting)
    return MADE[family, dtype]


def _find_fitting(base: Base, grafts: Mapping[str, Graft]) -> dict[str, frozenset[str]]:
    return {
        form: frozenset(
            name for name in grafts if name not in FUSIONS and is_possible(base, _form(form, name), grafts)
        )
        for form in dict.fromkeys(FORMS)
    }


def _form(form: str, name: str) -> Plan:
    """Give a form with one graft in it, or with the two of a kind."""
    if form == "parameters":
        kind = name.removesuffix(SECOND)
        return Average((Named(kind), Named(kind + SECOND)))
    if form == "outputs":
        return Average((Named(name),), of="outputs")
    return Fuse((Named(name),), Named(form)) if form in FUSIONS else Named(name)


def is_possible(base: Base, way: Plan | None, grafts: Mapping[str, Graft]) -> bool:
    """Whether a plan means something, as `attach` says."""
    try:
        attach(base, way, grafts=grafts).remove()
    except (GraftError, PlanError):
        return False
    return True


class Drawer:
    """Draws ways through plans over the grafts of one base."""

    def __init__(self, drawn: Drawn, *, seed: int) -> None:
        self.drawn = drawn
        self.chance = random.Random(seed)
        self.left: list[str] = []
        """Grafts that the way does not name yet."""

    def draw_way(self, *, head: str | None = None) -> Plan:
        """Draw a way that means something: of up to three forms on each other.

        Args:
            head: The objective of a head that it is to have.
        """
        for _ in range(TRIES):
            self.left = [name for name in self.drawn.grafts if name not in FUSIONS]
            self.chance.shuffle(self.left)
            if head is not None:
                # To the front, where it is drawn first.
                wanted = next(name for name in self.left if self._has_head(Named(name), head))
                self.left.sort(key=lambda name: name != wanted)
            pool = frozenset(self.left)
            try:
                members = list(self._draw_members(self.chance.randint(1, 3), pool=pool, depth=0))
            except _NothingLeft:
                continue
            way = members[0] if len(members) == 1 else Stack(tuple(members))
            if (head is None or self._has_head(way, head)) and self._is_possible(way):
                return way
        raise AssertionError(f"none of {TRIES} plans meant something")

    def draw_ways(self, count: int, *, head: str | None = None) -> list[Plan | None]:
        """Draw ways for rows; where no head is asked for, one of six is the bare base."""
        return [
            None if head is None and self.chance.random() < 1 / 6 else self.draw_way(head=head)
            for _ in range(count)
        ]

    def draw_parallel(self, *, head: str | None = None) -> Plan:
        """Draw two ways side by side, or above a third."""
        for _ in range(TRIES):
            above = Parallel((self.draw_way(head=head), self.draw_way(head=head)))
            whole = above if self.chance.random() < 0.3 else Stack((self.draw_way(), above))
            if self._is_possible(whole):
                return whole
        raise AssertionError(f"none of {TRIES} plans meant something")

    def _is_possible(self, plan: Plan) -> bool:
        return is_possible(self.drawn.base, plan, self.drawn.grafts)

    def _has_head(self, way: Plan, objective: str) -> bool:
        parts = [part for named in list_names(way) for part in self.drawn.grafts[named.name].parts]
        return any(isinstance(part, Head) and part.objective == objective for part in parts)

    def _draw_members(self, count: int, *, pool: frozenset[str], depth: int) -> list[Plan]:
        forms = FORMS if depth < MAX_DEPTH else ("name", "parameters")
        return [self._draw_form(self.chance.choice(forms), pool=pool, depth=depth) for _ in range(count)]

    def _draw_form(self, form: str, *, pool: frozenset[str], depth: int) -> Plan:
        chance, pool = self.chance, pool & self.drawn.fitting[form]
        if form in {"name", "parameters"}:
            name = next((name for name in self.left if name in pool), None)
            if name is None:
                raise _NothingLeft
            self.left.remove(name)
            made = _form(form, name)
            return (
                replace(made, weights=chance.choice((None, *WEIGHTS))) if isinstance(made, Average) else made
            )
        members = tuple(self._draw_members(chance.randint(2, 3), pool=pool, depth=depth + 1))
        if form == "outputs":
            weights = chance.choice((None, *WEIGHTS)) if len(members) == 2 else None
            return Average(members, weights, "outputs")
        return Stack(members) if form == "stack" else Fuse(members, Named(form))


class _NothingLeft(Exception):  # noqa: N818
    """Every graft that would fit is in the way already."""


def list_forms(way: Plan | None) -> set[str]:
    """List the forms that stand in a way."""
    if way is None:
        return {"none"}
    if isinstance(way, Named):
        return {"name"}
    own = f"average of {way.of}" if isinstance(way, Average) else type(way).__name__.lower()
    return {own}.union(*map(list_forms, way.members))
