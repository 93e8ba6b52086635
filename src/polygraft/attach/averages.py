"""Averages of parameters that are worked out once, for a plan that is put in force again and again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from polygraft.attach.find import Finder
from polygraft.attach.plan import Average, Named, Plan, list_names
from polygraft.attach.resolve import grow_tree
from polygraft.attach.tree import Leaf

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base


def work_out_averages(
    base: Base, plans: Sequence[Plan], grafts: Mapping[str, Graft], *, learned: Graft
) -> dict[str, Graft]:
    """Make the averages of parameters in some plans, by what the plans write: what `attach` takes among its grafts.

    Args:
        base: Their base.
        plans: The plans.
        grafts: The grafts that they name, by name; averages among them are not made again.
        learned: The one whose values change, of which no average lasts.

    Raises:
        GraftError: Grafts that are averaged were not made alike, or have no sum.
        PlanError: An average is one of whole stacks, or names a graft that is not there.
    """
    made: dict[str, Graft] = {}
    for average in (average for plan in plans for average in _list_averages(plan)):
        is_frozen = all(grafts.get(str(named)) is not learned for named in list_names(average))
        if str(average) not in {**made, **grafts} and is_frozen:
            tree = grow_tree(average, Finder(base, average, grafts, None, any_base=True))
            assert isinstance(tree, Leaf)
            made[str(average)] = tree.graft
    return made


def _list_averages(plan: Plan | None) -> Iterator[Average]:
    """List the outermost averages of parameters in a plan."""
    if isinstance(plan, Average) and plan.of == "parameters":
        yield plan
    elif plan is not None and not isinstance(plan, Named):
        for member in plan.members:
            yield from _list_averages(member)
