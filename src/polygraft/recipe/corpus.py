"""The data of a recipe, read and encoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from polygraft.base.fingerprint import fingerprint_tokenizer
from polygraft.data.chance import make_listed_generator
from polygraft.data.encode import EncodedLabels, EncodedTags, EncodedText, collect_labels, encode_text
from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.data.joined import join_lines
from polygraft.data.pieces import special_frame
from polygraft.data.read import Source, digest_source, read_labelled_texts, read_sentences, read_texts
from polygraft.data.reading import BY_ENDING, Reading
from polygraft.data.token_cache import NAMES, CachedText, CacheKey, TokenCache
from polygraft.errors import DataError
from polygraft.recipe.data import TaskData
from polygraft.recipe.schema import Recipe
from polygraft.settings import load_settings
from polygraft.types import TextRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

Examples: TypeAlias = Sequence[TaggedSentence] | Sequence[LabelledText]
"""What a labelled file holds: one kind or the other."""


LARGE_TEXT = 1_000_000
"""Bytes from which on turning a text into tokens takes seconds, and is told."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The text of one language: what is learned from, and what is kept apart."""

    train: EncodedText
    held_out: EncodedText | None
    """None for a text of one line: what is learned from is no measure."""
    num_lines: int
    num_held_out: int = 0
    """How many of the lines are kept apart."""
    num_pieces: int
    """Pieces to learn from, without the special tokens around and between lines."""


def ignore(sentence: str) -> None:
    """Tell nobody."""


@dataclass(kw_only=True)
class Corpus:
    """Reads the files of a recipe; each only once."""

    recipe: Recipe
    tokenizer: PreTrainedTokenizerFast
    longest: int = 512
    """The most tokens that the base takes in a row."""
    notify: Callable[[str], None] = ignore
    """Told sentences that a user should see."""
    _texts: dict[tuple[str, int, int, TextRows], Texts] = field(default_factory=dict)
    _digests: dict[Path, str] = field(default_factory=dict)
    _examples: dict[tuple[Path, str, Reading], Examples] = field(default_factory=dict)

    def share(self, recipe: Recipe) -> Corpus:
        """Give the same files to another variant of the recipe; what was read stays read.

        Args:
            recipe: The variant.
        """
        return replace(self, recipe=recipe)

    def digest(self, path: Path) -> str:
        """Give the sha256 of the content of a file or dataset."""
        if path not in self._digests:
            self._digests[path] = digest_source(path)
        return self._digests[path]

    def identify_examples(self, task: TaskData, path: Path) -> str:
        """Give what the examples of a labelled file depend on."""
        source = Source(path=path, kind=task.objective, reading=task.reading)
        return source.identify(self.digest(path))

    def identify_text(self, name: str) -> str:
        """Give what the lines of a language's text depend on, but for their number."""
        language = self.recipe.languages[name]
        source = Source(path=language.text, kind="text", reading=language.reading)
        return source.identify(self.digest(language.text))

    def read_language(self, name: str) -> Texts:
        """Give the encoded text of a language."""
        settings = self.recipe.train.language
        key = (name, settings.max_length, settings.held_out, settings.rows)
        if key not in self._texts:
            language = self.recipe.languages[name]
            self._texts[key] = load_texts(
                language.text,
                self.tokenizer,
                reading=language.reading,
                max_length=min(settings.max_length, self.longest),
                rows=settings.rows,
                max_lines=language.max_lines,
                num_held_out=settings.held_out,
                notify=self.notify,
            )
        return self._texts[key]

    def read_examples(self, task: TaskData, path: Path) -> Examples:
        """Give the examples of a labelled file; they are shared, and nobody changes them."""
        key = (path, task.objective, task.reading)
        if key not in self._examples:
            self._examples[key] = read_examples(path, objective=task.objective, reading=task.reading)
        return self._examples[key]

    def read_mixed(self) -> EncodedText:
        """Give the text of all languages together, the same number of tokens of each as far as there are."""
        texts = [self.read_language(name).train for name in self.recipe.languages]
        limit = max(min(text.num_tokens for text in texts) * 2, 1)
        return join_texts([take_tokens(text, limit, seed=self.recipe.text_seed) for text in texts])

    def read_with_source(self, name: str, source: str | None) -> EncodedText:
        """Give the text of a language, with the wanted share of the source's among it."""
        own = self.read_language(name).train
        share = self.recipe.train.language.source_share
        if share <= 0 or source is None or source == name:
            return own
        wanted = round(own.num_tokens * share / (1 - share))
        return join_texts(
            [own, take_tokens(self.read_language(source).train, wanted, seed=self.recipe.text_seed)]
        )


