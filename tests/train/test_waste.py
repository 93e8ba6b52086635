"""Nothing is differentiated that need not be: below the first trained value, and for what is frozen."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import BASES, make_base, make_trained_graft
from tests.train.material import LABELS, make_training

from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named, Stack
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.presets import language_graft


@pytest.mark.parametrize("skipped", [(), (0,), (0, 1)])
@pytest.mark.parametrize("name", BASES)
def test_only_from_the_first_trained_layer_on_is_a_gradient_recorded(name: str, skipped: tuple[int, ...]):
    base = make_base(name)
    below = make_trained_graft(base, "qu", language_graft(), seed=1)
    parts = [Bottleneck(reduction=2, skip_layers=skipped), Head(objective="tokens", labels=LABELS)]
    graft = make_graft(base, "new", parts, seed=4)
    training = make_training(
        "tokens",
        base=base,
        graft=graft,
        plans=[Stack((Named("qu"), Named("new")))],
        grafts={"qu": below, "new": graft},
        steps=1,
    )
    recorded: list[bool] = []
    for layer in base.sites.layers:
        layer.register_forward_hook(
            lambda _, arguments, output: recorded.append(
                (output if isinstance(output, torch.Tensor) else output[0]).requires_grad
            )
        )
    next(training.run())
    assert recorded == [index >= len(skipped) for index in range(3)]
    frozen = [*base.model.parameters(), *below.layers.parameters()]
    assert all(value.grad is None for value in frozen)
    assert all(value.grad is not None for value in graft.layers.parameters())
