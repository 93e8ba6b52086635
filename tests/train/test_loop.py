"""The loop: which numbers it gives, what it moves, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.tiny import SPECIAL, VOCAB, make_base, make_trained_graft
from tests.train.material import (
    LABELS,
    encode_sentences,
    make_masked_lm,
    make_objective,
    make_training,
    read_bytes,
    run,
)

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.depth import Depth
from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named, Stack
from polygraft.errors import TrainError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.presets import language_graft, task_graft
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.labels import Labelling
from polygraft.train.loop import Interrupted, Training
from polygraft.train.mlm import MaskedLm
from polygraft.train.objective import BOTTOM, Loss, Objective
from polygraft.train.prefix import PrefixCache
from polygraft.train.settings import compute_lr

LOSSES = {
    "mlm": [
        3.8149662, 4.1213549, 4.8127632, 4.3302449, 4.7650685, 4.1592736, 4.4777985, 4.2607519, 4.3160305, 4.6098661,
    ],
    "mlm, all pieces": [
        3.8478625, 4.1100377, 4.9078083, 4.3679716, 4.6756058, 4.1906996, 4.5066915, 4.2671897, 4.3645306, 4.6637663,
    ],
    "mlm, a sample of the others": [
        4.5113668, 4.1534871, 4.4697824, 4.1806977, 4.0254211, 3.8966796, 3.7929916, 4.1989420, 3.6151319, 3.7216010,
    ],
    "mlm, joined rows": [
        4.1353973, 4.5714056, 4.8741816, 4.7341645, 4.3899009, 4.3503311, 4.1203041, 5.1546672, 4.5656069, 4.2578486,
    ],
    "mlm, two batches an update": [
        4.7319475, 3.8391865, 4.7290094, 5.0634039, 4.8724983, 4.3931887, 4.2096964, 4.0710461, 3.8009062, 4.5201203,
    ],
    "tokens": [
        1.1050714, 0.9773029, 0.8469571, 0.7586424, 0.7144376, 0.6278694, 0.6195221, 0.6268542, 0.5640973, 0.6101826,
    ],
    "tokens, two batches an update": [
        1.1048045, 0.9592982, 0.8600682, 0.7395677, 0.6614622, 0.7135380, 0.6110183, 0.5498705, 0.6345378, 0.6127887,
    ],
    "tokens, cached": [
        1.1050714, 0.9773029, 0.8469571, 0.7586424, 0.7144376, 0.6278694, 0.6195221, 0.6268542, 0.5640973, 0.6101826,
    ],
    "tokens, one layer skipped": [
        1.1600052, 1.0137300, 0.8930760, 0.7998327, 0.7362849, 0.6521957, 0.6486546, 0.6378973, 0.5782470, 0.6174271,
    ],
    "tokens, one layer cached": [
        1.1600052, 1.0137300, 0.8930760, 0.7998327, 0.7362849, 0.6521957, 0.6486546, 0.6378973, 0.5782470, 0.6174271,
    ],
    "tokens, two layers skipped": [
        1.1410192, 0.9977138, 0.8738717, 0.7838183, 0.7301862, 0.6458879, 0.6386592, 0.6365625, 0.5741936, 0.6172545,
    ],
    "tokens, two layers cached": [
        1.1410192, 0.9977138, 0.8738717, 0.7838183, 0.7301862, 0.6458879, 0.6386592, 0.6365625, 0.5741936, 0.6172545,
    ],
    "dropout": [
        1.1006483, 0.9925276, 0.8799375, 0.8164066, 0.7481483, 0.6524131, 0.6544685, 0.6415372, 0.5924594, 0.6346818,
    ],
}  # fmt: skip


class Fixed(Objective):
    """An objective whose losses are given; each is moved by the graft's head's bias."""

    name = "fixed"

    def __init__(self, losses: list[float], *, uses_all: bool = True) -> None:
        self.losses = losses
        self.uses_all = uses_all

    def lengths(self) -> NDArray[np.int64]:
        return np.array([8])

    def compute_loss(
        self, attachment: Attachment, rows: NDArray[np.int64], *, seed: int, step: int, depth: Depth = BOTTOM
    ) -> Loss:
        layers = attachment.grafts[-1].layers
        values = list(layers.parameters()) if self.uses_all else list(layers["head"].parameters())
        total = self.losses[step] + 0 * torch.stack([value.sum() for value in values]).sum()
        return Loss(total=total, num_targets=1, num_tokens=8)


FEW_WORDS = {"num_words": 12, "negatives": (VOCAB - len(SPECIAL) - 12) // 3}
"""A text of few words, and a third of all others scored beside them."""
PATHS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mlm": ("mlm", {}),
    "mlm, all pieces": ("mlm", {"text": {"full": True}}),
    "mlm, a sample of the others": ("mlm", {"text": FEW_WORDS}),
    "mlm, joined rows": ("mlm", {"text": {"joined": True}}),
    "mlm, two batches an update": ("mlm", {"accumulate": 2, "batch_tokens": 48}),
    "tokens": ("tokens", {}),
    "tokens, two batches an update": ("tokens", {"accumulate": 2, "batch_tokens": 48}),
    "tokens, cached": ("tokens", {"skipped": (), "cache": True}),
    "tokens, one layer skipped": ("tokens", {"skipped": (0,)}),
    "tokens, one layer cached": ("tokens", {"skipped": (0,), "cache": True}),
    "tokens, two layers skipped": ("tokens", {"skipped": (0, 1)}),
    "tokens, two layers cached": ("tokens", {"skipped": (0, 1), "cache": True}),
    "dropout": ("tokens", {"dropout": True}),
}


def start(path: str) -> Training:
    """A training of one of the paths by which a step may go."""
    name, options = PATHS[path]
    changes, base = dict(options), make_base("bert")
    if "text" in changes:
        changes["objective"] = make_masked_lm(base, **changes.pop("text"))
    if "dropout" in changes and not torch.backends.mkl.is_available():
        pytest.skip("What PyTorch drops without MKL are other values.")
    skipped, is_cached = changes.pop("skipped", None), changes.pop("cache", False)
    if skipped is not None:
        parts = [Bottleneck(reduction=16, skip_layers=skipped), Head(objective="tokens", labels=LABELS)]
        changes["graft"] = make_graft(base, "new", parts, seed=4)
        changes["objective"] = Labelling(encode_sentences(base), cache=PrefixCache() if is_cached else None)
    return make_training(name, base=base, **changes)


@pytest.mark.parametrize("path", PATHS)
def test_ten_steps_give_the_stored_losses(path: str):
    losses = [step.loss for step in run(start(path))]
    assert losses == pytest.approx(LOSSES[path], abs=1e-5)


def test_of_the_others_each_step_of_the_path_draws_some():
    training = start("mlm, a sample of the others")
    seen: list[set[int]] = []
    objective = training.objective
    assert isinstance(objective, MaskedLm)
    assert objective.vocabulary is not None
    for _ in training.run():
        assert objective._decoder is not None
        seen.append(set(objective._decoder._drawn.tolist()))
    others = set(range(VOCAB)) - set(objective.vocabulary.tolist())
    assert FEW_WORDS["negatives"] == len(others) // 3 > 10
    assert all(drawn <= others for drawn in seen)
    assert len({frozenset(drawn) for drawn in seen}) == 10
    assert len(set.union(*seen)) > 2 * FEW_WORDS["negatives"]


@pytest.mark.parametrize("path", PATHS)
def test_ten_steps_with_a_stop_between_them_give_the_stored_losses(path: str, tmp_path: Path):
    first, second = start(path), start(path)
    first.checkpoints = second.checkpoints = Checkpoints(tmp_path, key="k")
    first.should_stop = lambda: first.progress.step == 6
    losses: list[float] = []
    with pytest.raises(Interrupted):
        losses.extend(step.loss for step in first.run())
    losses += [step.loss for step in run(second)]
    assert losses == pytest.approx(LOSSES[path], abs=1e-5)


def test_gradients_of_two_batches_are_those_of_their_rows_together():
    whole, halves = make_training("tokens", steps=1), make_training("tokens", steps=1, accumulate=2)
    rows = np.concatenate(halves.updates[0])
    assert len(halves.updates[0]) == 2
    whole.updates = [[rows]]
    (alone,), (summed,) = run(whole), run(halves)
    assert summed.loss == pytest.approx(alone.loss, abs=1e-6)
    assert summed.num_tokens == alone.num_tokens
    for name, value in whole.parameters.items():
        assert torch.allclose(value.grad, halves.parameters[name].grad, atol=1e-6), name


def test_another_seed_gives_other_batches():
    losses = [step.loss for step in run(make_training("tokens", seed=4))]
    assert losses[0] != pytest.approx(LOSSES["tokens"][0], abs=1e-4)


def test_steps_tell_where_the_training_is():
    training = make_training("tokens", steps=3)
    steps = run(training)
    assert [(step.number, step.total, step.plan) for step in steps] == [
        (1, 3, "new"),
        (2, 3, "new"),
        (3, 3, "new"),
    ]
    assert [step.tokens for step in steps] == np.cumsum([step.num_tokens for step in steps]).tolist()
    assert training.measure_cost()["tokens"] == steps[-1].tokens
    last = steps[-1]
    assert last.scoring_seconds == 0 < last.seconds
    assert last.tokens_per_second == pytest.approx(last.tokens / last.seconds)


def test_the_learning_rate_rises_and_falls_linearly():
    steps = run(make_training("tokens", lr=1.0e-3, warmup=0.4))
    expected = [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert [step.lr * 1e3 for step in steps] == pytest.approx(expected)
    settings = make_training("tokens", steps=1, lr=0.5).settings
    assert compute_lr(settings, step=0, total=1) == 0.5


def test_epochs_pass_over_every_row_once_each():
    training = make_training("tokens", steps=None, epochs=3)
    rows = np.concatenate([rows for update in training.updates for rows in update])
    assert np.bincount(rows).tolist() == [3] * 30


@pytest.mark.parametrize("options", [{"clip": 0.0}, {"clip": 0.05}, {"clip": 1.0, "weight_decay": 0.2}])
def test_an_update_is_that_of_adamw_written_out(options: dict[str, float]):
    training = make_training("tokens", steps=4, head_lr_factor=3.0, **options)
    reference = make_training("tokens", steps=4)
    values = {name: value.clone() for name, value in training.graft.tensors().items()}
    first = {name: torch.zeros_like(value) for name, value in values.items()}
    second = {name: torch.zeros_like(value) for name, value in values.items()}
    for number, step in enumerate(training.run()):
        gradients = compute_gradients(reference, values, number)
        norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
        shrink = min(1.0, options["clip"] / (norm + 1e-6)) if options["clip"] else 1.0
        for name, gradient in gradients.items():
            lr = step.lr * (3.0 if name.startswith("head.") else 1.0)
            first[name] = 0.9 * first[name] + 0.1 * shrink * gradient
            second[name] = 0.999 * second[name] + 0.001 * (shrink * gradient) ** 2
            mean, spread = first[name] / (1 - 0.9 ** (number + 1)), second[name] / (1 - 0.999 ** (number + 1))
            values[name] *= 1 - lr * options.get("weight_decay", 0.0)
            values[name] -= lr * mean / (spread.sqrt() + 1e-8)
        for name, value in training.graft.tensors().items():
            assert (value - values[name]).abs().max() < 2e-5, (number, name)


def compute_gradients(training: Any, values: dict[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    """The gradients of a step at given values, by autograd and no optimiser."""
    training.graft.layers.load_state_dict(values)
    training.graft.layers.zero_grad()
    with attach(training.base, Named("new"), grafts=training.grafts) as attachment:
        training.objective.compute_loss(
            attachment, training.updates[number][0], seed=3, step=number
        ).mean.backward()
    return {
        name: value.grad for name, value in training.graft.layers.named_parameters() if value.grad is not None
    }


def test_only_the_grafts_values_move():
    base = make_base("bert")
    below = make_trained_graft(base, "en", language_graft())
    graft = make_graft(base, "new", task_graft(labels=("O", "B-LOC", "B-PER")))
    before = base.compute_fingerprint(), read_bytes(below), read_bytes(graft)
    plans = [Stack((Named("en"), Named("new")))]
    run(make_training("tokens", base=base, graft=graft, plans=plans, grafts={"en": below, "new": graft}))
    assert (base.compute_fingerprint(), read_bytes(below)) == before[:2]
    assert all(value != before[2][name] for name, value in read_bytes(graft).items())
    assert not any(value.requires_grad or value.grad is not None for value in below.layers.parameters())
    assert not base.in_force


def test_several_plans_take_turns_by_chance_and_the_same_ones_again():
    base = make_base("bert")
    grafts = {
        name: make_trained_graft(base, name, language_graft(), seed=seed) for seed, name in enumerate("ab")
    }
    turns = []
    for seed in (3, 3, 8):
        new = make_graft(base, "new", task_graft(labels=("O", "B-LOC", "B-PER")))
        plans = [Named("new"), *(Stack((Named(name), Named("new"))) for name in "ab")]
        training = make_training(
            "tokens", base=base, graft=new, plans=plans, grafts={**grafts, "new": new}, seed=seed, steps=12
        )
        turns.append([step.plan for step in training.run()])
    assert turns[0] == turns[1] != turns[2]
    assert set(turns[0]) == {"new", "stack(a, new)", "stack(b, new)"}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_training(bad: float):
    training = make_training("tokens", objective=Fixed([1.0, 1.0, bad, 1.0]), steps=4, lr=0.01)
    with pytest.raises(TrainError) as caught:
        run(training)
    assert str(caught.value) == (
        f"The loss of 'new' is {bad} at step 3 of 4. Expected a number. Lower the learning rate (it is 0.005), and "
        "train again."
    )
    assert not training.base.in_force


def test_a_value_without_a_gradient_is_named():
    training = make_training("tokens", objective=Fixed([1.0], uses_all=False), steps=1)
    with pytest.raises(TrainError) as caught:
        run(training)
    assert str(caught.value) == (
        "The value 'bottleneck.layers.0.ffn.down.weight' of 'new' gets no gradient (12 of 14 such): nothing that the "
        "loss reads depends on it. Leave its layer out with skip_layers, or read the masked-LM head further up."
    )


def test_a_bottleneck_above_the_masked_lm_head_is_refused():
    base = make_base("bert", with_head=False)
    parts = [Bottleneck(reduction=4), Head(objective="mlm", layer=2)]
    graft = make_graft(base, "new", parts)
    with pytest.raises(TrainError, match=r"'bottleneck\.layers\.2\.ffn\.down\.weight' .* \(4 of 17 such\)"):
        run(make_training("mlm", base=base, graft=graft, objective=make_masked_lm(base)))


def test_a_stop_without_checkpoints_says_that_nothing_is_saved():
    with pytest.raises(Interrupted) as caught:
        run(make_training("tokens", should_stop=lambda: True))
    assert str(caught.value) == (
        "Training of 'new' was stopped after step 1 of 10, and nothing of it was saved. Train with checkpoints to go "
        "on later."
    )


def test_the_curve_has_the_first_and_the_last_step():
    training = make_training("tokens", objective=Fixed([float(n) for n in range(450)]), steps=450)
    run(training)
    points = [(point["step"], point["loss"]) for point in training.progress.curve]
    assert points[:3] == [(1.0, 0.0), (2.0, 1.0), (4.0, 3.0)]
    assert (points[-1], len(points)) == ((450.0, 449.0), 226)


def test_the_objectives_of_a_recipe_name_their_data():
    base = make_base("bert")
    assert make_objective(base, "mlm").name == "mlm"
    assert make_objective(base, "tokens").lengths().tolist() == make_objective(base, "mlm").lengths().tolist()


def test_a_checkpoint_of_before_batches_and_scoring_were_counted_is_gone_on_from(tmp_path: Path):
    whole, first, second = (make_training("tokens", steps=4) for _ in range(3))
    run(whole)
    first.checkpoints = second.checkpoints = Checkpoints(tmp_path, key="k")
    first.should_stop = lambda: first.progress.step == 2
    with pytest.raises(Interrupted):
        run(first)
    state = first.checkpoints.load()
    assert state is not None
    newer = ("num_batches", "num_looked_up", "scoring_seconds")
    facts = {key: value for key, value in state.facts.items() if key not in newer}
    assert len(facts) < len(state.facts)
    first.checkpoints.save(2, state.tensors, facts)
    assert [step.number for step in run(second)] == [3, 4]
    assert read_bytes(second.graft) == read_bytes(whole.graft)
    assert second.progress.seconds > first.progress.seconds
    assert second.progress.scoring_seconds == 0
