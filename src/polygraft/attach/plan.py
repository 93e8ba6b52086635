"""Plans: how grafts combine. Pure values with a text form."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from typing_extensions import override

from polygraft.errors import PlanError

AverageOf = Literal["parameters", "outputs"]
NO_GRAFT = "none"
"""How the bare base is written, as a whole plan or among the members of a route."""


@dataclass(frozen=True)
class Named:
    """One graft by its name, with a version where it matters: `qu` or `qu@2`."""

    name: str
    version: int | None = None

    @override
    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Stack:
    """Grafts one on top of the other: the input goes through the first one first."""

    members: tuple[Plan, ...]

    @override
    def __str__(self) -> str:
        return f"stack({_join(self.members)})"


@dataclass(frozen=True)
class Fuse:
    """Grafts side by side, mixed by a graft that has learned how (AdapterFusion, Pfeiffer et al. 2021)."""

    members: tuple[Plan, ...]
    by: Named
    """The graft with the fusion."""

    @override
    def __str__(self) -> str:
        return f"fuse({_join(self.members)}, by={self.by})"


@dataclass(frozen=True)
class Average:
    """Grafts averaged: their parameters, or, side by side, their outputs."""

    members: tuple[Plan, ...]
    weights: tuple[float, ...] | None = None
    """One a member, with the sum 1; None weighs all alike."""
    of: AverageOf = "parameters"

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights in force."""
        return self.weights or (1 / len(self.members),) * len(self.members)

    @override
    def __str__(self) -> str:
        # Minus zero, which is zero, would not be read.
        weights = (
            "" if self.weights is None else f", weights={':'.join(repr(each + 0.0) for each in self.weights)}"
        )
        of = "" if self.of == "parameters" else f", of={self.of}"
        return f"average({_join(self.members)}{weights}{of})"


@dataclass(frozen=True)
class Parallel:
    """Grafts side by side on one input, each with an output of its own; what is below them is computed once."""

    members: tuple[Plan, ...]

    @override
    def __str__(self) -> str:
        return f"parallel({_join(self.members)})"


@dataclass(frozen=True)
class Route:
    """Plans of which each row of a batch goes through one; None is the bare base."""

    members: tuple[Plan | None, ...]

    @override
    def __str__(self) -> str:
        return f"route({_join(self.members)})"


Plan = Named | Stack | Fuse | Average | Parallel | Route


def _join(members: Sequence[Plan | None]) -> str:
    return ", ".join(NO_GRAFT if member is None else str(member) for member in members)


def _name_all(form: str, members: Sequence[Plan | str]) -> tuple[Plan, ...]:
    if not members:
        raise PlanError(
            f"A {form} has no member. Expected names of grafts, as in {form}(qu, ner). Name at least one."
        )
    return tuple(Named(member) if isinstance(member, str) else member for member in members)


def stack(*members: Plan | str) -> Stack:
    """Put grafts one on top of the other.

    Raises:
        PlanError: There is no member.

    Example:
        >>> str(stack("qu", "ner"))
        'stack(qu, ner)'
    """
    return Stack(_name_all("stack", members))


def fuse(*members: Plan | str, by: Named | str) -> Fuse:
    """Put grafts side by side and mix their outputs by a graft that has learned how.

    Args:
        members: The grafts.
        by: The graft with the fusion.

    Raises:
        PlanError: There is no member.

    Example:
        >>> str(fuse("en", "ner", by="mix"))
        'fuse(en, ner, by=mix)'
    """
    return Fuse(_name_all("fuse", members), Named(by) if isinstance(by, str) else by)


def average(
    *members: Plan | str, weights: Sequence[float] | None = None, of: AverageOf = "parameters"
) -> Average:
    """Average grafts.

    Args:
        members: The grafts.
        weights: One a member, with the sum 1; None weighs all alike.
        of: Of `parameters`, for grafts of one shape, as one graft; of `outputs`, side by side.

    Raises:
        PlanError: There is no member, or the weights are not one a member with the sum 1.

    Example:
        >>> str(average("qu", "ayr", weights=(0.25, 0.75)))
        'average(qu, ayr, weights=0.25:0.75)'
    """
    made = Average(_name_all("average", members), None if weights is None else tuple(map(float, weights)), of)
    check_average(made)
    return made


def parallel(*members: Plan | str) -> Parallel:
    """Let one input go through several grafts, each with an output of its own.

    Raises:
        PlanError: There is no member.

    Example:
        >>> str(stack("en", parallel("ner", "pos")))
        'stack(en, parallel(ner, pos))'
    """
    return Parallel(_name_all("parallel", members))


def check_no_graft(name: str) -> None:
    """Refuse the name that stands for the bare base in a route.

    Raises:
        PlanError: It is that.
    """
    if name == NO_GRAFT:
        raise PlanError(
            f"A graft was to be called '{NO_GRAFT}', which in a route means the bare base. Choose another name."
        )


def route(*members: Plan | str | None) -> Route:
    """Give each row of a batch a plan of its own among several; None is the bare base.

    Raises:
        PlanError: There is no member.

    Example:
        >>> str(route(stack("qu", "ner"), None))
        'route(stack(qu, ner), none)'
    """
    if not members:
        _name_all("route", ())
    return Route(tuple(Named(member) if isinstance(member, str) else member for member in members))


