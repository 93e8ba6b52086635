"""The labelling objective against a loss written out word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.tiny import DECODERS, make_base, make_trained_graft
from tests.train.material import (
    LABELS,
    encode_lines,
    encode_sentences,
    make_lines,
    make_sentences,
    make_training,
)

from polygraft.attach.attach import attach
from polygraft.attach.graft import make_graft
from polygraft.data.encode import EncodedLabels, encode_labelled, encode_tags
from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.errors import DataError
from polygraft.parts.presets import task_graft
from polygraft.train.labels import Labelling
from polygraft.train.objective import Loss

ROWS = np.array([8, 2, 25])


def test_every_word_counts_once_with_its_own_tag():
    base = make_base("bert")
    graft = make_trained_graft(base, "ner", task_graft(labels=LABELS))
    sentences = make_sentences()
    expected = 0.0
    with torch.no_grad(), attach(base, "ner", grafts=[graft]) as attachment:
        loss = Labelling(encode_sentences(base)).compute_loss(attachment, ROWS, seed=0, step=0)
        for row in ROWS:
            ids = base.tokenizer(" ".join(sentences[row].tokens), return_tensors="pt")["input_ids"]
            scores = attachment.score(ids, torch.ones_like(ids))[0, 1:-1].tolist()
            for word, tag in zip(scores, sentences[row].tags, strict=True):
                expected += math.log(sum(map(math.exp, word))) - word[LABELS.index(tag)]
    assert float(loss.total) == pytest.approx(expected, abs=1e-4)
    assert loss.num_targets == sum(len(sentences[row].tags) for row in ROWS)
    assert loss.num_tokens == loss.num_targets + 2 * len(ROWS)
    assert float(loss.mean) == pytest.approx(expected / loss.num_targets, abs=1e-5)


def test_tags_that_training_does_not_know_count_for_nothing():
    base = make_base("bert")
    graft = make_trained_graft(base, "ner", task_graft(labels=LABELS))
    both = TaggedSentence(("ana", "went"), ("B-PER", "O"), 1)
    one = TaggedSentence(("ana", "went"), ("B-PER", "B-DATE"), 1)
    with torch.no_grad(), attach(base, "ner", grafts=[graft]) as attachment:
        losses = [
            Labelling(encode_tags([row], base.tokenizer, labels=LABELS, unknown="ignore")).compute_loss(
                attachment, np.array([0]), seed=0, step=0
            )
            for row in (both, one)
        ]
        ids = torch.tensor([base.tokenizer("ana went")["input_ids"]])
        scores = attachment.score(ids, torch.ones_like(ids))[0]
    word_losses = scores.logsumexp(-1)[1:3] - scores[[1, 2], [LABELS.index("B-PER"), 0]]
    assert [loss.num_targets for loss in losses] == [2, 1]
    assert float(losses[0].total) == pytest.approx(float(word_losses.sum()), abs=1e-5)
    assert float(losses[1].total) == pytest.approx(float(word_losses[0]), abs=1e-5)


def test_a_text_counts_once():
    base = make_base("xlm-roberta")
    names = ("bad", "good", "so")
    graft = make_trained_graft(base, "topic", task_graft(labels=names, objective="sequence"))
    texts = [
        LabelledText("good man", "good", 1),
        LabelledText("the water", "bad", 2),
        LabelledText("de", "so", 3),
    ]
    encoded: EncodedLabels = encode_labelled(texts, base.tokenizer, labels=names)
    rows, expected = np.array([2, 0, 1]), 0.0
    with torch.no_grad(), attach(base, "topic", grafts=[graft]) as attachment:
        loss = Labelling(encoded).compute_loss(attachment, rows, seed=0, step=0)
        for text in texts:
            ids = torch.tensor([base.tokenizer(text.text)["input_ids"]])
            scores = attachment.score(ids, torch.ones_like(ids))[0].tolist()
            expected += math.log(sum(map(math.exp, scores))) - scores[names.index(text.label)]
    assert float(loss.total) == pytest.approx(expected, abs=1e-5)
    assert (loss.num_targets, loss.num_tokens) == (3, 11)


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_a_text_on_a_causal_base_is_labelled_by_what_its_end_says(name: str):
    base = make_base(name)
    graft = make_trained_graft(base, "topic", task_graft(labels=("bad", "good"), objective="sequence"))
    # The same beginning, another word at the end; the second row alone is padded.
    ids = torch.tensor([[0, 9, 20, 31, 40], [0, 9, 20, 32, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    with attach(base, "topic", grafts=[graft]) as attachment:
        together = attachment.score(ids, mask)
        alone = [
            attachment.score(row[None, :length], torch.ones(1, length, dtype=torch.int64))
            for row, length in zip(ids, (5, 4), strict=True)
        ]
        shorter = attachment.score(ids[:1, :4], mask[:1, :4])
    assert (together - torch.cat(alone)).abs().max() < 1e-5
    assert (together[0] - together[1]).abs().max() > 1e-3
    assert (together[0] - shorter[0]).abs().max() > 1e-3


@pytest.mark.parametrize("objective", ["tokens", "sequence"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3"])
def test_a_task_is_learned_on_a_causal_base(name: str, objective: str):
    base = make_base(name)
    labels = LABELS if objective == "tokens" else ("bad", "good")
    if objective == "tokens":
        data = encode_sentences(base)
    else:
        # What decides stands at the end.
        texts = [
            LabelledText(f"{line} {last}", label, 1)
            for line in make_lines(20)
            for last, label in (("house", "good"), ("water", "bad"))
        ]
        data = encode_labelled(texts, base.tokenizer, labels=labels)
    graft = make_graft(base, "new", task_graft(labels=labels, objective=objective, reduction=4), seed=4)
    training = make_training(base=base, graft=graft, objective=Labelling(data), steps=60)
    losses = [step.loss for step in training.run()]
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:5])


def test_text_without_labels_is_refused():
    base = make_base("bert")
    graft = make_trained_graft(base, "ner", task_graft(labels=LABELS))
    with attach(base, "ner", grafts=[graft]) as attachment, pytest.raises(DataError) as caught:
        Labelling(encode_lines(base)).compute_loss(attachment, ROWS, seed=0, step=0)  # pyright: ignore
    assert str(caught.value) == ("The training data has no labels. Give tagged sentences or labelled texts.")


def test_a_batch_without_a_target_has_the_loss_zero():
    assert float(Loss(total=torch.tensor(0.0), num_targets=0, num_tokens=4).mean) == 0.0
