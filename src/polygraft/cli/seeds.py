"""The option --seeds, and what came out with each of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.errors import OptionError
from polygraft.report.cells import DASH, Cell, Table, bytes_cell, count_cell, score_cell, seconds_cell

if TYPE_CHECKING:
    from polygraft.store.manifest import Manifest

SCORE = "dev"
"""What a manifest calls the score on held-out labels."""


def read_seeds(text: str | None, *, seed: int | None) -> tuple[int, ...]:
    """Read whole numbers between commas; none where the option was not given.

    Args:
        text: What was given with --seeds.
        seed: What was given with --seed.

    Raises:
        OptionError: There is something else in it, one of them twice, or both options were given.

    Example:
        >>> read_seeds("0, 1,2", seed=None)
        (0, 1, 2)
    """
    if text is None:
        return ()
    if seed is not None:
        raise OptionError(
            f"Both --seed {seed} and --seeds {text} were given. Expected one of the two: --seed trains one graft, "
            "--seeds one for each. Leave one out."
        )
    seeds: list[int] = []
    for word in text.split(","):
        if not (word.strip().isascii() and word.strip().isdigit()):
            raise OptionError(
                f"The seeds '{text}' hold '{word.strip()}', which is no seed. Expected whole numbers from 0 with "
                "commas between them. Write them as in --seeds 0,1,2."
            )
        seeds.append(int(word))
    twice = [number for place, number in enumerate(seeds) if number in seeds[:place]]
    if twice:
        raise OptionError(
            f"The seeds '{text}' hold {twice[0]} twice. Expected each once, since the same seed gives the same graft. "
            "Take one out."
        )
    return tuple(seeds)


def build_seed_table(caption: str, manifests: Sequence[Manifest]) -> Table:
    """Lay out what each seed gave, with the mean and the standard deviation of the dev scores below.

    Args:
        caption: What they have in common.
        manifests: Of the grafts, in the order of their seeds.
    """
    rows = tuple(
        (
            Cell(text=manifest.name, code=True),
            Cell(text=str(manifest.version)),
            score_cell(manifest.scores.get(SCORE)),
            count_cell(float(str(manifest.hyperparameters["steps_done"]))),
            seconds_cell(manifest.cost.get("seconds", 0)),
            bytes_cell(manifest.num_bytes),
        )
        for manifest in manifests
    )
    return Table(
        ident="seeds",
        caption=caption,
        columns=("Graft", "Version", "Dev score", "Steps", "Time", "Bytes"),
        numeric=(False, True, True, True, True, True),
        rows=rows,
        foot=(Cell(text="Mean"), Cell(text=""), _spread_cell(manifests), *[Cell(text="")] * 3),
    )


def _spread_cell(manifests: Sequence[Manifest]) -> Cell:
    scores = [manifest.scores[SCORE] for manifest in manifests if SCORE in manifest.scores]
    if not scores:
        return Cell(text=DASH)
    if len(scores) == 1:
        return score_cell(scores[0])
    spread = score_cell(statistics.stdev(scores)).text
    return Cell(text=f"{score_cell(statistics.fmean(scores)).text} \u00b1 {spread}")