def read_examples(path: Path, *, objective: str, reading: Reading) -> Examples:
    """Read a labelled file or dataset: labelled texts where these are learned ("sequence"), else tagged sentences."""
    return read_labelled_texts(path, reading) if objective == "sequence" else read_sentences(path, reading)


def find_labels(examples: Examples, *, source: Path) -> tuple[str, ...]:
    """Give the labels that are to be learned, "O" first.

    Args:
        examples: What is learned from.
        source: The file they are from, for the message.

    Raises:
        DataError: There is one label only.
    """
    labels = collect_labels(examples)
    if len(labels) < 2:
        where = (
            " and which column holds the tags (tag_column)"
            if any(isinstance(example, TaggedSentence) for example in examples)
            else ""
        )
        raise DataError(
            f"{source} has no label but '{''.join(labels)}'. Two or more were expected: from one alone nothing can be "
            f"learned. Check that the file is the one you meant{where}."
        )
    return labels


def describe_cut_rows(encoded: EncodedTags | EncodedLabels, *, source: Path, max_length: int) -> str | None:
    """Say how much of labelled data is past the longest row, or give None where nothing is.

    Args:
        encoded: The data.
        source: The file it is from.
        max_length: The most tokens of a row.
    """
    if not encoded.num_cut_rows:
        return None
    what = "word" if isinstance(encoded, EncodedTags) else "piece"
    ending = "" if encoded.num_cut_tokens == 1 else "s"
    return (
        f"{encoded.num_cut_rows} of {encoded.num_rows} rows of {source.name} are longer than {max_length} tokens; what "
        f"is past that ({encoded.num_cut_tokens:,} {what}{ending}) is not learned from."
    )


def describe_one_line(source: Path) -> str:
    """Say that a text is too short to keep a part of it apart."""
    return (
        f"Only one line of {source.name} is there to learn from: none is kept apart, and no held-out loss is measured. "
        "Give two or more lines, better some hundred."
    )


