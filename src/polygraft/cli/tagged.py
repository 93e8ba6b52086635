"""Tagged sentences in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.text import Text

STYLES = ("bold cyan", "bold magenta", "bold green", "bold yellow", "bold blue", "bold red")


class TextSpan(NamedTuple):
    """A stretch of a text with a type."""

    type: str
    start: int
    end: int


def choose_styles(labels: Sequence[str]) -> dict[str, str]:
    """Give each type of the labels a style; equal labels give equal styles.

    Example:
        >>> choose_styles(["O", "B-LOC", "I-LOC"])
        {'LOC': 'bold cyan'}
    """
    types = sorted({label.split("-", 1)[-1] for label in labels} - {"O"})
    return {name: STYLES[index % len(STYLES)] for index, name in enumerate(types)}


def draw_spans(text: str, spans: Sequence[TextSpan], *, styles: Mapping[str, str]) -> Text:
    """Draw a text with its spans in brackets and colour, each followed by its type.

    Example:
        >>> draw_spans("Ana in Lima", [TextSpan("LOC", 7, 11)], styles={}).plain
        'Ana in [Lima LOC]'
    """
    drawn, at = Text(), 0
    for span in spans:
        style = styles.get(span.type, STYLES[0])
        drawn.append(text[at : span.start])
        drawn.append("[", style="dim").append(text[span.start : span.end], style=style)
        drawn.append(f" {span.type}", style=f"dim {style.removeprefix('bold ')}").append("]", style="dim")
        at = span.end
    return drawn.append(text[at:])


def draw_tags(tokens: Sequence[str], tags: Sequence[str], *, styles: Mapping[str, str]) -> Text:
    """Draw a sentence of tokens with its tags.

    Example:
        >>> draw_tags(["Ana", "in", "Lima"], ["B-PER", "O", "B-LOC"], styles={}).plain
        '[Ana PER] in [Lima LOC]'
    """
    from polygraft.evaluate.spans import read_spans

    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token) + 1)
    spans = [TextSpan(span.type, starts[span.start], starts[span.end] - 1) for span in read_spans(tags)]
    return draw_spans(" ".join(tokens), spans, styles=styles)
