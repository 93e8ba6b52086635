"""Predictions of an attachment, and their scores."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from polygraft.data.batches import plan_eval_batches
from polygraft.data.collate import collate, pad_places
from polygraft.data.encode import IGNORE, EncodedTags, encode_labelled
from polygraft.data.example import LabelledText
from polygraft.errors import OptionError
from polygraft.evaluate.bootstrap import bootstrap_interval
from polygraft.evaluate.labels import accuracy_of_counts, label_counts_per_sentence, score_labels
from polygraft.evaluate.result import Result
from polygraft.evaluate.spans import (
    TypeScore,
    f1_of_counts,
    is_span_labelling,
    score_spans,
    span_counts_per_sentence,
)
from polygraft.evaluate.words import EncodedWords
from polygraft.types import UNKNOWN_LANGUAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base
    from polygraft.data.example import TaggedSentence

MAX_LENGTH = 512
LEAST_LENGTH = 8
"""The fewest pieces that a row must have room for beside a prompt."""
BATCH_TOKENS = 4096
"""Most tokens that are scored at once, padding included."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Labels of some sentences or texts, in their order."""

    labels: tuple[tuple[str, ...], ...]
    """One label a word; for texts, one label each."""
    num_cut: tuple[int, ...]
    """Words of each sentence past the base's longest input, which got the first label; of each text, the pieces that
    were not read."""
    seconds: float
    num_tokens: int

    def digest(self) -> str:
        """Give the sha256 of the labels."""
        return hashlib.sha256(json.dumps(self.labels, ensure_ascii=False).encode()).hexdigest()

    @property
    def num_cut_words(self) -> int:
        """Words or pieces past the base's longest input, of all together."""
        return sum(self.num_cut)

    @property
    def tokens_per_second(self) -> float:
        """Tokens without padding that went through the base in a second."""
        return self.num_tokens / self.seconds if self.seconds > 0 else 0.0


def predict_tags(
    attachment: Attachment, sentences: Sequence[Sequence[str]], *, batch_tokens: int = BATCH_TOKENS
) -> Predictions:
    """Label every word of some sentences with the plan's head.

    Args:
        attachment: A plan whose head scores tokens.
        sentences: The words of each; an empty sentence gets no labels.
        batch_tokens: Most tokens computed at once, padding included.

    Raises:
        PlanError: The plan has no head for labels.
    """
    names = attachment.find_labels()
    started = time.perf_counter()
    labels: list[tuple[str, ...]] = [() for _ in sentences]
    num_cut = [0] * len(labels)
    if not any(sentences):
        return Predictions(labels=tuple(labels), num_cut=tuple(num_cut), seconds=0.0, num_tokens=0)
    max_length = find_max_length(attachment.base, num_taken=attachment.num_taken)
    words = EncodedWords(sentences, attachment.base.tokenizer, max_length=max_length)
    best, num_tokens = _score_rows(attachment, words.encoded, batch_tokens=batch_tokens)
    for row, (place, numbers) in enumerate(zip(words.places, best, strict=True)):
        found = [names[number] for number in numbers.tolist()]
        labels[place], num_cut[place] = words.spread(row, found, rest=names[0])
    return Predictions(
        labels=tuple(labels),
        num_cut=tuple(num_cut),
        seconds=time.perf_counter() - started,
        num_tokens=num_tokens,
    )


