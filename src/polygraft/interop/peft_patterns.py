"""Regular expressions of a configuration of PEFT, which say what layers it is about."""

from __future__ import annotations

import re

from polygraft.errors import DataError

MOST_CHARACTERS = 4000
"""How long a pattern may be."""
MOST_REPEATS = 12
"""How many open repetitions, such as `.*`, a pattern may have: each can multiply the time that a match takes."""
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d*,?\d*\}|.",
    re.DOTALL,
)
"""What a pattern is made of: something escaped, a set, a number of times, or a character."""
_OPEN = re.compile(r"[*+]|\{\d*,\}|\{\d{2,},?\d*\}|\{\d*,\d{2,}\}")
"""What repeats without an end that counts: `*`, `+`, `{2,}`, or ten times and more."""


def compile_pattern(text: str, *, where: str) -> re.Pattern[str]:
    """Make a pattern of text, or refuse one that is none or that could take for ever.

    Args:
        text: The regular expression.
        where: What the messages call its place, such as `adapter_config.json, rank_pattern`.

    Raises:
        DataError: It is no regular expression, is too long, or repeats what repeats.
    """
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    if len(text) > MOST_CHARACTERS or _count_repeats(text) > MOST_REPEATS:
        raise DataError(
            f"{where} has the pattern '{shown}', which has {len(text)} characters and {_count_repeats(text)} open "
            f"repetitions. Expected at most {MOST_CHARACTERS} and {MOST_REPEATS}. Write the names of the layers as a "
            "list instead."
        )
    if _repeats_repeats(text):
        raise DataError(
            f"{where} has the pattern '{shown}', which repeats what repeats without an end, so that a match can take "
            "for ever. Expected repetitions beside each other. Write the names of the layers as a list instead."
        )
    try:
        return re.compile(text)
    except (re.error, OverflowError) as error:
        raise DataError(
            f"{where} has the pattern '{shown}', which is no regular expression: {error}. Expected one as Python "
            "reads it. Correct it, or write the names of the layers as a list."
        ) from None


def compile_end(text: str, *, where: str) -> re.Pattern[str]:
    """Make a pattern for whole names or ends of names behind a dot, as PEFT reads the keys of `rank_pattern`.

    Raises:
        DataError: As for `compile_pattern`.

    Example:
        >>> [bool(compile_end("q|k", where="x").match(name)) for name in ("layers.0.q", "k", "layers.0.sk")]
        [True, True, False]
    """
    compile_pattern(text, where=where)
    return re.compile(rf"(.*\.)?({text})$")


def _count_repeats(text: str) -> int:
    return sum(bool(_OPEN.fullmatch(token)) for token in _TOKEN.findall(text))


def _repeats_repeats(text: str) -> bool:
    """Say whether a group that repeats has an open repetition inside."""
    inside = [False]
    """For each open group whether it has one."""
    closed = False
    """Whether the group that ended just now has one."""
    for token in _TOKEN.findall(text):
        if _OPEN.fullmatch(token):
            if closed:
                return True
            inside[-1] = True
        if token == "(":
            inside.append(False)
        closed = token == ")" and len(inside) > 1 and inside.pop()
        # What a group has inside, the group around it has inside as well.
        inside[-1] = inside[-1] or closed
    return False
