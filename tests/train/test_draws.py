"""What is drawn by chance while a graft is trained: the base's dropout, and what an objective draws by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.tiny import BASES, list_rates, make_base, make_batch, make_model, make_trained_graft
from tests.train.material import LABELS, encode_sentences, make_masked_lm, make_training, read_bytes, run
from torch import Tensor
from torch.nn import functional

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.compile import CompiledLayers
from polygraft.attach.depth import Depth
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.plan import Named
from polygraft.base.base import Base
from polygraft.base.projections import find_projection
from polygraft.base.sites import find_sites
from polygraft.base.transposed import turn_into_linear
from polygraft.data.chance import DRAWS, make_generator
from polygraft.errors import OptionError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.lora import Lora, LoraLayers
from polygraft.train import loop
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.draws import Draws
from polygraft.train.labels import Labelling
from polygraft.train.loop import Interrupted, Training
from polygraft.train.objective import BOTTOM, Loss, Objective
from polygraft.train.prefix import PrefixCache, find_kept_depth
from polygraft.train.settings import TrainSettings
from polygraft.train.together import run_together

LORA = [Lora(rank=2, roles=("down",)), Head(objective="tokens", labels=LABELS)]
NOT_KEPT = (
    "Nothing is kept for later epochs while 'new' is trained: with dropout frozen layers give something else each "
    "time."
)


class Everywhere(Objective):
    """Labels of all pieces of one batch; all places go through every layer, as in a plain model.

    Args:
        times: How often the batch comes in an epoch.
    """

    name = "everywhere"

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.batch = make_batch()
        labels = torch.randint(3, self.batch.input_ids.shape, generator=torch.Generator().manual_seed(5))
        self.labels = labels.where(self.batch.attention_mask.bool(), -100)
        self.losses: list[float] = []

    def lengths(self) -> NDArray[np.int64]:
        return self.batch.attention_mask.sum(1).numpy()

    def plan_epoch(self, *, batch_tokens: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        return [np.arange(3)] * self.times

    def sum_loss(self, scores: Tensor) -> Tensor:
        return functional.cross_entropy(scores.flatten(0, 1), self.labels.flatten(), reduction="sum")

    def compute_loss(
        self, attachment: Attachment, rows: NDArray[np.int64], *, seed: int, step: int, depth: Depth = BOTTOM
    ) -> Loss:
        total = self.sum_loss(attachment.find_head()(attachment.run(*self.batch)))
        self.losses.append(float(total.detach()))
        return Loss(total=total, num_targets=16, num_tokens=16)


def differentiate_plainly(
    name: str, graft: Graft, objective: Everywhere, *, seed: int
) -> tuple[float, dict[str, Tensor]]:
    """The mean loss and the gradients of a graft's values by transformers' own model in training mode.

    The products of LoRA stand in its weights, whose gradients G give those of the products: B's is G A^T, A's is B^T G.
    """
    model: Any = make_model(name, **list_rates(name)).base_model
    turn_into_linear(model)
    model.requires_grad_(False).train()
    lora, head = graft.layers["lora"], copy.deepcopy(graft.layers["head"])
    assert isinstance(lora, LoraLayers)
    weights: dict[int, Tensor] = {}
    for layer in range(3):
        beside = lora.find_layer((layer, "down"))
        weights[layer] = find_projection(find_sites(model), layer=layer, role="down").linear.weight
        weights[layer].data += (beside.scale * beside.B @ beside.A).detach()
        weights[layer].requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batch = objective.batch
        hidden = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)[0]
    loss = objective.sum_loss(head(hidden)) / 16
    loss.backward()
    gradients = {f"head.{key}": value.grad for key, value in head.named_parameters()}
    for layer, weight in weights.items():
        beside, whole = lora.find_layer((layer, "down")), weight.grad
        assert whole is not None
        gradients[f"lora.layers.{layer}.down.A"] = beside.scale * beside.B.detach().T @ whole
        gradients[f"lora.layers.{layer}.down.B"] = beside.scale * whole @ beside.A.detach().T
    return float(loss.detach()), gradients


@pytest.mark.parametrize("name", BASES)
def test_a_step_is_that_of_a_plain_model_in_training_mode(name: str):
    base, objective = make_base(name, **list_rates(name)), Everywhere()
    graft = make_trained_graft(base, "new", LORA)
    seed = int(make_generator(DRAWS, seed=3, place=0).integers(2**63))
    loss, gradients = differentiate_plainly(name, graft, objective, seed=seed)
    training = make_training(base=base, graft=graft, objective=objective, dropout=True, steps=1, clip=0.0)
    (step,) = run(training)
    assert step.loss == pytest.approx(loss, abs=1e-6)
    assert set(gradients) == set(training.parameters)
    for key, value in training.parameters.items():
        torch.testing.assert_close(
            value.grad, gradients[key], rtol=1e-5, atol=5e-6, msg=lambda told, key=key: f"{key}: {told}"
        )
    # It is another step than one without dropout.
    plain = make_training(
        base=base, graft=make_trained_graft(base, "new", LORA), objective=objective, steps=1
    )
    assert abs(run(plain)[0].loss - loss) > 1e-3


def test_each_batch_drops_other_values_and_the_same_ones_again():
    found: list[list[float]] = []
    for seed in (3, 3, 4):
        objective, base = Everywhere(times=3), make_base("bert")
        graft = make_trained_graft(base, "new", LORA)
        changes = {"dropout": True, "accumulate": 3, "steps": 1, "seed": seed}
        run(make_training(base=base, graft=graft, objective=objective, **changes))
        found.append(objective.losses)
    assert found[0] == found[1]
    assert len({*found[0], *found[2]}) == 6


def is_off(base: Base) -> bool:
    return not any(layer.training for layer in base.model.modules())


def test_held_out_data_is_scored_without_dropout():
    base, bare, objective = (
        make_base("bert"),
        make_base("bert", **list_rates("bert", hidden=0, attention=0)),
        Everywhere(),
    )
    graft = make_graft(base, "new", LORA)
    scores: list[float] = []

    def score(attachment: Attachment) -> float:
        return float(objective.compute_loss(attachment, np.arange(3), seed=0, step=0).mean)

    def evaluate(attachment: Attachment) -> float:
        assert is_off(base)
        scores.append(score(attachment))
        return -scores[-1]

    training = make_training(
        base=base, graft=graft, objective=objective, dropout=True, evaluate=evaluate, evaluate_every=1
    )
    for _ in training.run():
        assert is_off(base)
        # A base that has no dropout.
        with torch.no_grad(), attach(bare, Named("new"), grafts=[graft]) as attachment:
            assert scores[-1] == score(attachment)
    assert len(scores) == 10


def test_a_base_is_asked_what_it_would_guess_without_dropout():
    base = make_base("bert")
    asked, expected = (make_masked_lm(base, negatives=1) for _ in range(2))
    expected.get_ready(base)
    run(make_training("mlm", base=base, objective=asked, dropout=True, steps=1))
    assert asked.chances is not None
    assert np.array_equal(asked.chances, expected.chances)


class Failing(Labelling):
    """An objective that finds the base as it is to be and then fails."""

    def compute_loss(self, attachment: Attachment, *words: Any, **named: Any) -> Loss:
        assert not is_off(attachment.base)
        super().compute_loss(attachment, *words, **named).total.backward()
        raise ZeroDivisionError


@pytest.mark.parametrize("recompute", [False, True])
def test_after_an_error_the_base_and_the_generators_are_what_they_were(recompute: bool):
    base = make_base("bert")
    before = torch.get_rng_state()
    training = make_training(
        base=base, objective=Failing(encode_sentences(base)), dropout=True, recompute=recompute
    )
    with pytest.raises(ZeroDivisionError):
        run(training)
    assert is_off(base)
    assert not base.in_force
    assert torch.equal(torch.get_rng_state(), before)


class Drawing(Labelling):
    """An objective that draws from PyTorch's own generator."""

    def compute_loss(self, *words: Any, **named: Any) -> Loss:
        loss = super().compute_loss(*words, **named)
        return Loss(
            total=loss.total * (1 + torch.rand(())), num_targets=loss.num_targets, num_tokens=loss.num_tokens
        )


