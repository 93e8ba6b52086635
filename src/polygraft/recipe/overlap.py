"""How alike the pieces of two texts are, and which language's text is nearest to a test file."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from polygraft.data.example import LabelledText
from polygraft.data.pieces import tokenize_texts, tokenize_words

if TYPE_CHECKING:
    from polygraft.evaluate.overlap import Overlap
    from polygraft.recipe.corpus import Corpus, Examples
    from polygraft.recipe.data import TaskData

_CHUNK = 2**24


def measure_overlap(counts: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    """Give 1 less the Jensen-Shannon divergence, in bits, of how often each piece occurs in two texts.

    With p and q the shares of the pieces in the two texts and m their mean, the divergence is
    `(KL(p || m) + KL(q || m)) / 2`. So 1 says that both use the same pieces equally often and 0 that they share none
    (Limisiewicz et al. 2023, who measure how languages share a vocabulary by this divergence). Shares do not grow
    with the text as sets of pieces do, so that a language is not near for having much text.

    Args:
        counts: How often each piece of the vocabulary occurs in one text [V].
        others: The same of the other text [V].

    Example:
        >>> measure_overlap(np.array([1, 1, 0]), np.array([3, 3, 0]))
        1.0
        >>> measure_overlap(np.array([5, 0]), np.array([0, 2]))
        0.0
    """
    if not counts.sum() or not others.sum():
        return 0.0
    p, q = counts / counts.sum(), others / others.sum()
    mean = (p + q) / 2
    divergence = 0.0
    for shares in (p, q):
        used = shares > 0
        divergence += float((shares[used] * np.log2(shares[used] / mean[used])).sum()) / 2
    return 1.0 - divergence


def count_pieces(ids: NDArray[np.int32], *, num_pieces: int, special_ids: list[int]) -> NDArray[np.int64]:
    """Count how often each piece occurs [V]; special ones, the unknown one among them, count as absent.

    Args:
        ids: Pieces of a text.
        num_pieces: Size of the vocabulary (V).
        special_ids: The tokenizer's special pieces.
    """
    counts = np.zeros(num_pieces, dtype=np.int64)
    for start in range(0, len(ids), _CHUNK):
        counts += np.bincount(ids[start : start + _CHUNK], minlength=num_pieces)
    counts[special_ids] = 0
    return counts


def measure_overlaps(corpus: Corpus, task: TaskData, language: str) -> dict[str, float]:
    """Measure how alike the pieces of a test file are with those of each other language's text.

    Only the words of the test file are read, so that a language without text of its own has nearest ones, too.

    Args:
        corpus: The texts that language grafts are learned from.
        task: The task.
        language: One of its tests'.
    """
    num_pieces, special_ids = len(corpus.tokenizer), list(corpus.tokenizer.all_special_ids)
    ids = _tokenize(corpus, corpus.read_examples(task, task.test[language]))
    counts = count_pieces(ids, num_pieces=num_pieces, special_ids=special_ids)
    return {
        name: measure_overlap(
            counts,
            count_pieces(
                corpus.read_language(name).train.ids, num_pieces=num_pieces, special_ids=special_ids
            ),
        )
        for name in corpus.recipe.languages
        if name != language
    }


def describe_overlap(overlap: Overlap) -> list[str]:
    """Say in a sentence which language is nearest to a test; nothing where there is no other one."""
    if overlap.nearest is None:
        return []
    told = ", ".join(f"{name} {share:.3f}" for name, share in overlap.by_language.items())
    return [
        f"Of the languages' texts, that of '{overlap.nearest}' is nearest to the test in '{overlap.language}' by its "
        f"pieces: {told}."
    ]


def _tokenize(corpus: Corpus, examples: Examples) -> NDArray[np.int32]:
    texts = [example.text for example in examples if isinstance(example, LabelledText)]
    if texts:
        return tokenize_texts(texts, corpus.tokenizer)[0]
    words = chain.from_iterable(
        example.tokens for example in examples if not isinstance(example, LabelledText)
    )
    return tokenize_words(words, corpus.tokenizer)[0]
