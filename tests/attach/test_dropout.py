"""A base drops values where it is told to, as transformers' own model does while it is trained, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from tests.tiny import (
    BASES,
    list_rates,
    make_base,
    make_batch,
    make_model,
    make_tokenizer,
    make_trained_graft,
)
from torch import Tensor, nn

from polygraft.attach.attach import attach
from polygraft.attach.dropout import check_dropout, drop_values, list_dropping
from polygraft.attach.recompute import recompute_layers
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.errors import OptionError
from polygraft.parts.bottleneck import Bottleneck

NO_HIDDEN = ["eurobert", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3"]
"""Bases that drop weights of attention alone."""


def compute(run: Callable[..., Tensor], *, seed: int = 7) -> Tensor:
    """What comes out where PyTorch's generator begins with a seed."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return run()


def run_model(model: nn.Module) -> Tensor:
    batch = make_batch()
    return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)[0]


@pytest.mark.parametrize("hidden", [0.2, 0.0])
@pytest.mark.parametrize("attention", [0.3, 0.0])
@pytest.mark.parametrize("name", BASES)
def test_a_base_drops_what_transformers_drops_while_it_trains(name: str, hidden: float, attention: float):
    rates = list_rates(name, hidden=hidden, attention=attention)
    base, plain = make_base(name, **rates), make_model(name, **rates).base_model
    kept = compute(lambda: run_model(base.model))
    with drop_values(list_dropping(base)):
        found = compute(lambda: run_model(base.model))
    expected = compute(lambda: run_model(plain.train()))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    drops = attention > 0 or (hidden > 0 and name not in NO_HIDDEN)
    assert torch.equal(found, kept) == (not drops)
    assert torch.equal(compute(lambda: run_model(base.model)), kept)


def test_attention_that_is_written_out_drops_weights_too():
    model = make_model("bert", **list_rates("bert", hidden=0.0)).base_model
    base = freeze_base(name="b", model=model, tokenizer=make_tokenizer(), dtype=torch.bfloat16)
    assert base.model.config._attn_implementation == "eager"
    with drop_values(list_dropping(base)):
        first, again, other = (compute(lambda: run_model(base.model), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def list_training(base: Base) -> dict[str, bool]:
    return {name: layer.training for name, layer in base.model.named_modules()}


def test_only_layers_that_drop_values_are_told_that_they_are_trained():
    base = make_base("bert")
    base.model.add_module("counts", nn.BatchNorm1d(4).eval())
    # As another left it.
    base.model.get_submodule("encoder.layer.1.output.dropout").train()
    before = list_training(base)
    with drop_values(list_dropping(base)):
        told = [name for name, is_trained in list_training(base).items() if is_trained]
    layers = [f"encoder.layer.{index}" for index in range(3)]
    ends = ("attention.self", "attention.self.dropout", "attention.output.dropout", "output.dropout")
    assert told == ["embeddings.dropout", *(f"{layer}.{end}" for layer in layers for end in ends)]
    assert list_training(base) == before
    with pytest.raises(ZeroDivisionError), drop_values(list_dropping(base)):
        1 / 0  # noqa: B018
    assert list_training(base) == before


@pytest.mark.parametrize("name", BASES)
def test_layers_that_are_run_again_drop_the_same_values(name: str):
    base = make_base(name, **list_rates(name))
    graft = make_trained_graft(base, "qu", [Bottleneck(reduction=2)], seed=1)
    found: list[list[Tensor]] = []
    layers: AbstractContextManager[None]
    for layers in (nullcontext(), recompute_layers(base)):
        graft.layers.zero_grad()
        with torch.random.fork_rng(devices=[]), layers, drop_values(list_dropping(base)):
            torch.manual_seed(7)
            with attach(base, "qu", grafts=[graft]) as attachment:
                output = attachment.run(*make_batch())
                output.square().sum().backward()
        values = graft.layers.parameters()
        found.append([output.detach(), *(value.grad for value in values if value.grad is not None)])
    kept, again = found
    assert len(kept) == len(again) == 13
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again, kept, strict=True))


@pytest.mark.parametrize(
    ("name", "rates"), [("llama", {}), ("modernbert", {}), ("bert", {"hidden": 0.0, "attention": 0.0})]
)
def test_a_base_without_dropout_is_refused(name: str, rates: dict[str, float]):
    base = make_base(name, **(list_rates(name, **rates) if rates else {}))
    with pytest.raises(OptionError) as caught:
        check_dropout(base)
    assert str(caught.value) == (
        f"A graft was to be trained with dropout, and the base 'tiny-{name}' has none: its configuration gives no rate "
        "above 0. Expected a base such as BERT, whose configuration has hidden_dropout_prob = 0.1. Leave `dropout` "
        "out, or take another base."
    )


@pytest.mark.parametrize("name", ["bert", "distilbert", "deberta-v3", "gpt2"])
def test_a_base_with_the_usual_rates_is_not(name: str):
    check_dropout(make_base(name))
