"""Predictions against one sentence at a time, and scores against written-out loops."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tests.tiny import make_base, make_trained_graft
from tests.train.material import LABELS, make_sentences

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.errors import PlanError
from polygraft.evaluate.run import (
    find_max_length,
    predict_tags,
    predict_texts,
    score_tags,
    score_texts,
)
from polygraft.evaluate.spans import is_span_labelling
from polygraft.parts.presets import task_graft


@cache
def make_tagger(name: str = "bert") -> tuple[Base, Graft]:
    base = make_base(name)
    return base, make_trained_graft(base, "ner", task_graft(labels=LABELS), seed=2)


@cache
def make_sorter() -> tuple[Base, Graft]:
    base = make_base("bert")
    return base, make_trained_graft(
        base, "topic", task_graft(labels=("bad", "good"), objective="sequence"), seed=4
    )


def predict_alone(attachment: Attachment, words: tuple[str, ...]) -> tuple[str, ...]:
    """Words are single pieces here, so that word i is at position i + 1."""
    ids = torch.tensor([attachment.base.tokenizer.convert_tokens_to_ids(["<s>", *words, "</s>"])])
    with torch.no_grad():
        best = attachment.score(ids, torch.ones_like(ids))[0, 1:-1].argmax(-1)
    return tuple(LABELS[number] for number in best.tolist())


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "modernbert"])
@pytest.mark.parametrize("batch_tokens", [8, 40, 4096])
def test_predictions_are_those_of_each_sentence_alone(name: str, batch_tokens: int):
    base, graft = make_tagger(name)
    sentences = [sentence.tokens for sentence in make_sentences(20)]
    with attach(base, "ner", grafts=[graft]) as attachment:
        found = predict_tags(attachment, sentences, batch_tokens=batch_tokens)
        assert found.labels == tuple(predict_alone(attachment, words) for words in sentences)
    assert len({label for labels in found.labels for label in labels}) > 1
    assert found.num_tokens == sum(len(words) + 2 for words in sentences)
    assert (found.num_cut_words, found.tokens_per_second) == (0, found.num_tokens / found.seconds)


def test_empty_sentences_get_no_labels():
    base, graft = make_tagger()
    with attach(base, "ner", grafts=[graft]) as attachment:
        found = predict_tags(attachment, [(), ("ana", "went"), ()])
        assert found.labels == ((), predict_alone(attachment, ("ana", "went")), ())
        nothing = predict_tags(attachment, [(), ()])
    assert (nothing.labels, nothing.num_tokens, nothing.tokens_per_second) == (((), ()), 0, 0.0)


def test_a_word_of_several_or_no_pieces_gets_one_label():
    base, graft = make_tagger()
    with attach(base, "ner", grafts=[graft]) as attachment:
        [split] = predict_tags(attachment, [("ana.", "\u200b", "went")]).labels
        alone = predict_alone(attachment, ("ana", ".", "<unk>", "went"))
    assert split == (alone[0], alone[2], alone[3])


def test_words_past_the_longest_input_are_counted_and_noted():
    base, graft = make_tagger()
    sentences = [TaggedSentence(("moon",) * 50, ("O",) * 50, 1), TaggedSentence(("ana",), ("B-PER",), 3)]
    with attach(base, "ner", grafts=[graft]) as attachment:
        result, found = score_tags(attachment, sentences, task="ner", language="en", condition="none")
    assert (found.num_cut_words, len(found.labels[0])) == (12, 50)
    assert set(found.labels[0][38:]) == {"O"}
    assert result.notes == ("12 words lie past the base's longest input and got the label 'O'.",)


def test_a_base_takes_no_more_tokens_than_it_has_positions():
    sizes = {name: make_base(name) for name in ("bert", "xlm-roberta")}
    for base in sizes.values():
        base.tokenizer.model_max_length = 10**30
    assert {name: find_max_length(base) for name, base in sizes.items()} == {"bert": 48, "xlm-roberta": 46}
    for base in sizes.values():
        graft = make_trained_graft(base, "ner", task_graft(labels=LABELS))
        with attach(base, "ner", grafts=[graft]) as attachment:
            found = predict_tags(attachment, [("moon",) * 60])
        assert found.num_cut_words == 60 + 2 - find_max_length(base)


def test_perfect_predictions_score_one():
    base, graft = make_tagger()
    words = [sentence.tokens for sentence in make_sentences(20)]
    with attach(base, "ner", grafts=[graft]) as attachment:
        gold = [
            TaggedSentence(row, labels, 1)
            for row, labels in zip(words, predict_tags(attachment, words).labels, strict=True)
        ]
        result, _ = score_tags(attachment, gold, task="ner", language="qu", condition="target", seed=7)
    assert (result.score, result.low, result.high, result.precision, result.recall) == (
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
    )
    assert (result.metric, result.plan, result.num_sentences, result.seed) == ("f1", "ner", 20, 7)
    assert (result.language, result.condition, result.notes) == ("qu", "target", ())
    assert (result.macro_f1, result.perplexity) == (None, None)
    assert result.num_gold == sum(score.num_gold for score in result.by_type.values()) > 0


def test_a_test_file_without_any_entity_is_noted():
    base, graft = make_tagger()
    sentences = [TaggedSentence(("moon", "de"), ("O", "O"), 1)]
    with attach(base, "ner", grafts=[graft]) as attachment:
        result, _ = score_tags(attachment, sentences, task="ner", language="qu", condition="none")
    assert (result.score, result.num_gold, result.has_gold) == (0.0, 0, False)
    assert result.notes == ("The test file in 'qu' has no entity: F1 is 0, whatever is predicted.",)


def test_wrong_predictions_score_less_and_unknown_tags_are_noted():
    base, graft = make_tagger()
    words = [sentence.tokens for sentence in make_sentences(10)]
    with attach(base, "ner", grafts=[graft]) as attachment:
        gold = [TaggedSentence(row, ("B-DATE",) * len(row), 1) for row in words]
        result, _ = score_tags(attachment, gold, task="ner", language="en", condition="none")
    assert (result.score, result.recall, result.num_gold) == (0.0, 0.0, sum(map(len, words)))
    assert result.notes == (
        "The test file has labels that training never saw: B-DATE. They can never be predicted, and what they mark "
        "counts as missed.",
    )


def test_labels_that_mark_no_spans_are_scored_by_accuracy():
    base = make_base("bert")
    names = ("NOUN", "VERB", "X")
    graft = make_trained_graft(base, "pos", task_graft(labels=names))
    words = [sentence.tokens for sentence in make_sentences(6)]
    with attach(base, "pos", grafts=[graft]) as attachment:
        found = predict_tags(attachment, words)
        gold = [TaggedSentence(row, ("VERB",) * len(row), 1) for row in words]
        result, _ = score_tags(attachment, gold, task="pos", language="en", condition="none")
    flat = [label for labels in found.labels for label in labels]
    assert (result.metric, result.score) == ("accuracy", pytest.approx(flat.count("VERB") / len(flat)))
    by_label = [score.f1 for score in result.by_type.values()]
    assert result.macro_f1 == pytest.approx(sum(by_label) / len(by_label))
    assert not is_span_labelling(names)


@pytest.mark.parametrize("batch_tokens", [8, 4096])
def test_texts_get_the_label_that_each_gets_alone(batch_tokens: int):
    base, graft = make_sorter()
    texts = ["good man", "the sun of the moon", "de", "mujer fue casa"]
    with attach(base, "topic", grafts=[graft]) as attachment:
        found = predict_texts(attachment, texts, batch_tokens=batch_tokens)
        alone = tuple(predict_texts(attachment, [text]).labels[0] for text in texts)
        ids = torch.tensor([base.tokenizer(texts[0])["input_ids"]])
        with torch.no_grad():
            number = int(attachment.score(ids, torch.ones_like(ids)).argmax())
        assert predict_texts(attachment, []).labels == ()
    assert found.labels == alone
    assert found.labels[0] == (("bad", "good")[number],)
    assert found.num_tokens == sum(len(text.split()) + 2 for text in texts)


def test_texts_are_scored_by_accuracy():
    base, graft = make_sorter()
    texts = ["good man", "the sun of the moon", "de", "mujer fue casa"]
    with attach(base, "topic", grafts=[graft]) as attachment:
        labels = [label for (label,) in predict_texts(attachment, texts).labels]
        wrong = {"good": "bad", "bad": "good"}[labels[3]]
        gold = [LabelledText(text, label, 1) for text, label in zip(texts, [*labels[:3], wrong], strict=True)]
        result, _ = score_texts(attachment, gold, task="topic", language="en", condition="none")
    assert (result.metric, result.score, result.num_gold, result.num_sentences) == ("accuracy", 0.75, 4, 4)


def test_a_plan_without_a_head_labels_nothing():
    base = make_base("bert")
    with attach(base, None) as attachment, pytest.raises(PlanError) as caught:
        predict_tags(attachment, [("ana",)])
    assert str(caught.value) == (
        "The plan 'no graft' has no head for tokens or sequences, so it cannot label anything. Expected a task graft "
        "in it, as in stack(qu, ner). Add one."
    )
