"""How much data a training goes through, told from a sample of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from polygraft.data.batches import pad_length, plan_batches
from polygraft.data.encode import EncodedText, collect_labels, encode_text
from polygraft.data.example import TaggedSentence
from polygraft.data.masking import corpus_vocabulary
from polygraft.data.read import read_texts
from polygraft.errors import DataError
from polygraft.recipe.corpus import Examples, arrange_rows, count_held_out, join_texts
from polygraft.recipe.objectives import make_labelling
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from polygraft.base.base import Base
    from polygraft.recipe.corpus import Corpus
    from polygraft.recipe.data import TaskData
    from polygraft.recipe.schema import Recipe
    from polygraft.train.labels import Labelling
    from polygraft.train.settings import TrainSettings
    from polygraft.types import TextRows

NUM_SAMPLED = 1000
"""Lines or examples that are turned into tokens, evenly spread over the file."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """The batches of a training."""

    num_updates: int
    num_batches: int
    """Those of all updates that this process goes through."""
    num_of_epoch: int
    """Those of one pass over the data."""
    batch_tokens: float
    """Tokens of one of them, padding included."""
    largest_tokens: int
    """Those of the largest."""

    @property
    def num_tokens(self) -> float:
        """Tokens of all batches."""
        return self.num_batches * self.batch_tokens


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """Some lines of a text."""

    encoded: EncodedText
    """The rows that are learned from."""
    sentences: EncodedText
    """A line a row, as held-out text is scored; the same unless the lines are joined."""
    num_lines: int
    """Lines of the whole text."""
    times: float
    """How many times as many lines it has."""
    seconds: float
    """What it took to turn the sample into tokens."""

    def count_held_out(self, *, num_held_out: int) -> float:
        """Guess the tokens of the lines that are kept apart."""
        lines = self.num_lines / self.times
        num_apart = count_held_out(self.num_lines, num_held_out=num_held_out)
        return num_apart * self.sentences.num_tokens / max(1.0, lines)


@dataclass(frozen=True, kw_only=True)
class LabelSample:
    """Some examples of a labelled file."""

    examples: Examples
    objective: Labelling
    times: float
    """How many times as many examples the file has."""
    seconds: float
    """What it took to turn the sample into tokens."""

    @property
    def num_words(self) -> float:
        """Labels of the whole file: one a word, or one a text."""
        counts = [len(each.tokens) if isinstance(each, TaggedSentence) else 1 for each in self.examples]
        return sum(counts) * self.times

    @property
    def num_tokens(self) -> float:
        """Tokens of the whole file."""
        return float(self.objective.lengths().sum()) * self.times


@dataclass(kw_only=True)
class Samples:
    """Samples of the files of a recipe; each is taken once, and nothing is kept for later runs."""

    base: Base
    _texts: dict[tuple[Path, int | None, int, TextRows, int], TextSample] = field(default_factory=dict)
    _labels: dict[tuple[Path, int, int], LabelSample] = field(default_factory=dict)

    def take_text(self, recipe: Recipe, name: str, *, longest: int) -> TextSample:
        """Take lines of a language's text.

        Args:
            recipe: Says where it is and how it is read.
            name: The language.
            longest: The most tokens that the base takes in a row.
        """
        language, settings = recipe.languages[name], recipe.train.language
        max_length = min(settings.max_length, longest)
        least = 4 * max(settings.batch_tokens, recipe.train.mlm.batch_tokens)
        key = (language.text, language.max_lines, max_length, settings.rows, least)
        if key not in self._texts:
            self._texts[key] = self._encode(
                read_texts(language.text, language.reading, max_lines=language.max_lines),
                source=language.text,
                max_length=max_length,
                rows=settings.rows,
                least=least,
            )
        return self._texts[key]

    def _encode(
        self, lines: Sequence[str], *, source: Path, max_length: int, rows: TextRows, least: int
    ) -> TextSample:
        """Turn lines into tokens: `NUM_SAMPLED` of them, or as many as give some batches."""
        count, tokenizer = NUM_SAMPLED, self.base.tokenizer
        while True:
            chosen = pick_evenly(len(lines), count=count)
            is_whole, started = len(chosen) == len(lines), time.perf_counter()
            sample = [lines[place] for place in chosen]
            try:
                sentences = encode_text(sample, tokenizer, max_length=max_length, source=str(source))
            except DataError:
                if is_whole:
                    raise
                sentences = None
            if is_whole or (sentences is not None and sentences.num_tokens >= least):
                assert sentences is not None
                return TextSample(
                    encoded=arrange_rows(sentences, tokenizer, rows=rows, max_length=max_length),
                    sentences=sentences,
                    num_lines=len(lines),
                    times=len(lines) / len(chosen),
                    seconds=time.perf_counter() - started,
                )
            count *= 4

    def take_labels(self, corpus: Corpus, task: TaskData, path: Path, *, num_taken: int = 0) -> LabelSample:
        """Take examples of one of a task's files.

        Args:
            corpus: Where it is read.
            task: Says how it is read.
            path: The file.
            num_taken: Size of the prompt that stands before the rows.
        """
        examples = corpus.read_examples(task, path)
        key = (path, id(examples), num_taken)
        if key not in self._labels:
            places = pick_evenly(len(examples), count=NUM_SAMPLED)
            sample = cast("Examples", [examples[place] for place in places])
            started = time.perf_counter()
            labels = collect_labels(examples)
            objective, _ = make_labelling(
                self.base, sample, labels=labels, source=path, cache=None, num_taken=num_taken
            )
            self._labels[key] = LabelSample(
                examples=sample,
                objective=objective,
                times=len(examples) / len(places),
                seconds=time.perf_counter() - started,
            )
        return self._labels[key]


def pick_evenly(total: int, *, count: int) -> list[int]:
    """Give so many numbers below a total, evenly spread; all if there are fewer.

    Example:
        >>> pick_evenly(9, count=3), pick_evenly(2, count=3)
        ([0, 4, 8], [0, 1])
    """
    if total <= count:
        return list(range(total))
    return np.linspace(0, total - 1, count, dtype=int).tolist()


def measure_volume(lengths: NDArray[np.int64], settings: TrainSettings, *, times: float = 1.0) -> Volume:
    """Tell how many batches a training has, from the lengths of a sample of its rows.

    Args:
        lengths: Tokens of each row.
        settings: Steps or epochs, and the size of batches.
        times: How many times as many rows there are.
    """
    batches = plan_batches(lengths, token_budget=settings.batch_tokens, seed=0, epoch=0)
    padded = [count_padded(lengths, rows) for rows in batches]
    num_of_epoch = max(1, round(len(batches) * times))
    each = settings.accumulate * load_launch().count
    num_updates = settings.steps or math.ceil(num_of_epoch * (settings.epochs or 0) / each)
    return Volume(
        num_updates=num_updates,
        num_batches=min(num_updates * settings.accumulate, num_of_epoch * settings.epochs)
        if settings.epochs is not None
        else num_updates * settings.accumulate,
        num_of_epoch=num_of_epoch,
        batch_tokens=float(np.mean(padded)),
        largest_tokens=max(padded),
    )


def count_padded(lengths: NDArray[np.int64], rows: NDArray[np.int64]) -> int:
    """Count the tokens of a batch with its padding."""
    return len(rows) * min(pad_length(int(lengths[rows].max())), int(lengths.max()))


def guess_vocabulary(sample: TextSample, *, special_ids: Sequence[int], num_pieces: int) -> Tensor:
    """Give as many pieces as the whole text is likely to have, those of the sample among them: sorted ids [V'].

    The number of pieces grows as a power of the length of a text (Heaps 1978, section 7.5), which is told from the
    sample and its half.

    Args:
        sample: Some lines of it.
        special_ids: Pieces that are not scored.
        num_pieces: All pieces of the tokenizer.
    """
    found = corpus_vocabulary(sample.sentences, special_ids=special_ids)
    if sample.times <= 1:
        return found
    middle = int(sample.sentences.starts[sample.sentences.num_rows // 2])
    half = EncodedText(ids=sample.sentences.ids[:middle], starts=np.array([0, middle]))
    fewer = corpus_vocabulary(half, special_ids=special_ids)
    power = math.log2(max(1.0, len(found) / max(1, len(fewer))))
    wanted = min(num_pieces, round(len(found) * sample.times**power))
    others = torch.ones(num_pieces, dtype=torch.bool)
    others[found] = False
    further = others.nonzero().flatten()[: max(0, wanted - len(found))]
    return torch.cat([found, further]).sort().values


def mix_samples(samples: Sequence[TextSample]) -> TextSample:
    """Put samples of several texts together."""
    if len(samples) == 1:
        return samples[0]
    return TextSample(
        encoded=join_texts([sample.encoded for sample in samples]),
        sentences=join_texts([sample.sentences for sample in samples]),
        num_lines=sum(sample.num_lines for sample in samples),
        times=max(sample.times for sample in samples),
        seconds=sum(sample.seconds for sample in samples),
    )
