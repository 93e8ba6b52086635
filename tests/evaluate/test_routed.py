"""Labels of sentences that go different ways equal those that each way gives by itself."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import make_base, make_trained_graft

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import PlanError
from polygraft.evaluate.routed import label_rows, label_text_rows
from polygraft.evaluate.run import predict_tags, predict_texts
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.parts.head import Head
from polygraft.parts.prompt import Prompt

SENTENCES = (
    ("mariya", "cuscoman", "rirqan"),
    (),
    ("the", "woman", "went", "to", "lima"),
    ("una", "mujer", "fue", "lima"),
    ("wasi",) * 60,
    ("inti",),
    ("ana", "nació", "en", "bolivia", "."),
)
ROWS = (0, 1, 2, 1, 0, 3, 2)
PLAN = "route(stack(qu, ner), stack(en, pos), ner, stack(edit, pos))"
WAYS = ("stack(qu, ner)", "stack(en, pos)", "ner", "stack(edit, pos)")


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("xlm-roberta")


@pytest.fixture(scope="module")
def grafts(base: Base) -> list[Graft]:
    names = Head(objective="tokens", labels=("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
    words = Head(objective="tokens", labels=("NOUN", "VERB", "ADP", "PUNCT"), layer=2)
    topics = Head(objective="sequence", labels=("sport", "news", "weather"))
    made = {
        "qu": [Bottleneck(reduction=2)],
        "en": [Bottleneck(reduction=2)],
        "edit": [Delta()],
        "ner": [Bottleneck(reduction=4), names],
        "pos": [Bottleneck(reduction=4), words],
        "topic": [Bottleneck(reduction=4), topics],
    }
    return [
        make_trained_graft(base, name, parts, seed=seed) for seed, (name, parts) in enumerate(made.items())
    ]


def open_route(base: Base, grafts: list[Graft], plan: str = PLAN) -> Attachment:
    return attach(base, plan, grafts=grafts)


def test_words_are_labelled_as_each_way_labels_them(base: Base, grafts: list[Graft]):
    with open_route(base, grafts) as attachment:
        found = label_rows(attachment, SENTENCES, rows=ROWS, batch_tokens=48)
    assert len({label for labels in found.labels for label in labels}) > 4
    for place, (words, row) in enumerate(zip(SENTENCES, ROWS, strict=True)):
        with open_route(base, grafts, WAYS[row]) as attachment:
            alone = predict_tags(attachment, [words])
        assert found.labels[place] == alone.labels[0]
        assert found.num_cut[place] == alone.num_cut[0]
    assert found.num_cut[4] > 0


def test_texts_are_labelled_as_each_way_labels_them(base: Base, grafts: list[Graft]):
    texts = ["ana fue a lima", "the sun and the moon", "inti killa " * 30]
    with open_route(base, grafts, "route(topic, stack(qu, topic))") as attachment:
        found = label_text_rows(attachment, texts, rows=[1, 0, 1])
        none = label_text_rows(attachment, [], rows=[])
    assert none.labels == ()
    for place, way in enumerate(("stack(qu, topic)", "topic", "stack(qu, topic)")):
        with open_route(base, grafts, way) as attachment:
            alone = predict_texts(attachment, [texts[place]])
        assert (found.labels[place], found.num_cut[place]) == (alone.labels[0], alone.num_cut[0])
    assert found.num_cut[2] > 0


def test_long_rows_under_a_prompt_are_cut_as_alone(base: Base, grafts: list[Graft]):
    prompt = make_trained_graft(base, "prompt", [Prompt(length=9)])
    words, text = ("wasi",) * 60, "inti killa " * 30
    for head in ("ner", "topic"):
        counts: set[int] = set()
        for rows in ([0, 1], [1, 0]):
            with attach(
                base, f"route({head}, stack(prompt, {head}))", grafts=[*grafts, prompt]
            ) as attachment:
                found = (
                    label_rows(attachment, [words, words], rows=rows)
                    if head == "ner"
                    else label_text_rows(attachment, [text, text], rows=rows)
                )
            for place, row in enumerate(rows):
                way = (head, f"stack(prompt, {head})")[row]
                with attach(base, way, grafts=[*grafts, prompt]) as attachment:
                    alone = (
                        predict_tags(attachment, [words])
                        if head == "ner"
                        else predict_texts(attachment, [text])
                    )
                assert (found.labels[place], found.num_cut[place]) == (alone.labels[0], alone.num_cut[0])
                counts.add(alone.num_cut[0])
        assert len(counts) == 2


def test_a_way_without_the_right_head_is_refused(base: Base, grafts: list[Graft]):
    with open_route(base, grafts, "route(ner, topic, qu)") as attachment:
        with pytest.raises(PlanError) as other:
            label_rows(attachment, [("ana",), ("ana",)], rows=[0, 1])
        with pytest.raises(PlanError) as none:
            label_rows(attachment, [("ana",)], rows=[2])
        with pytest.raises(PlanError) as several:
            attachment.score(torch.zeros(1, 2).long(), torch.ones(1, 2).long())
    assert str(other.value) == (
        "The plan 'topic' has a head for sequence, and one for tokens was expected. Label tokens and whole texts "
        "apart."
    )
    assert str(none.value).startswith("The plan 'qu' has no head for tokens or sequences")
    assert str(several.value) == (
        "The plan 'route(ner, topic, qu)' has 3 ways for a row, and one was expected here. Say which row goes which "
        "way (`rows`, `score_rows`), or attach a plan without route and parallel."
    )
