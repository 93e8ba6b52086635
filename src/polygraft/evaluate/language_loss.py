"""How well each language's text is guessed by the base alone and with each language graft."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from polygraft.evaluate.bootstrap import find_ends, resample
from polygraft.evaluate.perplexity import perplexity

BASE = ""
"""Stands for the base without a language graft."""


@dataclass(frozen=True, kw_only=True)
class LanguageLoss:
    """The loss of one language's held-out text under one language graft, or under the base alone."""

    language: str
    """The text's."""
    of: str
    """The language whose graft is there; empty for the base alone."""
    plan: str
    """The plan in force, as text; empty where there is none."""
    loss: float
    """Nats a piece that was to be guessed."""
    low: float
    """Lower end of the loss' 95 % interval over rows of text."""
    high: float
    """Upper end of it."""
    perplexity: float
    """The number of equally likely pieces that the loss stands for."""
    gain: float
    """The base's loss less this one, on the same pieces; 0 for the base."""
    gain_low: float
    """Lower end of the gain's 95 % interval, the same rows drawn for both."""
    gain_high: float
    """Upper end of it."""
    num_targets: int
    """Pieces that were to be guessed."""
    num_rows: int
    """Rows of text with such a piece; a line that is longer than a row is several."""


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """What a language's graft learned from, and how finely the base cuts the language."""

    language: str
    graft: str
    """The name of its graft."""
    num_tokens: int
    """Pieces of the text that is learned from, without special ones."""
    num_seen: int
    """Tokens that went through the graft in training, each as often as it did."""
    tokens_per_word: float
    """Pieces over words and marks of the lines kept apart (fertility)."""
    single_share: float
    """Share of these pieces that are one character."""
    unknown_share: float
    """Share of these pieces that are the unknown one."""


@dataclass(frozen=True, kw_only=True)
class TextLosses:
    """The losses of all texts under the language grafts of one method and seed."""

    method: str = ""
    """The method that they belong to, where several are compared."""
    seed: int = 0
    """Of the language grafts' training, of the masks and of the other pieces that are scored."""
    losses: tuple[LanguageLoss, ...]
    """By text, the base first."""
    texts: tuple[TextFacts, ...]

    def find(self, language: str, of: str) -> LanguageLoss | None:
        """Give the loss of a text with a language's graft, or None where it was not measured.

        Args:
            language: The text's.
            of: The language whose graft is there; empty for the base.
        """
        return next((row for row in self.losses if (row.language, row.of) == (language, of)), None)


def compare_losses(
    language: str,
    rows: Mapping[str, NDArray[np.float64]],
    *,
    plans: Mapping[str, str],
    num_samples: int = 1000,
) -> list[LanguageLoss]:
    """Turn what each graft loses in each row of a text into losses, with gains over the base.

    Rows of text are drawn again with replacement, the same ones for all grafts (paired bootstrap: Koehn 2004).

    Args:
        language: The text's.
        rows: The nats and the number of guessed pieces of each row [R, 2], by the graft's language; the base's is
            among them.
        plans: The plans, likewise.
        num_samples: How often all rows are drawn.
    """
    summed = {of: counts.sum(axis=0) for of, counts in rows.items()}
    guessed = rows[BASE][:, 1] > 0
    together = np.concatenate(list(rows.values()), axis=1)
    # A row in which nothing is guessed has no loss; short ones may be such.
    drawn = resample(together[guessed] if guessed.any() else together, num_samples=num_samples, seed=0)
    means = {
        of: drawn[:, 2 * place] / np.maximum(drawn[:, 2 * place + 1], 1) for place, of in enumerate(rows)
    }
    found: list[LanguageLoss] = []
    for of, (total, count) in summed.items():
        loss, base = total / max(count, 1), summed[BASE][0] / max(summed[BASE][1], 1)
        low, high = find_ends(means[of])
        gain_low, gain_high = find_ends(means[BASE] - means[of])
        found.append(
            LanguageLoss(
                language=language,
                of=of,
                plan=plans[of],
                loss=float(loss),
                low=low,
                high=high,
                perplexity=math.nan if math.isnan(loss) else perplexity(float(loss)),
                gain=float(base - loss),
                gain_low=gain_low,
                gain_high=gain_high,
                num_targets=int(count),
                num_rows=int(guessed.sum()),
            )
        )
    return found


def losses_to_csv(measured: Iterable[TextLosses]) -> str:
    """Write losses as comma-separated values under a line of names, in their order.

    Args:
        measured: Those of one method and seed, of each.
    """
    text = io.StringIO()
    names = ["method", "seed", *(item.name for item in fields(LanguageLoss))]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for each in measured:
        writer.writerows({"method": each.method, "seed": each.seed, **asdict(row)} for row in each.losses)
    return text.getvalue()
