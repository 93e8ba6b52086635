"""The grafts that controls are, against plain tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.recipe.material import load
from tests.tiny import make_base, make_batch, make_trained_graft
from tests.weights import WEIGHTS, draw_masks, draw_values
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, copy_tensors, make_graft
from polygraft.attach.sparse import make_delta
from polygraft.base.base import Base
from polygraft.errors import RecipeError
from polygraft.parts.bitfit import BitFit, BitFitLayers
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import DeltaLayers
from polygraft.parts.glow import Glow
from polygraft.parts.invertible import Invertible
from polygraft.recipe.control_grafts import check_last, drop_invertible, drop_last, shuffle_values
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.preflight import check_recipe


def make_language(base: Base, *, name: str = "qu") -> Graft:
    return make_trained_graft(base, name, [Bottleneck(reduction=2), Invertible(reduction=2)])


def make_sparse(base: Base) -> Graft:
    chosen = draw_masks(base, 0.3, seed=7)
    return make_delta(base, "qu", chosen, weights=WEIGHTS, values=draw_values(chosen, seed=8))


def run(base: Base, graft: Graft) -> Tensor:
    batch = make_batch()
    with torch.no_grad(), attach(base, graft.name, grafts=[graft]) as attachment:
        return attachment.run(batch.input_ids, batch.attention_mask)


def test_a_shuffled_graft_has_the_values_of_each_tensor_in_the_order_of_its_seed():
    base = make_base("bert")
    own = make_language(base)
    kept = {key: tensor.clone() for key, tensor in own.tensors().items()}
    made = shuffle_values(base, own, name="qu-random", seed=3)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(3, spawn_key=(4, 0))))
    for key, tensor in own.tensors().items():
        wanted = tensor.flatten()[torch.from_numpy(rng.permutation(tensor.numel()))].view(tensor.shape)
        assert torch.equal(made.tensors()[key], wanted)
        assert not torch.equal(wanted, tensor) or tensor.numel() == 1
        assert torch.equal(wanted.flatten().sort().values, tensor.flatten().sort().values)
        assert torch.equal(tensor, kept[key])
    assert (made.name, made.parts) == ("qu-random", own.parts)
    assert not any(parameter.requires_grad for parameter in made.layers.parameters())
    assert not torch.allclose(run(base, made), run(base, own), atol=1e-3)


def test_the_same_seed_gives_the_same_shuffled_graft_and_another_one_another():
    base = make_base("bert")
    own = make_language(base)
    made = [shuffle_values(base, own, name="r", seed=seed).tensors() for seed in (1, 1, 2)]
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])
    assert not torch.equal(
        made[0]["bottleneck.layers.0.ffn.up.weight"], made[2]["bottleneck.layers.0.ffn.up.weight"]
    )


def test_a_shuffled_delta_keeps_its_places_and_the_values_of_each_weight():
    base = make_base("bert")
    own = make_sparse(base)
    made = shuffle_values(base, own, name="r", seed=5)
    before, after = (graft.list_layers(DeltaLayers)[0] for graft in (own, made))
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(5, spawn_key=(4, 0))))
    moved = 0
    for name in before.names:
        places, kept = before.find_places(name), after.find_places(name)
        assert places is not None
        assert kept is not None
        assert torch.equal(places, kept)
        span = np.arange(before.find_span(name).start, before.find_span(name).stop)
        wanted = before.values.detach()[torch.from_numpy(rng.permutation(span))]
        assert torch.equal(after.read(name), wanted)
        moved += int((wanted != before.read(name)).sum())
    assert moved > 20


def test_shuffled_biases_stay_with_their_layers():
    base = make_base("bert")
    own = make_trained_graft(base, "qu", [BitFit()])
    made = shuffle_values(base, own, name="r", seed=2)
    before, after = (graft.list_layers(BitFitLayers)[0] for graft in (own, made))
    for name in before.names:
        one, two = (layers.values.detach()[layers.find_span(name)] for layers in (before, after))
        assert torch.equal(one.sort().values, two.sort().values)
    assert not torch.equal(before.values, after.values)


def test_the_last_bottleneck_is_left_out_and_all_others_stay():
    base = make_base("bert")
    layers = base.sites.num_layers
    own = make_trained_graft(
        base, "qu", [Bottleneck(reduction=2, skip_layers=(-1,)), Invertible(reduction=2)]
    )
    made = drop_last(base, own, name="qu-drop-last")
    last = layers - 2
    gone = {key for key in own.tensors() if key.startswith(f"bottleneck.layers.{last}.")}
    assert len(gone) == 4
    assert made.tensors().keys() == own.tensors().keys() - gone
    assert all(torch.equal(tensor, own.tensors()[key]) for key, tensor in made.tensors().items())
    # The same as the whole graft whose last up projection adds nothing.
    silent = make_graft(base, "silent", own.parts)
    zeroed = {key: tensor.clone() for key, tensor in own.tensors().items()}
    for key in gone:
        if ".up." in key:
            zeroed[key].zero_()
    copy_tensors(silent, zeroed)
    torch.testing.assert_close(run(base, made), run(base, silent), rtol=0, atol=1e-6)


def test_a_single_bottleneck_goes_whole_and_the_invertible_part_stays():
    base = make_base("bert")
    skipped = tuple(range(1, base.sites.num_layers))
    own = make_trained_graft(
        base, "qu", [Bottleneck(reduction=2, skip_layers=skipped), Invertible(reduction=2)]
    )
    made = drop_last(base, own, name="left")
    assert [part.kind for part in made.parts] == ["invertible"]
    assert all(torch.equal(tensor, own.tensors()[key]) for key, tensor in made.tensors().items())


@pytest.mark.parametrize("invertible", [Invertible(reduction=2), Glow()])
def test_a_graft_without_its_invertible_part_is_its_bottleneck(invertible: Invertible | Glow):
    base = make_base("bert")
    own = make_trained_graft(base, "qu", [invertible, Bottleneck(reduction=2)])
    made = drop_invertible(base, own, name="qu-no-invertible")
    assert made.parts == (Bottleneck(reduction=2),)
    wanted = {key: tensor for key, tensor in own.tensors().items() if key.startswith("bottleneck.")}
    assert made.tensors().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in made.tensors().items())


def test_parts_of_one_kind_keep_their_own_tensors_when_one_goes():
    base = make_base("bert")
    one = tuple(range(1, base.sites.num_layers))
    own = make_trained_graft(base, "qu", [Bottleneck(reduction=4, skip_layers=one), Bottleneck(reduction=2)])
    made = drop_last(base, own, name="left")
    assert [part.kind for part in made.parts] == ["bottleneck"]
    assert torch.equal(
        made.tensors()["bottleneck.layers.0.ffn.down.weight"],
        own.tensors()["bottleneck_2.layers.0.ffn.down.weight"],
    )


@pytest.mark.usefixtures("here")
def test_a_graft_of_one_bottleneck_cannot_lose_it():
    recipe, base = (
        load("base=bare", 'controls=["drop-last"]', "train.mlm.from_layer=1"),
        make_base("bert", with_head=False),
    )
    with pytest.raises(RecipeError) as refusal:
        check_recipe(recipe, base, Corpus(recipe=recipe, tokenizer=base.tokenizer))
    assert str(refusal.value) == (
        "The recipe has the control 'drop-last', and its language grafts have a bottleneck in one layer of "
        "'tiny-bert', so nothing would be left of them. Expected two layers or more below the masked-LM head. Leave "
        "the control out: the condition 'none' is that."
    )
    check_last(
        load(
            "base=bare", 'controls=["drop-last"]', "train.mlm.from_layer=1", "train.language.invertible=true"
        ),
        base,
    )