def predict_texts(
    attachment: Attachment, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS
) -> Predictions:
    """Give each text one label with the plan's head.

    Args:
        attachment: A plan whose head scores sequences.
        texts: The texts.
        batch_tokens: Most tokens computed at once, padding included.
    """
    names = attachment.find_labels()
    started = time.perf_counter()
    if not texts:
        return Predictions(labels=(), num_cut=(), seconds=0.0, num_tokens=0)
    examples = [LabelledText(text, names[0], 0) for text in texts]
    encoded = encode_labelled(
        examples,
        attachment.base.tokenizer,
        labels=names,
        max_length=find_max_length(attachment.base, num_taken=attachment.num_taken),
    )
    best: list[tuple[str, ...]] = [() for _ in texts]
    num_tokens = 0
    with torch.inference_mode():
        for rows in plan_eval_batches(encoded.lengths, token_budget=batch_tokens):
            batch = collate(encoded, rows, pad_id=attachment.base.pad_id)
            batch = batch.to(attachment.base.device)
            scores = attachment.score(batch.input_ids, batch.attention_mask)
            num_tokens += batch.num_tokens
            for row, number in zip(rows.tolist(), scores.argmax(-1).tolist(), strict=True):
                best[row] = (names[number],)
    return Predictions(
        labels=tuple(best),
        num_cut=tuple(encoded.num_cut.tolist()),
        seconds=time.perf_counter() - started,
        num_tokens=num_tokens,
    )


def _score_rows(
    attachment: Attachment, encoded: EncodedTags, *, batch_tokens: int
) -> tuple[list[NDArray[np.int64]], int]:
    """Give the numbers of the best labels at the labelled tokens of each row, and count the tokens computed."""
    best = [np.zeros(0, dtype=np.int64)] * encoded.num_rows
    num_tokens = 0
    with torch.inference_mode():
        for rows in plan_eval_batches(encoded.lengths, token_budget=batch_tokens):
            batch = collate(encoded, rows, pad_id=attachment.base.pad_id)
            assert batch.labels is not None
            num_tokens += batch.num_tokens
            row, column = np.nonzero(batch.labels.numpy() != IGNORE)
            places = pad_places(torch.from_numpy(row * batch.labels.shape[1] + column))
            batch = batch.to(attachment.base.device)
            scores = attachment.score(
                batch.input_ids, batch.attention_mask, at=places.to(attachment.base.device)
            )
            numbers = scores.argmax(-1).cpu().numpy()[: len(row)]
            for index, own in enumerate(np.split(numbers, np.searchsorted(row, np.arange(1, len(rows))))):
                best[rows[index]] = own
    return best, num_tokens


def find_max_length(base: Base, *, num_taken: int = 0) -> int:
    """Give the most tokens that a row may have on a base: 512, or fewer where its positions or tokenizer end before.

    Args:
        base: The base.
        num_taken: How many positions are taken before those of the row, as by a prompt.

    Raises:
        OptionError: A prompt leaves hardly any room.
    """
    positions = MAX_LENGTH if base.num_positions is None else base.num_positions
    if num_taken and positions - num_taken < LEAST_LENGTH:
        raise OptionError(
            f"A prompt of {num_taken} was to stand before rows on the base '{base.name}', which has {positions} "
            f"positions. Expected room for {LEAST_LENGTH} pieces or more beside it. Take a prompt of at most "
            f"{positions - LEAST_LENGTH}; where grafts stand over each other, that is for all of their prompts "
            "together."
        )
    return min(MAX_LENGTH, positions - num_taken, int(base.tokenizer.model_max_length))


def score_tags(
    attachment: Attachment,
    sentences: Sequence[TaggedSentence],
    *,
    task: str,
    language: str,
    condition: str,
    seed: int = 0,
    source: str | None = None,
) -> tuple[Result, Predictions]:
    """Score a plan on tagged sentences: entity F1 where the labels mark spans, else accuracy.

    The interval is a bootstrap over sentences (1,000 samples, 95 %).

    Args:
        attachment: A plan whose head scores tokens.
        sentences: The test set.
        task: Name of the task, for the result.
        language: Language of the test set.
        condition: Which grafts are there, for the result.
        seed: Seed of the training, for the result.
        source: What notes call the test file, if it has to be told from others.
    """
    predictions = predict_tags(attachment, [sentence.tokens for sentence in sentences])
    gold = [sentence.tags for sentence in sentences]
    notes = list_notes(predictions, attachment, gold, source=source)
    spans = is_span_labelling(attachment.find_labels())
    return (
        make_result(
            gold,
            predictions,
            spans=spans,
            task=task,
            language=language,
            condition=condition,
            plan=str(attachment),
            seed=seed,
            notes=notes,
        ),
        predictions,
    )


