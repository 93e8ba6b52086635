"""Compiled layers give the numbers of layers that are not, under every plan."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import make_base, make_batch, make_trained_graft
from tests.train.material import make_training, run
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from polygraft.attach.attach import attach
from polygraft.attach.compile import CompiledLayers
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import TrainError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.train import loop

# Dynamo looks at the gradients of what enters a layer.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


def differentiate(base: Base, grafts: list[Graft], plan: str | None, length: int) -> list[Tensor]:
    """Give the output of a pass, and the gradients of the grafts' values."""
    with attach(base, plan, grafts=grafts) as attachment:
        output = attachment.run(*make_batch(lengths=(length, 5, 2)))
        if output.requires_grad:
            output.square().sum().backward()
    values = [value for graft in grafts for value in graft.layers.parameters()]
    found = [output.detach(), *(value.grad for value in values if value.grad is not None)]
    for value in values:
        value.grad = None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "eurobert"])
def test_every_plan_and_shape_has_the_same_numbers(name: str):
    torch._dynamo.reset()
    base = make_base(name)
    parts = [Bottleneck(reduction=2)]
    grafts = [make_trained_graft(base, graft, parts, seed=seed) for seed, graft in enumerate("ab")]
    cases = [("a", 9), (None, 9), ("b", 6), ("stack(a, b)", 6)]
    expected = [differentiate(base, grafts, *case) for case in cases]
    compiled = CompiledLayers(base, backend="eager")
    with compiled.put_in_force():
        found = [differentiate(base, grafts, *case) for case in cases]
    for case, ours, theirs in zip(cases, found, expected, strict=True):
        assert len(ours) == len(theirs), case
        assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(ours, theirs, strict=True)), case
    assert not any("forward" in layer.__dict__ for layer in base.model.modules())


@pytest.mark.slow
def test_a_plan_of_the_same_parts_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch):
    torch._dynamo.reset()
    base, counter = make_base("bert", num_hidden_layers=9), CompileCounter()
    grafts = [
        make_trained_graft(base, graft, [Bottleneck(reduction=2)], seed=seed)
        for seed, graft in enumerate("ab")
    ]
    compiled = CompiledLayers(base, backend=counter)
    counts: list[int] = []
    with compiled.put_in_force():
        for plan in ("a", "b"):
            differentiate(base, grafts, plan, 9)
            counts.append(counter.frame_count)
    # One graph a layer, more than the 8 that PyTorch allows by itself: hooks break none.
    assert counts == [9, 9]


@pytest.mark.slow
def test_a_compiler_that_fails_is_told_in_a_sentence():
    torch._dynamo.reset()
    base = make_base("bert")

    def fail(*_: object) -> None:
        raise OSError("no compiler")

    compiled = CompiledLayers(base, backend=fail)
    with pytest.raises(TrainError) as refusal, compiled.put_in_force():
        differentiate(base, [], None, 9)
    assert str(refusal.value) == (
        "The layers of 'tiny-bert' cannot be compiled here (OSError). Expected a compiler that PyTorch can use, for a "
        "CPU a C++ compiler. Install one, or train without `compile`."
    )


@pytest.mark.slow
def test_a_training_with_compiled_layers_has_the_same_losses(monkeypatch: pytest.MonkeyPatch):
    torch._dynamo.reset()
    plain = run(make_training("tokens", steps=4))
    monkeypatch.setattr(loop, "_compile_layers", lambda base: CompiledLayers(base, backend="eager"))
    training = make_training("tokens", steps=4, compile=True, recompute=True)
    assert [step.loss for step in run(training)] == pytest.approx([step.loss for step in plain], abs=1e-5)
