"""Reads a plan from its text form; printing one is `str(plan)`."""

from __future__ import annotations

import math
import re

from polygraft.attach.plan import (
    NO_GRAFT,
    Average,
    Fuse,
    Named,
    Parallel,
    Plan,
    Route,
    Stack,
    check_average,
)
from polygraft.errors import PlanError, nearest

TOKEN = re.compile(r"\s*([(),=]|[A-Za-z0-9][A-Za-z0-9_.\-+:]*(?:@[0-9]{1,9})?)")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*(?:@[0-9]{1,9})?")
OPTIONS = {"stack": (), "fuse": ("by",), "average": ("weights", "of"), "parallel": (), "route": ()}
"""The forms, and what may be written in them as `key=value`."""
MAX_DEPTH = 20
"""How deep forms may stand in forms; nothing that means anything is deeper."""
EXAMPLE = "Write a graft's name, or for example stack(qu, ner)."


def parse_plan(text: str) -> Plan:
    """Read a plan such as `ner`, `ner@2`, `stack(qu, ner)` or `fuse(en, qu, by=mix)`.

    Raises:
        PlanError: The text is not a plan.

    Example:
        >>> str(parse_plan("stack( qu,ner )"))
        'stack(qu, ner)'
    """
    reader = _Reader(text)
    plan = reader.read(depth=0)
    if reader.at != len(reader.tokens):
        rest = " ".join(reader.tokens[reader.at :])
        raise PlanError(f"The plan '{text}' goes on after its end with '{rest}'. {EXAMPLE}")
    return plan


def parse_way(text: str) -> Plan | None:
    """Read a plan, or `none`, which is the bare base.

    Raises:
        PlanError: The text is not a plan.

    Example:
        >>> str(parse_way("ner")), parse_way(" none")
        ('ner', None)
    """
    return None if text.strip() == NO_GRAFT else parse_plan(text)


def _split(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if match is None:
            raise PlanError(
                f"The plan '{text}' has '{text[at:].strip()[0]}' where a name, a bracket or a comma was "
                "expected. "
                f"{EXAMPLE}"
            )
        tokens.append(match.group(1))
        at = match.end()
    return tokens


class _Reader:
    """Goes through the tokens of a plan's text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _split(text)
        self.at = 0

    def peek(self, ahead: int = 0) -> str:
        """Give a token that was not read yet, or nothing at the end."""
        return "".join(self.tokens[self.at + ahead : self.at + ahead + 1])

    def read(self, *, depth: int) -> Plan:
        """Read a name or a form."""
        if depth > MAX_DEPTH:
            raise PlanError(
                f"The plan has forms in forms more than {MAX_DEPTH} deep. Expected a few at most. {EXAMPLE}"
            )
        if self.peek(1) != "(":
            return self.read_name()
        form = self.peek()
        if form not in OPTIONS:
            raise PlanError(
                f"The plan '{self.text}' uses '{form}(...)'. Known forms are "
                f"{', '.join(OPTIONS)}.{nearest(form, OPTIONS)} "
                f"{EXAMPLE}"
            )
        self.at += 1
        members: list[Plan | None] = []
        options: dict[str, str] = {}
        while self.peek() != ")":
            self.at += 1
            if self.peek(1) == "=":
                self.read_option(form, options)
            elif form == "route" and self.peek() == NO_GRAFT and self.peek(1) != "(":
                members.append(None)
                self.at += 1
            else:
                members.append(self.read(depth=depth + 1))
            if self.peek() not in {",", ")"}:
                found = f"has '{self.peek()}'" if self.peek() else "ends"
                raise PlanError(
                    f"The plan '{self.text}' {found} where a comma or a closing bracket was expected. {EXAMPLE}"
                )
        self.at += 1
        return self.make(form, members, options)

    def read_name(self) -> Named:
        """Read a graft's name."""
        token = self.peek()
        if not token:
            raise PlanError(f"The plan '{self.text}' ends where a graft's name was expected. {EXAMPLE}")
        if NAME.fullmatch(token) is None:
            raise PlanError(
                f"The plan '{self.text}' has '{token}' where a graft's name was expected. {EXAMPLE}"
            )
        self.at += 1
        name, _, version = token.partition("@")
        return Named(name, int(version) if version else None)

    def read_option(self, form: str, options: dict[str, str]) -> None:
        """Read `key=value`."""
        key, value = self.peek(), self.peek(2)
        known = OPTIONS[form]
        if key in options:
            raise PlanError(
                f"The plan '{self.text}' gives '{key}=' twice in {form}(...): {key}={options[key]} and {key}={value}. "
                "Expected it once. Leave out one of the two."
            )
        if key not in known:
            meant = f"Expected {' or '.join(f'{each}=...' for each in known)}" if known else "Expected none"
            raise PlanError(
                f"The plan '{self.text}' has '{key}=' in {form}(...). {meant}.{nearest(key, known)} Correct the plan."
            )
        options[key] = value
        self.at += 3

    def make(self, form: str, members: list[Plan | None], options: dict[str, str]) -> Plan:
        """Make a form of what was read."""
        if form == "route":
            return Route(tuple(members))
        plans = tuple(member for member in members if member is not None)
        if not plans:
            raise PlanError(f"The plan '{self.text}' has '{form}(...)' without a graft. {EXAMPLE}")
        if form == "stack":
            return Stack(plans)
        if form == "parallel":
            return Parallel(plans)
        return self.make_fuse(plans, options) if form == "fuse" else self.make_average(plans, options)

    def make_fuse(self, plans: tuple[Plan, ...], options: dict[str, str]) -> Fuse:
        """Make a fusion, which names the graft that mixes."""
        by = options.get("by", "")
        if NAME.fullmatch(by) is None:
            raise PlanError(
                f"The plan '{self.text}' does not say which graft fuses. Expected by=NAME with a graft that has a "
                "fusion, as in fuse(en, qu, by=mix). Name it."
            )
        name, _, version = by.partition("@")
        return Fuse(plans, Named(name, int(version) if version else None))

    def make_average(self, plans: tuple[Plan, ...], options: dict[str, str]) -> Average:
        """Make an average, with its weights if there are any."""
        of = options.get("of", "parameters")
        if of not in {"parameters", "outputs"}:
            raise PlanError(
                f"The plan '{self.text}' averages '{of}'. Expected of=parameters or of=outputs. Correct the plan."
            )
        weights = None
        if "weights" in options:
            try:
                weights = tuple(float(word) for word in options["weights"].split(":"))
            except ValueError:
                weights = (math.nan,)
            if not all(map(math.isfinite, weights)):
                raise PlanError(
                    f"The plan '{self.text}' has the weights '{options['weights']}'. Expected a number a graft, as in "
                    "weights=0.3:0.7. Correct them."
                )
        made = Average(plans, weights, "outputs" if of == "outputs" else "parameters")
        check_average(made)
        return made