def score_texts(
    attachment: Attachment,
    texts: Sequence[LabelledText],
    *,
    task: str,
    language: str,
    condition: str,
    seed: int = 0,
    source: str | None = None,
) -> tuple[Result, Predictions]:
    """Score a plan on labelled texts by accuracy; the arguments are those of `score_tags`."""
    predictions = predict_texts(attachment, [text.text for text in texts])
    gold = [(text.label,) for text in texts]
    result = make_result(
        gold,
        predictions,
        spans=False,
        task=task,
        language=language,
        condition=condition,
        plan=str(attachment),
        seed=seed,
        notes=list_notes(predictions, attachment, gold, source=source),
    )
    return result, predictions


def make_result(
    gold: Sequence[Sequence[str]],
    predictions: Predictions,
    *,
    spans: bool,
    task: str,
    language: str,
    condition: str,
    plan: str,
    seed: int,
    notes: tuple[str, ...],
) -> Result:
    """Make the row of scores for some predictions."""
    predicted = predictions.labels
    by_type: dict[str, TypeScore]
    precision = recall = macro_f1 = None
    if spans:
        score = score_spans(gold, predicted)
        value, precision, recall, num_gold = score.f1, score.precision, score.recall, score.num_gold
        by_type = dict(score.by_type)
        interval = bootstrap_interval(span_counts_per_sentence(gold, predicted), f1_of_counts)
        if not num_gold:
            place = "" if language == UNKNOWN_LANGUAGE else f" in '{language}'"
            notes = (*notes, f"The test file{place} has no entity: F1 is 0, whatever is predicted.")
    else:
        flat_gold = [label for labels in gold for label in labels]
        labels = score_labels(flat_gold, [label for row in predicted for label in row])
        value, num_gold, by_type = labels.accuracy, labels.num_gold, dict(labels.by_label)
        macro_f1 = labels.macro_f1
        interval = bootstrap_interval(label_counts_per_sentence(gold, predicted), accuracy_of_counts)
    return Result(
        task=task,
        language=language,
        condition=condition,
        plan=plan,
        metric="f1" if spans else "accuracy",
        score=value,
        low=interval.low,
        high=interval.high,
        precision=precision,
        recall=recall,
        macro_f1=macro_f1,
        by_type=by_type,
        num_sentences=len(gold),
        num_gold=num_gold,
        seconds=predictions.seconds,
        tokens_per_second=predictions.tokens_per_second,
        seed=seed,
        predictions=predictions.digest(),
        notes=notes,
    )


def describe_cut(attachment: Attachment, num_cut: int) -> str:
    """Say what became of what lies past the base's longest input."""
    if attachment.find_head().options.objective == "sequence":
        return f"{num_cut} pieces of texts lie past the base's longest input and were not read."
    label = attachment.find_labels()[0]
    return f"{num_cut} words lie past the base's longest input and got the label '{label}'."


def list_notes(
    predictions: Predictions, attachment: Attachment, gold: Sequence[Sequence[str]], *, source: str | None
) -> tuple[str, ...]:
    """List what a reader of a score should know: words that were cut, labels that training never saw.

    Args:
        predictions: What was predicted.
        attachment: The plan.
        gold: The right labels of each sentence.
        source: What notes call the test file, if it has to be told from others.
    """
    notes: list[str] = []
    if predictions.num_cut_words:
        notes.append(describe_cut(attachment, predictions.num_cut_words))
    unknown = sorted({label for labels in gold for label in labels} - set(attachment.find_labels()))
    if unknown:
        file = "The test file" if source is None else f"The test file {source}"
        notes.append(
            f"{file} has labels that training never saw: {', '.join(unknown)}. They can never be predicted, and what "
            "they mark counts as missed."
        )
    return tuple(notes)
