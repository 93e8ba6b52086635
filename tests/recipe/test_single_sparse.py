"""What all methods that change weights have in common."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from tests.recipe.by_method import SETTINGS, carry_out, load_graft, make_order, read_bytes, stop_after
from tests.tiny import make_base
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.sparse import find_edit
from polygraft.errors import OptionError
from polygraft.parts.edit import EditLayers
from polygraft.parts.mask import MaskLayers
from polygraft.recipe.imp import REWIND
from polygraft.recipe.methods import Imp, LtSft, Method, Movement, PackNet, Piggyback, Structured
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.loop import Interrupted

pytestmark = pytest.mark.usefixtures("here")

METHODS: dict[str, Method] = {
    "imp": Imp(sparsities=(0.0, 0.5, 0.8)),
    "imp rewound": Imp(sparsities=(0.5, 0.8), rewind="2"),
    "lt-sft": LtSft(density=0.1),
    "piggyback": Piggyback(),
    "packnet": PackNet(sparsity=0.5),
    "movement": Movement(sparsity=0.7, every=1),
    "structured": Structured(sparsity=0.5),
}
every_method = pytest.mark.parametrize("kind", METHODS)


@every_method
def test_an_order_that_is_stopped_again_and_again_ends_with_the_same_bytes(kind: str):
    carry_out(METHODS[kind], store="whole")
    num_stops = 0
    while True:
        try:
            carry_out(METHODS[kind], should_stop=stop_after(2))
            break
        except Interrupted:
            num_stops += 1
    assert num_stops >= 2
    assert read_bytes("store") == read_bytes("whole")
    assert not list(Path("store/.checkpoints").glob("new*"))


@every_method
def test_an_order_that_was_carried_out_is_not_carried_out_again(kind: str):
    _, _, made = carry_out(METHODS[kind])
    phases, steps, again = carry_out(METHODS[kind])
    assert (phases, steps, again) == ([], [], made[-1:])


@every_method
def test_the_score_in_the_manifest_is_that_of_the_stored_graft(kind: str):
    _, _, made = carry_out(METHODS[kind])
    from polygraft.data.conll import read_conll
    from polygraft.recipe.objectives import score_examples

    base = make_base("bert")
    with torch.no_grad(), attach(base, "new", grafts=[load_graft("new", base=base)]) as attachment:
        dev = read_conll(Path("data/dev.conll"))
        score = score_examples(attachment, dev, task="new", language="und", condition="dev")[0].score
    assert made[-1].scores == {"dev": pytest.approx(score, abs=1e-9)}


HARD = dataclasses.replace(
    SETTINGS, weight_decay=0.5, clip=0.1, accumulate=2, precision="bfloat16", steps=6, checkpoint_every=1
)


@pytest.mark.parametrize("kind", ["imp", "lt-sft", "packnet", "structured"])
def test_nothing_moves_outside_of_the_mask_whatever_is_on(kind: str):
    """Weight decay, momentum, clipping, accumulation, rounded products, and going on in the middle."""
    order = make_order(settings=HARD)
    for _ in range(50):
        try:
            carry_out(METHODS[kind], order, should_stop=stop_after(4))
            break
        except Interrupted:
            continue
    base = make_base("bert")
    before = {name: weight.clone() for name, weight in base.model.named_parameters()}
    graft = load_graft("new", base=base)
    layers = find_edit(graft, EditLayers)
    with attach(base, "new", grafts=[graft]):
        for name, weight in base.model.named_parameters():
            if name not in layers.index_of:
                assert torch.equal(weight, before[name])
                continue
            places = layers.find_kept(name) if isinstance(layers, MaskLayers) else layers.find_places(name)
            outside = torch.ones(weight.numel(), dtype=torch.bool)
            outside[places] = False
            own: Tensor = weight.detach().flatten()[outside]
            expected = torch.zeros(()) if isinstance(layers, MaskLayers) else before[name].flatten()[outside]
            assert torch.equal(own, expected.expand_as(own))
            assert not torch.equal(weight.detach().flatten()[~outside], before[name].flatten()[~outside])


@pytest.mark.parametrize("kind", METHODS)
def test_what_a_graft_cost_is_what_all_its_phases_took(kind: str):
    _, steps, made = carry_out(METHODS[kind])
    # The last update of each phase tells what the phase took.
    last = [
        step
        for step, after in zip(steps, [*steps[1:], None], strict=True)
        if after is None or after.number == 1
    ]
    manifest = made[-1]
    assert manifest.hyperparameters["steps_done"] == len(steps)
    assert manifest.cost["tokens"] == sum(step.tokens for step in last)
    assert manifest.cost["seconds"] == pytest.approx(sum(step.seconds for step in last))
    assert manifest.cost["tokens_per_second"] == pytest.approx(
        manifest.cost["tokens"] / (manifest.cost["seconds"] - manifest.cost["scoring_seconds"])
    )
    assert manifest.cost["peak_memory_bytes"] >= max(step.peak_memory_bytes for step in last)


def test_a_stop_between_phases_loses_nothing_of_the_cost():
    whole = carry_out(METHODS["lt-sft"])[2][-1]
    order = make_order(name="other")
    for _ in range(20):
        try:
            _, _, made = carry_out(METHODS["lt-sft"], order, store="elsewhere", should_stop=stop_after(3))
            break
        except Interrupted:
            continue
    assert made[-1].hyperparameters["steps_done"] == whole.hyperparameters["steps_done"] == 8
    assert made[-1].cost["tokens"] == whole.cost["tokens"]


@pytest.mark.parametrize(
    ("retrain", "steps"), [("between", [4, 8, 12]), ("after", [4, 8, 8]), ("never", [4, 4, 4])]
)
def test_a_level_cost_what_it_stands_on(retrain: Literal["between", "after", "never"], steps: list[int]):
    made = carry_out(Imp(sparsities=(0.0, 0.5, 0.8), retrain=retrain))[2]
    assert [manifest.hyperparameters["steps_done"] for manifest in made] == steps


@pytest.mark.parametrize("kind", ["lt-sft", "piggyback", "imp"])
def test_languages_are_learned_from_plain_text(kind: str):
    _, steps, made = carry_out(METHODS[kind], make_order(objective="mlm"))
    assert set(made[-1].scores) == {"held_out_loss"} and made[-1].scores["held_out_loss"] > 0
    assert len(steps) == {"lt-sft": 8, "piggyback": 4, "imp": 12}[kind]


def test_word_embeddings_are_left_alone_while_pieces_are_guessed():
    with pytest.raises(OptionError) as refused:
        carry_out(LtSft(weights=("embedding",)), make_order(objective="mlm"))
    assert str(refused.value) == (
        "The graft 'new' was to change 'embeddings.word_embeddings.weight' while it learns to guess pieces, and these "
        "are also what scores the pieces. Expected other weights, such as linear and norm. Leave the word embeddings "
        "out."
    )


def test_a_task_may_change_embeddings():
    _, _, made = carry_out(LtSft(weights=("embedding", "norm"), density=0.1))
    assert made[-1].parts[0].options["weights"] == ["embedding", "norm"]


def test_a_task_is_learned_over_a_language():
    carry_out(METHODS["lt-sft"], make_order(objective="mlm", name="en"))
    _, _, made = carry_out(METHODS["lt-sft"], make_order(under="en"))
    assert made[-1].trained_under == "stack(en, new)"
    assert [member.name for member in made[-1].members] == ["en"]


def test_values_may_be_stored_in_half_the_bytes():
    _, _, whole = carry_out(LtSft(density=0.5))
    _, _, half = carry_out(LtSft(density=0.5, dtype="float16"), store="half")
    tensors = [load_graft("new", store=store).tensors()["delta.values"] for store in ("store", "half")]
    assert torch.equal(tensors[0].half(), tensors[1])
    assert half[-1].num_bytes < 0.7 * whole[-1].num_bytes


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (
            Imp(sparsities=(0.4,), scope="3:5"),
            "'encoder.layer.0.attention.self.query.weight'",
        ),
        (LtSft(weights=("liner",)), "asks for the weights 'liner', and none of the base's"),
        (Imp(sparsities=(0.99999,)), "leaves none of 5,376 weights. At least one was expected."),
        (Imp(rewind="4"), "Pruning was to rewind to step 4, and the dense training has 4 steps."),
    ],
)
def test_the_impossible_is_refused_before_anything_is_trained(method: Method, sentence: str):
    with pytest.raises(OptionError) as refused:
        carry_out(method)
    assert sentence in str(refused.value)
    assert not list(Path("store/.checkpoints").glob("new*"))


@pytest.mark.parametrize(
    ("kind", "phase", "num_values"), [("lt-sft", "sparse", 538), ("imp rewound", "level-0.8", 1075)]
)
def test_the_optimiser_remembers_nothing_of_what_may_not_change(kind: str, phase: str, num_values: int):
    """What a checkpoint holds of the sparse phase has one number for each value, and none is dense."""
    order = make_order(dev=None, settings=HARD)
    stops = {"sparse": 6 + 3, "level-0.8": 2 * 6 + 3}[phase]
    with pytest.raises(Interrupted):
        carry_out(METHODS[kind], order, should_stop=stop_after(stops))
    [path] = Path("store/.checkpoints").glob(f"new-*/{phase}/step-000000003-*")
    sizes = {name: each.numel() for name, each in load_file(path / "state.safetensors").items()}
    values = next(name for name in sizes if name.startswith("graft/") and name.endswith(".values"))
    name = values.removeprefix("graft/")
    assert sizes[values] == num_values
    assert sizes[f"optimiser/exp_avg/{name}"] == sizes[f"optimiser/exp_avg_sq/{name}"] == num_values
    assert max(sizes.values()) == num_values


@every_method
def test_no_phase_that_is_done_is_saved_again(kind: str, monkeypatch: pytest.MonkeyPatch):
    saved: list[tuple[str, int]] = []
    real = Checkpoints.save

    def save(self: Checkpoints, step: int, *arguments: Any) -> None:
        saved.append((self.folder.name, step))
        real(self, step, *arguments)

    monkeypatch.setattr(Checkpoints, "save", save)
    # A phase of four steps is done after the second checkpoint.
    order = make_order(settings=dataclasses.replace(SETTINGS, checkpoint_every=2))
    carry_out(METHODS[kind], order, store="whole")
    assert {step for _, step in saved} == {2, 4}
    saved.clear()
    while True:
        try:
            carry_out(METHODS[kind], order, should_stop=stop_after(3))
            break
        except Interrupted:
            pass
    # What is rewound to is no phase.
    phases = [each for each in saved if each[0] != REWIND]
    assert len(phases) == len(set(phases))
    assert read_bytes("store") == read_bytes("whole")
