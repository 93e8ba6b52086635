from __future__ import annotations

import dataclasses

import pytest
import torch

from polygraft.errors import OptionError
from polygraft.parts.head import Head
from polygraft.parts.part import Dimensions

SIZES = Dimensions(num_layers=4, hidden=8, embedding=6, vocab=20, norm_eps=0.25)


def build(head: Head):
    return head.build(SIZES, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_a_head_for_tokens_scores_every_token():
    layers = build(Head(objective="tokens", labels=("O", "B-LOC", "I-LOC")))
    hidden = torch.randn(2, 5, 8)
    expected = hidden @ layers.out.weight.T + layers.out.bias
    assert layers.find_places(torch.zeros(2, 5, dtype=torch.int64)) is None
    assert layers(hidden).shape == (2, 5, 3)
    assert (layers(hidden) - expected).abs().max() < 1e-6
    assert 0.01 < layers.out.weight.std() < 0.03


@torch.no_grad()
def test_a_head_for_sequences_reads_the_first_token():
    layers = build(Head(objective="sequence", labels=("yes", "no")))
    hidden = torch.randn(2, 5, 8)
    middle = torch.tanh(hidden[:, 0] @ layers.dense.weight.T + layers.dense.bias)
    expected = middle @ layers.out.weight.T + layers.out.bias
    places = layers.find_places(torch.zeros(2, 5, dtype=torch.int64))
    assert places.tolist() == [0, 5]
    assert (layers(hidden.flatten(0, 1)[places]) - expected).abs().max() < 1e-6


@torch.no_grad()
def test_a_head_for_sequences_reads_the_last_token_of_a_causal_base():
    sizes = dataclasses.replace(SIZES, is_causal=True)
    head = Head(objective="sequence", labels=("yes", "no"))
    layers = head.build(sizes, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    assert layers.find_places(mask).tolist() == [4, 6, 10]


@torch.no_grad()
def test_a_masked_lm_head_ends_before_the_decoder():
    layers = build(Head(objective="mlm"))
    hidden = torch.randn(7, 8)
    x = hidden @ layers.dense.weight.T + layers.dense.bias
    x = 0.5 * x * (1 + torch.erf(x / 2**0.5))
    centred = x - x.mean(1, keepdim=True)
    expected = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 0.25)
    assert (layers.transform(hidden) - expected).abs().max() < 1e-6
    assert layers.bias.shape == (20,)


@pytest.mark.parametrize("layer", [-1, 1, 4])
def test_a_head_may_read_after_any_layer(layer: int):
    assert build(Head(objective="mlm", layer=layer)).options.layer == layer


@pytest.mark.parametrize("layer", [0, 5, -2])
def test_a_layer_that_the_base_does_not_have_is_refused(layer: int):
    with pytest.raises(OptionError) as refusal:
        build(Head(objective="mlm", layer=layer))
    assert str(refusal.value) == (
        f"A head reads after {layer} layers, and the base has 4. Expected -1, or 1 to 4. Correct `layer`."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"objective": "token", "labels": ("a", "b")},
            "The part 'head' has objective='token'. Expected one of tokens, sequence, mlm, causal. "
            "Did you mean 'tokens'? Choose one.",
        ),
        (
            {"objective": "tokens"},
            "A head for 'tokens' has the labels []. Expected at least two. Give the names of all labels, in order.",
        ),
        (
            {"objective": "sequence", "labels": ("a",)},
            "A head for 'sequence' has the labels ['a']. Expected at least two. Give the names of all labels, in "
            "order.",
        ),
        (
            {"objective": "mlm", "labels": ("a", "b")},
            "A masked-LM head has no labels, and 2 were given. Leave `labels` out.",
        ),
        (
            {"objective": "causal", "labels": ("a", "b")},
            "A causal-LM head has no labels, and 2 were given. Leave `labels` out.",
        ),
        (
            {"objective": "tokens", "labels": ("a", "b", "a")},
            "A head has the labels ['a'] more than once. Give each label once.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict, message: str):
    with pytest.raises(OptionError) as refusal:
        Head(**options)
    assert str(refusal.value) == message