def count_held_out(num_lines: int, *, num_held_out: int) -> int:
    """Give how many lines of a text are kept apart: at most a tenth, at least one of two, and none of a single one."""
    return 0 if num_lines < 2 else max(1, min(num_held_out, num_lines // 10))


def split_lines(lines: Sequence[str], *, num_held_out: int) -> tuple[list[str], list[str]]:
    """Keep some lines apart, as many as `count_held_out` says, evenly spread over the text.

    Example:
        >>> split_lines(["a", "b", "c", "d"], num_held_out=300)
        (['b', 'c', 'd'], ['a'])
    """
    count = count_held_out(len(lines), num_held_out=num_held_out)
    apart: set[int] = set(np.linspace(0, len(lines) - 1, count, dtype=int).tolist())
    train: list[str] = [line for place, line in enumerate(lines) if place not in apart]
    return train, [lines[place] for place in sorted(apart)]


def encode_texts(
    train: Sequence[str],
    held_out: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    source: Path,
) -> tuple[EncodedText, EncodedText | None]:
    """Encode what is learned from, and what the loss is measured on; None where that is nothing.

    Args:
        train: Lines to learn from.
        held_out: Lines to measure on.
        tokenizer: The base's fast tokenizer.
        max_length: The most tokens of a row.
        source: The file that both are from, for messages.

    Raises:
        DataError: The tokenizer knows no token of one of the two.
    """
    encoded = encode_text(train, tokenizer, max_length=max_length, source=str(source))
    if not held_out:
        return encoded, None
    place = f"{source} that are kept apart"
    return encoded, encode_text(held_out, tokenizer, max_length=max_length, source=place)


def load_texts(
    source: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    rows: TextRows = "sentences",
    reading: Reading = BY_ENDING,
    max_lines: int | None = None,
    num_held_out: int | None = None,
    notify: Callable[[str], None] = ignore,
) -> Texts:
    """Give the tokens of a text file: kept from before where they are, else made now and kept.

    Args:
        source: Plain text, or a file or dataset with a column of texts.
        tokenizer: The base's fast tokenizer.
        max_length: The most tokens of a row.
        rows: How lines become rows to learn from; lines that are kept apart are measured as sentences in any case.
        reading: How it is read.
        max_lines: Read no more lines than this; None reads all.
        num_held_out: Lines to keep apart, as `split_lines` does it; None keeps none apart.
        notify: Told where a large text is turned into tokens, and where tokens could not be kept.

    Raises:
        DataError: The file cannot be read, or the tokenizer knows no token of it.
        OptionError: `max_length` leaves no room beside special tokens.
    """
    folder = load_settings().cache
    cache = TokenCache(None if folder is None else folder / "tokens")
    key = CacheKey(
        text=Source(path=source, kind="text", reading=reading).identify(),
        tokenizer=fingerprint_tokenizer(cast("PreTrainedTokenizerFast", tokenizer)),
        max_length=max_length,
        max_lines=max_lines,
        num_held_out=num_held_out,
    )
    texts: Mapping[str, CachedText] | None = cache.find(key, notify=notify)
    if texts is None:
        if source.is_file() and source.stat().st_size >= LARGE_TEXT:
            notify(_describe_large(source, folder=cache.folder))
        lines = read_texts(source, reading, max_lines=max_lines)
        apart = (lines, []) if num_held_out is None else split_lines(lines, num_held_out=num_held_out)
        encoded = encode_texts(*apart, tokenizer, max_length=max_length, source=source)
        texts = {
            name: CachedText(encoded=text, num_lines=len(part))
            for name, text, part in zip(NAMES, encoded, apart, strict=True)
            if text is not None
        }
        texts = cache.keep(key, texts, notify=notify)
    train, held_out = texts["train"].encoded, texts.get("held_out")
    num_held_out = 0 if held_out is None else held_out.num_lines
    prefix, suffix, _ = special_frame(tokenizer, max_length=max_length)
    return Texts(
        train=arrange_rows(train, tokenizer, rows=rows, max_length=max_length),
        held_out=None if held_out is None else held_out.encoded,
        num_lines=texts["train"].num_lines + num_held_out,
        num_held_out=num_held_out,
        num_pieces=train.num_tokens - train.num_rows * (len(prefix) + len(suffix)),
    )


def arrange_rows(
    text: EncodedText, tokenizer: PreTrainedTokenizerBase, *, rows: TextRows, max_length: int
) -> EncodedText:
    """Give the rows that are learned from.

    Args:
        text: A line a row, or several rows where it is long.
        tokenizer: The base's fast tokenizer.
        rows: "sentences" gives the text as it is, "joined" what `join_lines` makes of it.
        max_length: The most tokens of a row.
    """
    return join_lines(text, tokenizer, max_length=max_length) if rows == "joined" else text


def _describe_large(source: Path, *, folder: Path | None) -> str:
    said = f"{source.name} ({source.stat().st_size / 1e6:.0f} MB) is turned into tokens"
    if folder is None:
        return f"{said}, as in every training: the token cache is off."
    return f"{said}; they are kept in {folder}, where the next training finds them."


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
    order = make_listed_generator(seed, 2).permutation(text.num_rows)
    count = int(np.searchsorted(np.cumsum(text.lengths[order]), num_tokens)) + 1
    return take_rows(text, np.sort(order[:count]))
