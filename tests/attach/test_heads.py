"""The heads in force: averages of heads, of their scores and of their parameters."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tests.tiny import make_base, make_batch, make_trained_graft
from torch import Tensor

from polygraft.attach import arithmetic
from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import GraftError, PlanError
from polygraft.evaluate.run import predict_tags
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.part import Part

NER = Head(objective="tokens", labels=("O", "B-LOC", "I-LOC"), layer=2)
TOPIC = Head(objective="sequence", labels=("s", "t"))
PARTS: dict[str, Sequence[Part]] = {
    "a": [Bottleneck(reduction=2)],
    "ner": [Bottleneck(reduction=4), NER],
    "again": [Bottleneck(reduction=4), NER],
    "other": [Bottleneck(reduction=4), Head(objective="tokens", labels=("B-LOC", "O", "I-LOC"), layer=2)],
    "deep": [Head(objective="tokens", labels=NER.labels)],
    "topic": [TOPIC],
    "topic2": [TOPIC],
    "words": [Head(objective="tokens", labels=("s", "t"))],
    "mlm": [Head(objective="mlm")],
    "mlm2": [Head(objective="mlm")],
}


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("bert")


@pytest.fixture(scope="module")
def grafts(base: Base) -> dict[str, Graft]:
    return {
        name: make_trained_graft(base, name, parts, seed=seed)
        for seed, (name, parts) in enumerate(PARTS.items())
    }


def read_head(graft: Graft) -> dict[str, Tensor]:
    return {name.removeprefix("head."): tensor for name, tensor in graft.tensors().items() if "head." in name}


def score_by(heads: Sequence[tuple[Graft, float]], hidden: Tensor) -> Tensor:
    """The mean of what some heads score, in plain tensor code."""
    total = torch.zeros(())
    for graft, weight in heads:
        own = read_head(graft)
        x = hidden
        if "dense.weight" in own:
            x = torch.tanh(x[:, 0] @ own["dense.weight"].T + own["dense.bias"])
        total = total + weight * (x @ own["out.weight"].T + own["out.bias"])
    return total


@pytest.mark.parametrize(
    ("plan", "weights", "layer"),
    [
        ("average(ner, again, of=outputs)", {"ner": 0.5, "again": 0.5}, 2),
        ("stack(a, average(ner, again, weights=0.3:0.7, of=outputs))", {"ner": 0.3, "again": 0.7}, 2),
        ("average(topic, topic2, weights=0.9:0.1, of=outputs)", {"topic": 0.9, "topic2": 0.1}, -1),
        # A member without a head has no say: the others share its weight.
        ("average(ner, a, again, weights=0.2:0.6:0.2, of=outputs)", {"ner": 0.5, "again": 0.5}, 2),
        (
            "average(ner, average(again, stack(a, mlm), of=outputs), weights=0.4:0.6, of=outputs)",
            {"ner": 0.4, "again": 0.6},
            2,
        ),
    ],
)
@torch.no_grad()
def test_heads_in_an_average_of_outputs_score_their_mean(
    base: Base, grafts: dict[str, Graft], plan: str, weights: dict[str, float], layer: int
):
    batch = make_batch()
    with attach(base, plan, grafts=grafts) as attachment:
        scores = attachment.score(*batch)
        hidden = attachment.run(*batch, layer=layer)
    expected = score_by([(grafts[name], weight) for name, weight in weights.items()], hidden)
    assert (scores - expected).abs().max() < 1e-6 * max(1.0, expected.abs().max().item())


@torch.no_grad()
def test_a_mean_of_heads_labels_words_and_rows(base: Base, grafts: dict[str, Graft]):
    plan = "average(ner, again, of=outputs)"
    batch = make_batch()
    with attach(base, plan, grafts=grafts) as attachment:
        alone = attachment.score(*batch)
        assert attachment.find_labels() == NER.labels
        assert len(predict_tags(attachment, [("ana", "went", "to", "lima")]).labels[0]) == 4
    with attach(base, f"route({plan}, topic)", grafts=grafts) as attachment:
        rows = attachment.score_rows(*batch, rows=[1, 0, 0])
    assert rows[0].shape == (2,)
    for row in (1, 2):
        length = int(batch.attention_mask[row].sum())
        assert (rows[row][:length] - alone[row, :length]).abs().max() < 1e-5


@torch.no_grad()
def test_an_average_of_parameters_averages_heads_too(base: Base, grafts: dict[str, Graft]):
    batch = make_batch()
    with attach(base, "average(topic, topic2, weights=0.25:0.75)", grafts=grafts) as attachment:
        scores = attachment.score(*batch)
        hidden = attachment.run(*batch)
    first, second = read_head(grafts["topic"]), read_head(grafts["topic2"])
    mean = {name: 0.25 * first[name] + 0.75 * second[name] for name in first}
    x = torch.tanh(hidden[:, 0] @ mean["dense.weight"].T + mean["dense.bias"])
    expected = x @ mean["out.weight"].T + mean["out.bias"]
    assert (scores - expected).abs().max() < 1e-5


def test_heads_whose_parameters_mean_other_labels_are_refused(base: Base, grafts: dict[str, Graft]):
    with pytest.raises(GraftError) as refused:
        attach(base, "average(ner, other)", grafts=grafts)
    assert str(refused.value) == (
        "The part 'head' has labels=['O', 'B-LOC', 'I-LOC'] in the graft 'ner', and labels=['B-LOC', 'O', 'I-LOC'] in "
        "'other'. Expected the same, so that each value has its like. Name grafts that were made alike."
    )


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        (
            "average(ner, other, of=outputs)",
            "the heads of 'ner' and 'other' have labels=O, B-LOC, I-LOC and labels=B-LOC, O, I-LOC",
        ),
        (
            "average(words, topic, of=outputs)",
            "the heads of 'words' and 'topic' have objective='tokens' and objective='sequence'",
        ),
        ("average(ner, deep, of=outputs)", "the heads of 'ner' and 'deep' have layer=2 and layer=-1"),
    ],
)
def test_heads_that_score_other_things_have_no_mean(
    base: Base, grafts: dict[str, Graft], plan: str, what: str
):
    with pytest.raises(PlanError) as refused:
        attach(base, plan, grafts=grafts)
    assert str(refused.value) == (
        f"The plan '{plan}' averages outputs, and {what}. Expected heads of one objective with the same labels in the "
        "same order, which read the same layer, so that each score has its like. Average grafts of one task, or leave "
        "one out."
    )
    assert base.in_force == []


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (
            "average(ner, again, a, weights=0.0:0.0:1.0, of=outputs)",
            "The plan 'average(ner, again, a, weights=0.0:0.0:1.0, of=outputs)' averages outputs, and all members that "
            "have a head weigh 0. Expected a head that counts. Give one of them a weight.",
        ),
        (
            "average(mlm, mlm2, of=outputs)",
            "The plan 'average(mlm, mlm2, of=outputs)' has 2 heads for masked language modelling: those of mlm, mlm2. "
            "One at most was expected, since only one can score. Leave the other grafts out.",
        ),
        (
            "stack(average(ner, again, of=outputs), topic)",
            "The plan 'stack(average(ner, again, of=outputs), topic)' has 3 heads for labels: those of ner, again, "
            "topic. One at most was expected, since only one can score. Leave the other grafts out.",
        ),
    ],
)
def test_other_heads_beside_each_other_are_refused(
    base: Base, grafts: dict[str, Graft], plan: str, sentence: str
):
    with pytest.raises(PlanError) as refused:
        attach(base, plan, grafts=grafts)
    assert str(refused.value) == sentence


def test_an_average_of_parameters_is_computed_once(
    base: Base, grafts: dict[str, Graft], monkeypatch: pytest.MonkeyPatch
):
    made: list[str] = []
    whole = arithmetic.average_grafts

    def count(base: Base, name: str, *others: object) -> Graft:
        made.append(name)
        return whole(base, name, *others)

    monkeypatch.setattr(arithmetic, "average_grafts", count)
    mean = "average(ner, again)"
    ways = [f"stack(a, {mean})", mean, f"stack({mean}, mlm)", "average(ner, again, weights=0.9:0.1)"]
    with attach(base, f"route({', '.join(ways)})", grafts=grafts) as attachment:
        assert made == [mean, ways[-1]]
        assert attachment.members[1].grafts[0] is attachment.members[0].grafts[1]
