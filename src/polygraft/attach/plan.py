"""Plans: how grafts combine. Pure values with a text form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from polygraft.errors import PlanError


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
        return f"stack({', '.join(str(member) for member in self.members)})"


Plan = Named | Stack


def stack(*members: Plan | str) -> Stack:
    """Put grafts one on top of the other.

    Raises:
        PlanError: There is no member.

    Example:
        >>> str(stack("qu", "ner"))
        'stack(qu, ner)'
    """
    if not members:
        raise PlanError(
            "A stack has no member. Expected names of grafts, as in stack(qu, ner). Name at least one."
        )
    return Stack(tuple(Named(member) if isinstance(member, str) else member for member in members))


def stack_names(names: Sequence[str]) -> Plan:
    """Put grafts of one name or more on top of each other; one alone is its own plan.

    Example:
        >>> str(stack_names(["qu", "ner"])), str(stack_names(["ner"]))
        ('stack(qu, ner)', 'ner')
    """
    return Named(names[0]) if len(names) == 1 else stack(*names)


def list_names(plan: Plan) -> list[Named]:
    """List the grafts of a plan, lowest first.

    Example:
        >>> [str(name) for name in list_names(stack("en", stack("qu", "ner")))]
        ['en', 'qu', 'ner']
    """
    if isinstance(plan, Named):
        return [plan]
    return [name for member in plan.members for name in list_names(member)]


def check_names(plan: Plan) -> None:
    """Refuse a plan that names a graft more than once.

    Raises:
        PlanError: It does.

    Example:
        >>> check_names(stack("en", "ner"))
    """
    names = [named.name for named in list_names(plan)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PlanError(
            f"The plan '{plan}' names '{twice}' {names.count(twice)} times. A graft acts once in a plan. "
            "Name each graft once."
        )
