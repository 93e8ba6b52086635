"""What grafts learn and how they are scored, against the same made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny import make_base
from tests.train.material import LABELS, make_lines, make_sentences, make_training, run

from polygraft.attach.attach import attach
from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named
from polygraft.data.encode import encode_labelled, encode_tags, encode_text
from polygraft.data.example import LabelledText
from polygraft.data.masking import Masking
from polygraft.evaluate.run import score_tags, score_texts
from polygraft.evaluate.text_loss import measure_masked_lm
from polygraft.parts.presets import task_graft
from polygraft.recipe.objectives import make_held_out_loss, make_labelling, make_masked_lm, score_examples

TEXTS = [LabelledText("good man", "good", 1), LabelledText("water moon", "bad", 2)]


@pytest.mark.parametrize("scores_all", [False, True])
def test_the_loss_on_text_kept_apart_is_over_the_pieces_of_both_texts(scores_all: bool):
    base = make_base("bert")
    text, held_out = (encode_text(lines, base.tokenizer, max_length=16) for lines in (["ana"], ["lima moon"]))
    objective = make_masked_lm(base, text, masking=Masking(rate=0.5), scores_all_pieces=scores_all)
    pieces = sorted({*text.ids.tolist(), *base.special_ids})
    assert objective.masking.rate == 0.5
    assert (None if objective.vocabulary is None else objective.vocabulary.tolist()) == (
        None if scores_all else pieces
    )
    evaluate = make_held_out_loss(base, objective, held_out, seed=3)
    both = objective.vocabulary
    if both is not None:
        both = both.new_tensor(sorted({*pieces, *held_out.ids.tolist()}))
        assert len(both) > len(pieces)
    training = make_training("mlm", base=base)
    run(training)
    with attach(base, Named("new"), grafts=[training.graft]) as attachment:
        # There are fewer others than are scored beside them by default.
        assert scores_all or objective.num_negatives > base.sites.vocab
        wanted = measure_masked_lm(attachment, held_out, vocabulary=None, masking=Masking(), seed=3)
        assert evaluate(attachment) == pytest.approx(-wanted.loss, abs=1e-4)
        objective.num_negatives = 0
        alone = measure_masked_lm(attachment, held_out, vocabulary=both, masking=Masking(), seed=3)
        assert evaluate(attachment) == -alone.loss < 0


def test_tagged_sentences_and_texts_are_encoded_as_what_they_are():
    base, source = make_base("bert"), Path("data/some.tsv")
    sentences = make_sentences(5)
    tagged, told = make_labelling(base, sentences, labels=LABELS, source=source, cache=None)
    by_hand = encode_tags(sentences, base.tokenizer, labels=LABELS, max_length=40)
    assert told is None
    assert (tagged.data.ids == by_hand.ids).all()
    assert (tagged.data.labels == by_hand.labels).all()
    texts, _ = make_labelling(base, TEXTS, labels=("bad", "good"), source=source, cache=None)
    by_hand = encode_labelled(TEXTS, base.tokenizer, labels=("bad", "good"), max_length=40)
    assert (texts.data.ids == by_hand.ids).all()
    assert (texts.data.labels == by_hand.labels).all()


def test_what_is_longer_than_the_base_takes_is_told():
    lines = [LabelledText(" ".join(make_lines(60)), "good", 1), TEXTS[1]]
    _, told = make_labelling(
        make_base("bert"), lines, labels=("bad", "good"), source=Path("d/x.tsv"), cache=None
    )
    assert told is not None
    assert told.startswith("1 of 2 rows of x.tsv are longer than 40 tokens; what is past that (")


def test_examples_are_scored_as_what_they_are():
    base, names = make_base("bert"), {"task": "t", "language": "en", "condition": "dev"}
    sentences = make_sentences(5)
    for objective, labels, examples in (("tokens", LABELS, sentences), ("sequence", ("bad", "good"), TEXTS)):
        graft = make_graft(base, "new", task_graft(labels=labels, objective=objective), seed=1)
        with attach(base, Named("new"), grafts=[graft]) as attachment:
            found, predictions = score_examples(attachment, examples, **names)
            wanted = (
                score_tags(attachment, sentences, **names)
                if examples is sentences
                else score_texts(attachment, TEXTS, **names)
            )
        assert (found.metric, found.score) == (wanted[0].metric, wanted[0].score)
        assert predictions.labels == wanted[1].labels
