"""What grafts learn, from text or from labels, and how well they do it on data kept apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from polygraft.data.encode import encode_labelled, encode_tags
from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.data.masking import Masking, corpus_vocabulary
from polygraft.evaluate.run import find_max_length, score_tags, score_texts
from polygraft.evaluate.spans import describe_odd_tags
from polygraft.evaluate.text_loss import measure_causal_lm, measure_masked_lm
from polygraft.recipe.corpus import describe_cut_rows
from polygraft.train.causal import CausalLm
from polygraft.train.labels import Labelling
from polygraft.train.mlm import MaskedLm
from polygraft.train.settings import NUM_NEGATIVES

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base
    from polygraft.data.encode import EncodedText
    from polygraft.evaluate.result import Result
    from polygraft.evaluate.run import Predictions
    from polygraft.recipe.corpus import Examples
    from polygraft.recipe.schema import Recipe
    from polygraft.train.prefix import PrefixCache

MAX_LENGTH = 256
"""The most tokens of a labelled row that are learned from."""


def make_masked_lm(
    base: Base,
    text: EncodedText,
    *,
    masking: Masking,
    scores_all_pieces: bool = False,
    num_negatives: int = NUM_NEGATIVES,
) -> MaskedLm:
    """Make the objective of guessing hidden pieces of a text.

    Args:
        base: The base, for its special pieces.
        text: What is learned from.
        masking: How many pieces are hidden.
        scores_all_pieces: Whether all pieces are scored (exact), or those of the text and some others (fast).
        num_negatives: How many pieces that the text does not have are scored beside its own, others in every batch.

    Raises:
        BaseModelError: The base is causal.
    """
    base.check_guesses("mlm")
    if scores_all_pieces:
        return MaskedLm(text, vocabulary=None, masking=masking)
    vocabulary = corpus_vocabulary(text, special_ids=base.special_ids)
    return MaskedLm(text, vocabulary=vocabulary, masking=masking, num_negatives=num_negatives)


def make_causal_lm(
    base: Base,
    text: EncodedText,
    *,
    scores_all_pieces: bool = False,
    num_negatives: int = NUM_NEGATIVES,
) -> CausalLm:
    """Make the objective of guessing the next piece of a text; the arguments are those of `make_masked_lm`.

    Raises:
        BaseModelError: The base is not causal.
        DataError: No row of the text has two tokens.
    """
    base.check_guesses("causal")
    if scores_all_pieces:
        return CausalLm(text, vocabulary=None)
    vocabulary = corpus_vocabulary(text, special_ids=base.special_ids)
    return CausalLm(text, vocabulary=vocabulary, num_negatives=num_negatives)


def make_text_objective(
    base: Base, text: EncodedText, *, masking: Masking, **scored: Any
) -> MaskedLm | CausalLm:
    """Make the objective of guessing pieces that suits a base: hidden ones, or of a causal base the next one.

    Args:
        base: The base.
        text: What is learned from.
        masking: How many pieces are hidden, where they are.
        scored: What else `make_masked_lm` takes.
    """
    if base.guesses == "causal":
        return make_causal_lm(base, text, **scored)
    return make_masked_lm(base, text, masking=masking, **scored)


def make_held_out_loss(
    base: Base, objective: MaskedLm | CausalLm, held_out: EncodedText, *, seed: int
) -> Callable[[Attachment], float]:
    """Make what measures the loss on text kept apart, with its sign turned: larger is better.

    Args:
        base: The base, with no plan in force.
        objective: What is learned; unless it scores all pieces, those of the text kept apart are scored beside its own,
            and as many others as it scores, the same ones each time.
        held_out: The text kept apart.
        seed: Chooses the pieces that are hidden, the same ones each time; where the next piece is guessed, none is.
    """
    vocabulary = list_scored(base, objective, held_out)
    objective.get_ready(base)

    def evaluate(attachment: Attachment) -> float:
        shared: dict[str, Any] = {
            "vocabulary": vocabulary,
            "seed": seed,
            "num_negatives": objective.num_negatives,
            "chances": objective.chances,
        }
        if isinstance(objective, CausalLm):
            return -measure_causal_lm(attachment, held_out, **shared).loss
        return -measure_masked_lm(attachment, held_out, masking=Masking(), **shared).loss

    return evaluate


def list_scored(base: Base, objective: MaskedLm | CausalLm, held_out: EncodedText) -> Tensor | None:
    """List the pieces that are scored on text kept apart, sorted: the objective's and the text's own; None is all.

    Args:
        base: The base, for its special pieces.
        objective: What is learned.
        held_out: The text kept apart.
    """
    if objective.vocabulary is None:
        return None
    others = corpus_vocabulary(held_out, special_ids=base.special_ids)
    return torch.cat([objective.vocabulary, others]).unique()


def make_recipe_objective(
    recipe: Recipe, base: Base, text: EncodedText, *, mask_rate: float
) -> MaskedLm | CausalLm:
    """Make the objective of guessing pieces of a text as a recipe wants it.

    Args:
        recipe: The recipe.
        base: The base.
        text: What is learned from.
        mask_rate: Share of the pieces that are hidden.
    """
    settings = recipe.train.language
    return make_text_objective(
        base,
        text,
        masking=Masking(rate=mask_rate),
        scores_all_pieces=settings.vocabulary == "full",
        num_negatives=settings.num_negatives,
    )


def make_labelling(
    base: Base,
    examples: Examples,
    *,
    labels: Sequence[str],
    source: Path,
    cache: PrefixCache | None,
    num_taken: int = 0,
) -> tuple[Labelling, str | None]:
    """Make the objective of labelling examples, and say what of them is too long to be learned from, or tagged oddly.

    Args:
        base: The base, for its tokenizer and its longest input.
        examples: What is learned from.
        labels: The labels, in the head's order.
        source: The file they are from, for messages.
        cache: Keeps the output of frozen layers for later epochs.
        num_taken: Size of the prompt that stands before the rows.

    Raises:
        DataError: The tokenizer cannot read them.
    """
    max_length = min(MAX_LENGTH, find_max_length(base, num_taken=num_taken))
    encode = cast("Callable[..., Any]", encode_labelled if _are_texts(examples) else encode_tags)
    encoded = encode(examples, base.tokenizer, labels=labels, max_length=max_length, source=str(source))
    told = (
        None if _are_texts(examples) else describe_odd_tags(labels, source=source.name),
        describe_cut_rows(encoded, source=source, max_length=max_length),
    )
    return Labelling(encoded, cache=cache), " ".join(filter(None, told)) or None


def score_examples(attachment: Attachment, examples: Examples, **names: Any) -> tuple[Result, Predictions]:
    """Score a plan on tagged sentences or on labelled texts, whichever they are."""
    if _are_texts(examples):
        return score_texts(attachment, cast("Sequence[LabelledText]", examples), **names)
    return score_tags(attachment, cast("Sequence[TaggedSentence]", examples), **names)


def _are_texts(examples: Examples) -> bool:
    return isinstance(examples[0], LabelledText)