def check_average(plan: Average) -> None:
    """Refuse weights that are not one a member with the sum 1.

    Raises:
        PlanError: They are not.
    """
    weights = plan.weights
    if weights is not None and (
        len(weights) != len(plan.members) or not abs(sum(weights) - 1) < 1e-6 or min(weights) < 0
    ):
        raise PlanError(
            f"The plan '{plan}' has {len(weights)} weights with the sum {sum(weights):g} for {len(plan.members)} "
            "grafts. Expected one a graft, none below 0, with the sum 1. Correct the weights."
        )


def stack_names(names: Sequence[str]) -> Plan:
    """Put grafts of one name or more on top of each other; one alone is its own plan.

    Example:
        >>> str(stack_names(["qu", "ner"])), str(stack_names(["ner"]))
        ('stack(qu, ner)', 'ner')
    """
    return Named(names[0]) if len(names) == 1 else stack(*names)


def list_names(plan: Plan) -> list[Named]:
    """List the grafts of a plan, lowest first; that of a fusion comes after its members.

    Example:
        >>> [str(name) for name in list_names(stack("en", stack("qu", "ner")))]
        ['en', 'qu', 'ner']
    """
    if isinstance(plan, Named):
        return [plan]
    names = [name for member in plan.members if member is not None for name in list_names(member)]
    return [*names, plan.by] if isinstance(plan, Fuse) else names


def is_stack(plan: Plan) -> bool:
    """Whether a plan is nothing but grafts on top of each other.

    Example:
        >>> is_stack(stack("en", stack("qu", "ner"))), is_stack(stack("en", average("a", "b")))
        (True, False)
    """
    return isinstance(plan, Named) or (isinstance(plan, Stack) and all(map(is_stack, plan.members)))


def drop_versions(plan: Plan) -> Plan:
    """Give the plan with the grafts' names alone.

    Example:
        >>> str(drop_versions(stack(Named("qu", 2), fuse("a", Named("b", 1), by="mix"))))
        'stack(qu, fuse(a, b, by=mix))'
    """
    if isinstance(plan, Named):
        return Named(plan.name)
    if isinstance(plan, Route):
        return Route(tuple(None if member is None else drop_versions(member) for member in plan.members))
    members = tuple(map(drop_versions, plan.members))
    if isinstance(plan, Fuse):
        return Fuse(members, Named(plan.by.name))
    return replace(plan, members=members)


def stack_over(below: Plan | None, above: Plan) -> Plan:
    """Put a plan over another, which stays as it is.

    Example:
        >>> str(stack_over(stack("mlm", "qu"), Named("ner"))), str(stack_over(None, Named("ner")))
        ('stack(mlm, qu, ner)', 'ner')
    """
    if below is None:
        return above
    return stack(*(below.members if isinstance(below, Stack) else (below,)), above)


def list_ways(plan: Plan) -> list[Plan | None]:
    """List what a row may go through: one way in most plans, several where there is a route or a parallel.

    Raises:
        PlanError: A route stands inside another form, or a parallel inside a fusion or an average.

    Example:
        >>> [str(way) for way in list_ways(stack("en", parallel("ner", "pos")))]
        ['stack(en, ner)', 'stack(en, pos)']
    """
    if not isinstance(plan, Route):
        return list(_list_inner(plan))
    ways: list[Plan | None] = []
    for member in plan.members:
        ways += [None] if member is None else _list_inner(member)
    if len(ways) != len(plan.members):
        raise PlanError(
            f"The plan '{plan}' has a parallel inside a route, whose rows have one output each. Expected one of "
            "both. Put the members of the parallel into the route."
        )
    return ways


def _list_inner(plan: Plan) -> list[Plan]:
    if isinstance(plan, Named):
        return [plan]
    if isinstance(plan, Route) or any(isinstance(member, Route) for member in plan.members):
        raise PlanError(
            f"The plan '{plan}' has a route inside another form. Expected it outermost, as in route(stack(qu, ner), "
            "stack(en, ner)). Write each row's whole plan into the route."
        )
    own = [_list_inner(member) for member in plan.members]
    if isinstance(plan, Parallel):
        return [way for ways in own for way in ways]
    if isinstance(plan, Stack):
        if all(len(ways) == 1 for ways in own):
            return [plan]
        return [Stack(ways) for ways in itertools.product(*own)]
    if any(len(ways) > 1 for ways in own):
        raise PlanError(
            f"The plan '{plan}' has a parallel inside a form that gives one output. Expected it outermost, or in a "
            "stack. Put the parallel around."
        )
    return [plan]


def check_names(plan: Plan) -> None:
    """Refuse a plan in which a row meets a graft more than once; versions of one name are different grafts.

    Raises:
        PlanError: It does.

    Example:
        >>> check_names(stack("en", "ner"))
    """
    for way in list_ways(plan):
        names = [] if way is None else list_names(way)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise PlanError(
                f"The plan '{way}' names '{twice}' {names.count(twice)} times. A graft acts once in a plan. "
                "Name each graft once."
            )