def start_drawing(**changes: Any) -> Training:
    base = make_base("bert")
    return make_training(base=base, objective=Drawing(encode_sentences(base)), steps=6, **changes)


def start_dropping(name: str, **changes: Any) -> Training:
    return make_training(name, steps=6, dropout=True, accumulate=2, batch_tokens=48, **changes)


STARTS: dict[str, Callable[..., Training]] = {
    "dropout, text": lambda **changes: start_dropping("mlm", **changes),
    "dropout, labels": lambda **changes: start_dropping("tokens", **changes),
    "dropout, layers run again": lambda **changes: start_dropping("tokens", recompute=True, **changes),
    "dropout, rounded": lambda **changes: start_dropping("tokens", precision="bfloat16", **changes),
    "an objective that draws": start_drawing,
}


@pytest.mark.parametrize("stop", [1, 4])
@pytest.mark.parametrize("start", STARTS)
def test_a_training_that_goes_on_draws_what_it_would_have_drawn(start: str, stop: int, tmp_path: Path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = STARTS[start]()
        losses = [step.loss for step in run(whole)]
        first, second = (STARTS[start](checkpoints=Checkpoints(tmp_path, key="k")) for _ in range(2))
        first.should_stop = lambda: first.progress.step == stop
        found: list[float] = []
        with pytest.raises(Interrupted):
            found.extend(step.loss for step in first.run())
        # As in another process.
        torch.manual_seed(2)
        found += [step.loss for step in run(second)]
    assert found == losses
    assert read_bytes(second.graft) == read_bytes(whole.graft)


def test_what_is_drawn_depends_on_the_seed_and_leaves_the_callers_generator_alone():
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        for _ in start_drawing().run():
            assert torch.equal(torch.get_rng_state(), before)
    factors: list[list[float]] = []
    for seed in (3, 4):
        draws = Draws(make_base("bert"), settings=TrainSettings(steps=1, seed=seed))
        factors.append([])
        for batch in (0, 1, 0):
            with draws.settle(batch):
                factors[-1].append(float(torch.rand(())))
    assert [first == again for first, _, again in factors] == [True, True]
    assert len({*factors[0], *factors[1]}) == 4


def test_nothing_is_looked_up_and_who_asked_for_it_is_told():
    trainings: list[Training] = []
    told: list[str] = []
    for cache in (None, PrefixCache()):
        base = make_base("bert")
        parts = [Bottleneck(skip_layers=(0, 1)), Head(objective="tokens", labels=LABELS)]
        objective = Labelling(encode_sentences(base), cache=cache)
        changes: dict[str, Any] = {"steps": None, "epochs": 3, "dropout": True, "notify": told.append}
        graft = make_graft(base, "new", parts, seed=4)
        trainings.append(make_training(base=base, graft=graft, objective=objective, **changes))
        run(trainings[-1])
        assert (told == [NOT_KEPT]) == (cache is not None)
    plain, cached = trainings
    assert read_bytes(cached.graft) == read_bytes(plain.graft)
    assert cached.objective.cache is not None
    assert (cached.objective.cache.num_computed, cached.objective.cache.num_found) == (0, 0)
    assert cached.measure_cost()["looked_up"] == 0
    assert "looked_up" not in plain.measure_cost()


@pytest.mark.parametrize(("dropout", "depth"), [(False, Depth(1, in_layer=True)), (True, Depth())])
def test_with_dropout_nothing_stands_still(dropout: bool, depth: Depth):
    base = make_base("bert")
    graft = make_graft(base, "new", [Bottleneck(skip_layers=(0,)), Head(objective="tokens", labels=LABELS)])
    assert find_kept_depth(base, graft, settings=TrainSettings(steps=1, dropout=dropout)) == depth


def test_trainings_side_by_side_share_nothing_and_end_as_alone():
    base = make_base("bert")

    def start(objective: Labelling, seed: int, **changes: Any) -> Training:
        parts = [Bottleneck(reduction=2, skip_layers=(0, 1)), Head(objective="tokens", labels=LABELS)]
        graft = make_graft(base, "new", parts, seed=seed)
        return make_training(base=base, graft=graft, objective=objective, seed=seed, **changes)

    kinds = [(1, True), (2, True), (2, False)]
    alone = [start(Labelling(encode_sentences(base)), seed, dropout=dropout) for seed, dropout in kinds]
    for training in alone:
        run(training)
    shared = Labelling(encode_sentences(base), cache=PrefixCache())
    together = [start(shared, seed, dropout=dropout) for seed, dropout in kinds]
    for _ in run_together(together):
        assert is_off(base)
    assert [read_bytes(training.graft) for training in together] == [
        read_bytes(training.graft) for training in alone
    ]
    # Only the one without dropout looks anything up.
    assert shared.cache is not None
    assert shared.cache.num_computed + shared.cache.num_found == together[2].total
    assert [training.progress.num_looked_up > 0 for training in together] == [False, False, True]


def test_a_base_without_dropout_is_refused_before_the_training_begins():
    with pytest.raises(
        OptionError, match=r"^A graft was to be trained with dropout, and the base 'tiny-llama' has"
    ):
        make_training(base=make_base("llama"), dropout=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_compiled_layers_drop_values_where_they_are_to(monkeypatch: pytest.MonkeyPatch):
    torch._dynamo.reset()
    monkeypatch.setattr(loop, "_compile_layers", lambda base: CompiledLayers(base, backend="eager"))
    base = make_base("bert", **list_rates("bert"))

    def train(**changes: Any) -> list[float]:
        graft = make_trained_graft(base, "new", LORA)
        return [
            step.loss
            for step in run(make_training(base=base, graft=graft, objective=Everywhere(), steps=3, **changes))
        ]

    dropping, kept = train(dropout=True), train()
    assert train(dropout=True, compile=True) == pytest.approx(dropping, abs=1e-5)
    assert train(dropout=True, compile=True, recompute=True) == pytest.approx(dropping, abs=1e-5)
    # What was compiled with dropout is not taken for what has none.
    assert train(compile=True) == pytest.approx(kept, abs=1e-5)
    assert abs(dropping[0] - kept[0]) > 1e-3


def test_the_generator_of_the_bases_gpu_is_given_back_too(monkeypatch: pytest.MonkeyPatch):
    gpu, asked = torch.device("cuda", 1), list[tuple[str, object]]()

    class Current:
        def __init__(self, device: torch.device) -> None:
            asked.append(("current", device))

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    def get(device: torch.device) -> str:
        asked.append(("get", device))
        return "state"

    monkeypatch.setattr(torch.cuda, "get_rng_state", get)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: asked.append((state, device)))
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: asked.append(("seed", seed)))
    monkeypatch.setattr(torch.cuda, "device", Current)
    base: Any = SimpleNamespace(device=gpu)
    with Draws(base, settings=TrainSettings(steps=1, seed=3)).settle(2):
        asked.append(("work", None))
    seed = int(make_generator(DRAWS, seed=3, place=2).integers(2**63))
    steps = [("get", gpu), ("current", gpu), ("seed", seed), ("work", None), ("state", gpu)]
    assert asked == steps
