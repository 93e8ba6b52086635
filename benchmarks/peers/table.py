"""Medians, ranges and ratios of what was measured, and whether they reach the goals."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from works import SIDES, Goal, Work

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""What each side gave, round for round."""
UNITS = {"rate": "tokens/s", "memory": "memory", "loss": "loss", "f1": "F1", "share": "share of the floor"}
LARGER_IS_BETTER = {"rate": True, "memory": False, "loss": False, "f1": True, "share": True}
SAME = 1e-3
"""How far the losses of two sides before training may be apart, in nats: they are the same function."""
FIRST_STEPS = 3
"""How many times as far the losses of the first steps may be: rounding grows."""


def take_median(results: Results, side: str, metric: str) -> float | None:
    """Give the median over the rounds, or None where a side has no such number."""
    found = [float(result[metric]) for result in results.get(side, ()) if metric in result]
    return statistics.median(found) if found else None


def format_cell(results: Results, side: str, metric: str) -> str:
    """Give a median with its range."""
    found = [float(result[metric]) for result in results[side] if metric in result]
    if not found:
        return "–"
    scale, form = {"rate": (1, ",.0f"), "memory": (1e-6, ",.0f"), "seconds": (1, ".1f")}.get(
        metric, (1, ".4f")
    )
    middle, low, high = (
        format(value * scale, form) for value in (statistics.median(found), min(found), max(found))
    )
    return middle if low == high else f"{middle} ({low} to {high})"


def format_work(work: Work, results: Results) -> str:
    """Give the table of one work, its goals, and whether its sides are one function."""
    columns = {
        "rate": "tokens/s",
        "seconds": "s",
        "memory": "MB above the base",
        "initial_loss": "first held-out loss",
        "loss": "held-out loss",
        "f1": "dev F1",
        "share": "share of the floor",
        "share_with_own_products": "with the graft's own products",
    }
    used = [name for name in columns if any(name in result for rows in results.values() for result in rows)]
    lines = [
        f"## {work.title} (`{work.name}`)",
        "",
        "| side | " + " | ".join(columns[name] for name in used) + " | how |",
        "|---" * (len(used) + 2) + "|",
    ]
    for side, rows in results.items():
        missing = next((result["missing"] for result in rows if "missing" in result), None)
        cells = [format_cell(results, side, name) for name in used]
        lines.append(f"| {side} | " + " | ".join([*cells, missing or SIDES[side][1]]) + " |")
    lines += ["", *(f"- {line}" for line in list_goals(work, results)), *list_differences(work, results)]
    return "\n".join(lines)


def list_goals(work: Work, results: Results) -> list[str]:
    """Say what each goal's ratio or difference is, and whether it is reached."""
    return [line for goal in work.goals if (line := format_goal(goal, results)) is not None]


def format_goal(goal: Goal, results: Results) -> str | None:
    """Say it of one goal; None where a side was not run."""
    own = take_median(results, goal.side, goal.metric)
    if own is None:
        return None
    if not goal.against:
        return f"{UNITS[goal.metric]} of {goal.side}: {own:.2f}{judge(goal, own)}"
    found = {side: take_median(results, side, goal.metric) for side in goal.against}
    others = {side: value for side, value in found.items() if value is not None}
    if not others:
        return None
    best = (max if LARGER_IS_BETTER[goal.metric] else min)(others, key=lambda side: others[side])
    if goal.metric in ("loss", "f1"):
        # Of runs with one seed; a difference of medians would be one of different seeds.
        apart = _pair(goal, results, best, operator.sub)
        value = statistics.mean(apart)
        shown = f"{value:+.4f} in the mean{_format_rounds(apart, '+.4f')}"
    else:
        value = own / others[best]
        ratios = _pair(goal, results, best, operator.truediv)
        shown = f"{value:.2f} times{_format_rounds(ratios, '.2f')}"
    return f"{UNITS[goal.metric]} of {goal.side} against {best}: {shown}{judge(goal, value)}"


def _pair(goal: Goal, results: Results, other: str, compare: Callable[[float, float], float]) -> list[float]:
    """Compare two sides round by round, in which both had one seed and ran one soon after the other."""
    pairs = zip(results[goal.side], results[other], strict=True)
    return [
        compare(float(own[goal.metric]), float(row[goal.metric]))
        for own, row in pairs
        if goal.metric in own and goal.metric in row
    ]


def _format_rounds(values: Sequence[float], form: str) -> str:
    """Give the least and the largest value of a round."""
    if len(values) < 2:
        return ""
    return f" ({min(values):{form}} to {max(values):{form}} in single rounds)"


def judge(goal: Goal, value: float) -> str:
    """Compare a number with its goal."""
    if goal.at_least is not None:
        return f" (goal: at least {goal.at_least:g}; {'reached' if value >= goal.at_least else 'MISSED'})"
    if goal.at_most is not None:
        return f" (goal: at most {goal.at_most:.3g}; {'reached' if value <= goal.at_most else 'MISSED'})"
    return ""


def list_differences(work: Work, results: Results) -> list[str]:
    """Say whether the sides are one function before training, and take the same first steps on equal batches."""
    # Rounded weights are another function on purpose.
    first = {
        side: take_median(results, side, "initial_loss") for side in results if not side.endswith("int8")
    }
    known = {side: value for side, value in first.items() if value is not None}
    lines: list[str] = []
    if len(known) > 1:
        start, spread = next(iter(known.values())), max(known.values()) - min(known.values())
        lines = [
            f"- WRONG: before training, {side} is {value - start:+.4f} nats apart: it is not the same function"
            for side, value in known.items()
            if abs(value - start) > SAME
        ] or [f"- before training all sides are one function: their losses differ by {spread:.1e} at most"]
    # Over a sample of the pieces a loss is another number.
    own = "polygraft-exact" if work.kind == "mlm" else "polygraft"
    if own in results and "adapters" in results:
        pair = [results[side][0]["first_losses"] for side in (own, "adapters")]
        gap = max(abs(ours - theirs) for ours, theirs in zip(*pair, strict=True))
        what = (
            f"the losses of the first {len(pair[0])} steps of {own} and adapters differ by {gap:.1e} at most"
        )
        is_same = gap <= SAME * FIRST_STEPS
        lines.append(f"- {what}" if is_same else f"- WRONG: {what}: they do not train on the same batches")
    return lines
