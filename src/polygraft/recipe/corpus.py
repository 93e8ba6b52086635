"""The data of a recipe, read and encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from polygraft.data.conll import read_conll
from polygraft.data.encode import EncodedText, encode_text
from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.data.open import file_digest
from polygraft.data.text import read_text
from polygraft.data.tsv import read_labelled
from polygraft.recipe.schema import LanguageData, Recipe, TaskData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The text of one language: what is learned from, and what is kept apart."""

    train: EncodedText
    held_out: EncodedText
    num_lines: int


@dataclass(kw_only=True)
class Corpus:
    """Reads the files of a recipe; each only once."""

    recipe: Recipe
    tokenizer: PreTrainedTokenizerFast
    longest: int = 512
    """The most tokens that the base takes in a row."""
    _texts: dict[str, Texts] = field(default_factory=dict)
    _digests: dict[Path, str] = field(default_factory=dict)

    def digest(self, path: Path) -> str:
        """Give the sha256 of a file."""
        if path not in self._digests:
            self._digests[path] = file_digest(path)
        return self._digests[path]

    def read_language(self, name: str) -> Texts:
        """Give the encoded text of a language."""
        if name not in self._texts:
            settings = self.recipe.train.language
            lines = _read_lines(self.recipe.languages[name])
            train, held_out = split_lines(lines, num_held_out=settings.held_out)
            max_length = min(settings.max_length, self.longest)
            self._texts[name] = Texts(
                train=encode_text(train, self.tokenizer, max_length=max_length),
                held_out=encode_text(held_out, self.tokenizer, max_length=max_length),
                num_lines=len(lines),
            )
        return self._texts[name]

    def read_mixed(self) -> EncodedText:
        """Give the text of all languages together, the same number of tokens of each as far as there are."""
        texts = [self.read_language(name).train for name in self.recipe.languages]
        limit = max(min(text.num_tokens for text in texts) * 2, 1)
        return join_texts([take_tokens(text, limit, seed=self.recipe.seed) for text in texts])

    def read_with_source(self, name: str, source: str | None) -> EncodedText:
        """Give the text of a language, with the wanted share of the source's among it."""
        own = self.read_language(name).train
        share = self.recipe.train.language.source_share
        if share <= 0 or source is None or source == name:
            return own
        wanted = round(own.num_tokens * share / (1 - share))
        return join_texts([own, take_tokens(self.read_language(source).train, wanted, seed=self.recipe.seed)])


def read_examples(task: TaskData, path: Path) -> list[TaggedSentence] | list[LabelledText]:
    """Read a labelled file of a task."""
    if task.objective == "sequence":
        return read_labelled(path)
    return read_conll(path, token_column=task.token_column, tag_column=task.tag_column)


def _read_lines(language: LanguageData) -> list[str]:
    lines = read_text(language.text)
    return lines if language.max_lines is None else lines[: language.max_lines]


def split_lines(lines: Sequence[str], *, num_held_out: int) -> tuple[list[str], list[str]]:
    """Keep some lines apart, evenly spread over the text; at most a tenth, and at least one of two lines.

    Example:
        >>> split_lines(["a", "b", "c", "d"], num_held_out=300)
        (['b', 'c', 'd'], ['a'])
    """
    if len(lines) < 2:
        return [*lines], [*lines]
    count = max(1, min(num_held_out, len(lines) // 10))
    apart: set[int] = set(np.linspace(0, len(lines) - 1, count, dtype=int).tolist())
    train: list[str] = [line for place, line in enumerate(lines) if place not in apart]
    return train, [lines[place] for place in sorted(apart)]


def join_texts(texts: Sequence[EncodedText]) -> EncodedText:
    """Put the rows of several texts one after the other."""
    offsets = np.cumsum([0, *(text.num_tokens for text in texts)])
    starts = [text.starts[:-1] + offset for text, offset in zip(texts, offsets, strict=False)]
    return EncodedText(
        ids=np.concatenate([text.ids for text in texts]), starts=np.concatenate([*starts, offsets[-1:]])
    )


def take_rows(text: EncodedText, rows: NDArray[np.int64]) -> EncodedText:
    """Give some rows of a text, in the order asked for."""
    lengths = text.lengths[rows]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(text.starts[rows] - starts[:-1], lengths) + np.arange(int(lengths.sum()))
    return EncodedText(ids=text.ids[places], starts=starts)


def take_tokens(text: EncodedText, num_tokens: int, *, seed: int) -> EncodedText:
    """Give rows chosen by chance that have about so many tokens together, or all if there are fewer."""
    if text.num_tokens <= num_tokens:
        return text
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 2])))
    order = rng.permutation(text.num_rows)
    count = int(np.searchsorted(np.cumsum(text.lengths[order]), num_tokens)) + 1
    return take_rows(text, np.sort(order[:count]))
