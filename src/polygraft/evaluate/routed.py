"""Labels for sentences that go different ways through a plan, in common batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from polygraft.data.batches import plan_eval_batches
from polygraft.data.collate import collate
from polygraft.data.encode import IGNORE, encode_labelled
from polygraft.data.example import LabelledText
from polygraft.errors import PlanError
from polygraft.evaluate.run import BATCH_TOKENS, find_max_length
from polygraft.evaluate.words import ANY_LABEL, EncodedWords

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polygraft.attach.attach import Attachment
    from polygraft.data.encode import EncodedLabels, EncodedTags


@dataclass(frozen=True, kw_only=True)
class Routed:
    """Labels of sentences or texts, in their order."""

    labels: tuple[tuple[str, ...], ...]
    """One label a word; for texts one each."""
    num_cut: tuple[int, ...]
    """Words of each sentence past the base's longest input, which got the first label; of each text, the pieces that
    were not read."""


def label_rows(
    attachment: Attachment,
    sentences: Sequence[Sequence[str]],
    *,
    rows: Sequence[int],
    batch_tokens: int = BATCH_TOKENS,
) -> Routed:
    """Label every word of some sentences, each with the head of its own member of the plan.

    Args:
        attachment: A plan with several members, whose heads score tokens.
        sentences: The words of each; an empty sentence gets no labels.
        rows: The member of each sentence.
        batch_tokens: Most tokens computed at once, padding included.

    Raises:
        PlanError: A member has no head for tokens.
    """
    _check_objective(attachment, rows, objective="tokens")
    labels: list[tuple[str, ...]] = [() for _ in sentences]
    num_cut = [0] * len(labels)
    base = attachment.base
    for max_length, own in _group_by_length(attachment, rows):
        chosen = [sentences[place] for place in own]
        if not any(chosen):
            continue
        words = EncodedWords(chosen, base.tokenizer, max_length=max_length)
        places = [own[place] for place in words.places]
        owners = [rows[place] for place in places]
        for batch_rows in plan_eval_batches(words.encoded.lengths, token_budget=batch_tokens):
            found = _label_batch(attachment, words.encoded, batch_rows, owners)
            for row, each in zip(batch_rows, found, strict=True):
                rest = attachment.members[owners[row]].find_head().options.labels[0]
                labels[places[row]], num_cut[places[row]] = words.spread(row, each, rest=rest)
    return Routed(labels=tuple(labels), num_cut=tuple(num_cut))


def label_text_rows(
    attachment: Attachment, texts: Sequence[str], *, rows: Sequence[int], batch_tokens: int = BATCH_TOKENS
) -> Routed:
    """Give each text one label, with the head of its own member of the plan; the arguments are those of `label_rows`.

    Raises:
        PlanError: A member has no head for sequences.
    """
    _check_objective(attachment, rows, objective="sequence")
    labels: list[tuple[str, ...]] = [() for _ in texts]
    num_cut = [0] * len(labels)
    for max_length, own in _group_by_length(attachment, rows):
        examples = [LabelledText(texts[place], ANY_LABEL[0], 0) for place in own]
        owners = [rows[place] for place in own]
        encoded = encode_labelled(
            examples, attachment.base.tokenizer, labels=ANY_LABEL, max_length=max_length
        )
        for batch_rows in plan_eval_batches(encoded.lengths, token_budget=batch_tokens):
            found = _label_batch(attachment, encoded, batch_rows, owners)
            for row, each in zip(batch_rows.tolist(), found, strict=True):
                labels[own[row]], num_cut[own[row]] = each, int(encoded.num_cut[row])
    return Routed(labels=tuple(labels), num_cut=tuple(num_cut))


def _group_by_length(attachment: Attachment, rows: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Sort rows by the most tokens that each may have, which is fewer where its member has a prompt."""
    groups: dict[int, list[int]] = {}
    for place, owner in enumerate(rows):
        num_taken = attachment.members[owner].num_taken
        groups.setdefault(find_max_length(attachment.base, num_taken=num_taken), []).append(place)
    return list(groups.items())


def _label_batch(
    attachment: Attachment,
    encoded: EncodedTags | EncodedLabels,
    batch_rows: NDArray[np.int64],
    owners: Sequence[int],
) -> list[tuple[str, ...]]:
    """Label the rows of one batch: what is labelled is said by where the encoded rows have labels."""
    base = attachment.base
    own = [owners[row] for row in batch_rows]
    batch = collate(encoded, batch_rows, pad_id=base.pad_id)
    assert batch.labels is not None
    is_asked = batch.labels != IGNORE
    moved = batch.to(base.device)
    with torch.inference_mode():
        scored = attachment.score_rows(moved.input_ids, moved.attention_mask, rows=own)
    found: list[tuple[str, ...]] = []
    for scores, asked, owner in zip(scored, is_asked, own, strict=True):
        names = attachment.members[owner].find_head().options.labels
        best = scores.argmax(-1).cpu()
        chosen = best[asked] if best.dim() else best[None]
        found.append(tuple(names[number] for number in chosen.tolist()))
    return found


def _check_objective(attachment: Attachment, rows: Sequence[int], *, objective: str) -> None:
    for owner in sorted(set(rows)):
        member = attachment.members[owner]
        own = member.find_head().options.objective
        if own != objective:
            raise PlanError(
                f"The plan '{member}' has a head for {own}, and one for {objective} was expected. Label tokens and "
                "whole texts apart."
            )
