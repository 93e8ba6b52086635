"""Which language's graft helps where a language has none: the grafts of others, against no language graft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polygraft.evaluate.overlap import Overlap
from polygraft.report.cells import DASH, Cell, Table
from polygraft.report.languages import language_name
from polygraft.report.numbers import format_difference
from polygraft.report.scores import BORROWED, TARGET, WITHOUT, Comparison, Grid, compare
from polygraft.report.tables import paired_cell
from polygraft.report.words import join_words

NEAREST = "nearest"
WORDS = {
    "other": "the graft of another language",
    NEAREST: "the graft of the nearest language",
    "average": "the mean of all grafts",
    "source": "the source\u2019s graft",
}
"""How a sentence calls what stands in for a language's own graft."""
AGAINST = {"none": "no language graft", "task alone": "the task graft alone"}
"""How it calls what that is compared with."""


@dataclass(frozen=True, kw_only=True)
class Borrowed:
    """A language without a graft of its own, and what others' grafts gained there."""

    language: str
    gains: tuple[tuple[str, Comparison], ...]
    """By condition, over the first of `WITHOUT` that was scored."""


def list_borrowed(grid: Grid) -> tuple[Borrowed, ...]:
    """List the languages where grafts of others were compared with none, in the order of the grid."""
    found: list[Borrowed] = []
    for language in grid.targets:
        compared = [gain for gain in grid.gains if gain.language == language and gain.condition != TARGET]
        other = next((each for each in WITHOUT if any(gain.other == each for gain in compared)), None)
        if other is None:
            continue
        names = [name for name in BORROWED if any(gain.condition == name for gain in compared)]
        pairs = [(name, compare(grid, language, other, condition=name)) for name in names]
        gains = tuple((name, pair) for name, pair in pairs if pair is not None and pair.low is not None)
        if gains:
            found.append(Borrowed(language=language, gains=gains))
    return tuple(found)


def borrowed_table(grid: Grid, *, ident: str) -> Table | None:
    """Lay out what others' grafts gain in languages that have none; None where that was not compared."""
    rows = tuple(
        (
            Cell(
                text=language_name(each.language),
                value=language_name(each.language),
                note=each.language,
            ),
            Cell(text=condition, value=condition),
            *(paired_cell(grid, each.language, other, condition=condition) for other in WITHOUT),
        )
        for each in list_borrowed(grid)
        for condition, _ in each.gains
    )
    if not rows:
        return None
    return Table(
        ident=ident,
        caption=f"{grid.title}: what grafts of other languages gain where there is no text, on the same sentences",
        columns=("Language", "Graft", *(f"Over {other}" for other in WITHOUT)),
        numeric=(False, False, *(True for _ in WITHOUT)),
        rows=rows,
    )


def write_borrowed(grid: Grid, overlaps: Sequence[Overlap]) -> tuple[str, ...]:
    """Say in one sentence for each language without text what the grafts of others gave there.

    Args:
        grid: The scores of one method.
        overlaps: Those of the run; they say which language is nearest.
    """
    nearest = {
        overlap.language: overlap.nearest
        for overlap in overlaps
        if overlap.task == grid.task and overlap.source in ("", grid.source)
    }
    sentences: list[str] = []
    for each in list_borrowed(grid):
        words: list[str] = []
        for place, (condition, pair) in enumerate(each.gains):
            called = nearest.get(each.language) if condition == NEAREST else None
            subject = WORDS[condition] + (f" ({language_name(called)})" if called else "")
            gave = " gave" if place == 0 else ""
            over = f" over {AGAINST[pair.other]}" if place == 0 else ""
            words.append(f"{subject}{gave} {_say(pair, metric=grid.metric)}{over}")
        name = language_name(each.language)
        sentences.append(f"For {name}, which has no text, {join_words(words)}.")
    return tuple(sentences)


def overlap_table(overlaps: Sequence[Overlap], grid: Grid, *, ident: str) -> Table | None:
    """Lay out how alike the pieces of each test are with the languages' texts; None where that was not measured."""
    own = [
        overlap
        for overlap in overlaps
        if overlap.task == grid.task and overlap.source in ("", grid.source) and overlap.by_language
    ]
    names = tuple(dict.fromkeys(name for overlap in own for name in overlap.by_language))
    if not own:
        return None
    rows = tuple(
        (
            Cell(
                text=language_name(overlap.language),
                value=language_name(overlap.language),
                note=overlap.language,
            ),
            *(_overlap_cell(overlap, name) for name in names),
        )
        for overlap in own
    )
    return Table(
        ident=ident,
        caption=f"{grid.title}: how alike the pieces of each test are with the languages\u2019 texts",
        columns=("Test", *map(language_name, names)),
        numeric=(False, *(True for _ in names)),
        rows=rows,
    )


def _overlap_cell(overlap: Overlap, name: str) -> Cell:
    share = overlap.by_language.get(name)
    if share is None:
        return Cell(text=DASH)
    return Cell(text=f"{share:.3f}", value=share, best=name == overlap.nearest)


def _say(pair: Comparison, *, metric: str) -> str:
    gain = format_difference(pair.gain, metric=metric)
    if pair.low is None or pair.high is None:
        return gain
    return f"{gain} ({format_difference(pair.low, metric=metric)} to {format_difference(pair.high, metric=metric)})"
