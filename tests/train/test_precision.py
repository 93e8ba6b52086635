"""Products in a shorter number format: what is rounded, what is not, and that training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import make_base
from tests.train.material import LABELS, encode_sentences, make_masked_lm, make_training, read_bytes, run

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named
from polygraft.errors import OptionError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.labels import Labelling
from polygraft.train.loop import Interrupted
from polygraft.train.prefix import PrefixCache
from polygraft.train.settings import TrainSettings


@pytest.mark.parametrize(("name", "is_full"), [("mlm", True), ("mlm", False), ("tokens", False)])
def test_bfloat16_gives_losses_near_those_of_float32(name: str, is_full: bool):
    base = make_base("bert")
    objective = {"objective": make_masked_lm(base, full=is_full)} if name == "mlm" else {}
    exact = [step.loss for step in run(make_training(name, base=base, **objective))]
    rounded = [step.loss for step in run(make_training(name, base=base, precision="bfloat16", **objective))]
    assert rounded == pytest.approx(exact, rel=0.05)
    assert rounded[0] != pytest.approx(exact[0], abs=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_products_are_rounded_and_values_are_not(precision: str):
    training = make_training("tokens", precision=precision, steps=2)
    seen: set[torch.dtype] = set()
    dense = training.base.sites.layers[0].get_submodule("output.dense")
    handle = dense.register_forward_hook(lambda _, arguments, output: seen.add(output.dtype))
    run(training)
    handle.remove()
    assert seen == {torch.bfloat16 if precision == "bfloat16" else torch.float16}
    assert {value.dtype for value in training.graft.tensors().values()} == {torch.float32}


def test_held_out_data_is_scored_in_the_bases_own_format():
    def evaluate(attachment: Attachment) -> float:
        assert not torch.is_autocast_enabled("cpu")
        return 0.5

    run(make_training("tokens", precision="bfloat16", evaluate=evaluate))


def test_what_frozen_layers_give_is_kept_for_each_format_by_itself():
    base, cache = make_base("bert"), PrefixCache()
    losses: dict[str | None, float] = {}
    for precision in (None, "bfloat16"):
        parts = [Bottleneck(reduction=16, skip_layers=(0, 1)), Head(objective="tokens", labels=LABELS)]
        options: dict[str, Any] = {
            "graft": make_graft(base, "new", parts, seed=4),
            "objective": Labelling(encode_sentences(base), cache=cache),
        }
        losses[precision] = run(make_training(base=base, precision=precision, steps=1, **options))[0].loss
    assert cache.num_computed == 2
    assert losses[None] != losses["bfloat16"]


def test_gradients_in_float16_are_those_of_float32_after_unscaling():
    exact, rounded = make_training("tokens", steps=1), make_training("tokens", steps=1, precision="float16")
    run(exact), run(rounded)
    for name, value in exact.parameters.items():
        assert torch.allclose(value.grad, rounded.parameters[name].grad, rtol=0.1, atol=2e-3), name


def test_an_update_whose_gradients_overflow_is_left_out():
    training = make_training("tokens", steps=1, precision="float16", lr=0.1)
    assert training.precision.scaler is not None
    training.precision.scaler._init_scale = 2.0**120
    before = read_bytes(training.graft)
    run(training)
    assert read_bytes(training.graft) == before
    assert training.precision.scaler.get_scale() == 2.0**119


def test_float16_goes_on_from_a_checkpoint_with_the_same_bytes(tmp_path: Path):
    def start() -> Any:
        training = make_training(
            "tokens", precision="float16", checkpoints=Checkpoints(tmp_path / "folder", key="k")
        )
        # The first updates overflow, so that the number that losses are multiplied by changes on the way.
        training.precision.scaler._init_scale = 2.0**115
        return training

    whole = make_training("tokens", precision="float16")
    assert whole.precision.scaler is not None
    whole.precision.scaler._init_scale = 2.0**115
    run(whole)
    first = start()
    first.should_stop = lambda: first.progress.step == 6
    with pytest.raises(Interrupted):
        run(first)
    second = start()
    run(second)
    assert second.precision.scaler.get_scale() == whole.precision.scaler.get_scale() < 2.0**112
    assert read_bytes(second.graft) == read_bytes(whole.graft)


def test_a_format_that_is_not_known_is_refused():
    with pytest.raises(OptionError) as refusal:
        TrainSettings(steps=1, precision="bfloat")
    assert str(refusal.value) == (
        "Training has precision='bfloat'. Expected bfloat16 or float16, or none for the base's own number format. Did "
        "you mean 'bfloat16'? Correct the name."
    )


@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_layers_that_are_run_again_end_with_the_same_bytes(precision: str | None):
    kept = make_training("mlm", precision=precision)
    again = make_training("mlm", precision=precision, recompute=True)
    assert [step.loss for step in run(again)] == [step.loss for step in run(kept)]
    assert read_bytes(again.graft) == read_bytes(kept.graft)
    with attach(again.base, Named("new"), grafts=again.grafts):
        assert not any("forward" in layer.__dict__ for layer in again.base.model.modules())
