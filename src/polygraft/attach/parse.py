"""Reads a plan from its text form; printing one is `str(plan)`."""

from __future__ import annotations

import re

from polygraft.attach.plan import Named, Plan, Stack
from polygraft.errors import PlanError, nearest

TOKEN = re.compile(r"\s*([(),]|[A-Za-z0-9][A-Za-z0-9_.\-]*(?:@[0-9]{1,9})?)")
FORMS = ("stack",)
MAX_DEPTH = 20
"""How deep forms may stand in forms; nothing that means anything is deeper."""
EXAMPLE = "Write a graft's name, or for example stack(qu, ner)."


def parse_plan(text: str) -> Plan:
    """Read a plan such as `ner`, `ner@2` or `stack(qu, ner)`.

    Raises:
        PlanError: The text is not a plan.

    Example:
        >>> str(parse_plan("stack( qu,ner )"))
        'stack(qu, ner)'
    """
    tokens = _split(text)
    plan, at = _read(text, tokens, 0, depth=0)
    if at != len(tokens):
        raise PlanError(f"The plan '{text}' goes on after its end with '{' '.join(tokens[at:])}'. {EXAMPLE}")
    return plan


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


def _read(text: str, tokens: list[str], at: int, *, depth: int) -> tuple[Plan, int]:
    if at >= len(tokens):
        raise PlanError(f"The plan '{text}' ends where a graft's name was expected. {EXAMPLE}")
    if depth > MAX_DEPTH:
        raise PlanError(
            f"The plan has forms in forms more than {MAX_DEPTH} deep. Expected a few at most. {EXAMPLE}"
        )
    token = tokens[at]
    if token in "(),":
        raise PlanError(f"The plan '{text}' has '{token}' where a graft's name was expected. {EXAMPLE}")
    if tokens[at + 1 : at + 2] != ["("]:
        name, _, version = token.partition("@")
        return Named(name, int(version) if version else None), at + 1
    if token not in FORMS:
        raise PlanError(
            f"The plan '{text}' uses '{token}(...)'. Known forms are "
            f"{', '.join(FORMS)}.{nearest(token, FORMS)} "
            f"{EXAMPLE}"
        )
    members: list[Plan] = []
    at += 1
    while tokens[at : at + 1] != [")"]:
        member, at = _read(text, tokens, at + 1, depth=depth + 1)
        members.append(member)
        if tokens[at : at + 1] not in ([","], [")"]):
            found = f"has '{tokens[at]}'" if at < len(tokens) else "ends"
            raise PlanError(
                f"The plan '{text}' {found} where a comma or a closing bracket was expected. {EXAMPLE}"
            )
    return Stack(tuple(members)), at + 1
