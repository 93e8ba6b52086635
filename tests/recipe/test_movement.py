"""Movement pruning."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.recipe.by_method import SETTINGS, carry_out, count, load_graft, make_order, read_mask
from tests.tiny import make_base

from polygraft.attach.attach import attach
from polygraft.attach.sparse import find_edit, read_places, read_values
from polygraft.errors import OptionError
from polygraft.parts.delta import DeltaLayers
from polygraft.parts.mask import MaskLayers
from polygraft.parts.scores import ScoresLayers
from polygraft.prune.schedule import cubic_at
from polygraft.recipe.bench import Bench
from polygraft.recipe.methods import LtSft, Movement

pytestmark = pytest.mark.usefixtures("here")
LONG = make_order(settings=dataclasses.replace(SETTINGS, steps=10))


def test_the_wanted_share_is_pruned_exactly():
    carry_out(Movement(sparsity=0.7, every=1), LONG)
    assert count(read_mask("new")) == 5376 - round(0.7 * 5376)


def test_the_share_follows_a_cubic_curve(monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    train = Bench.train

    def spy(self, graft, *, prepare, **options):
        scores = find_edit(graft, ScoresLayers)

        def look(number: int) -> None:
            prepare(number)
            seen.append(sum(int(scores.find_pruned(name).sum()) for name in scores.names))

        return train(self, graft, prepare=look, **options)

    monkeypatch.setattr(Bench, "train", spy)
    carry_out(Movement(sparsity=0.7, every=1, start_share=0.2, end_share=0.8), LONG)
    expected = [
        round(5376 * cubic_at(step, 10, final=0.7, start_share=0.2, end_share=0.8)) for step in range(10)
    ]
    # Scores that are equal to the last one that is pruned are pruned with it.
    assert all(wanted <= found <= wanted + 60 for wanted, found in zip(expected, seen, strict=True))
    assert seen[0] == 0 and expected[-1] == round(0.7 * 5376)


def test_what_survives_and_how_much_it_moved_are_stored():
    _, _, made = carry_out(Movement(sparsity=0.7, every=1), LONG)
    graft = load_graft("new")
    values = find_edit(graft, DeltaLayers).values
    assert read_places(find_edit(graft, MaskLayers)).keys() == read_mask("new").keys()
    assert count(read_places(find_edit(graft, MaskLayers))) == len(values)
    assert len(values) == made[-1].hyperparameters["weights_kept"] == 1613
    assert bool(torch.isfinite(values).all()) and made[-1].hyperparameters["sparsity"] == pytest.approx(
        0.7, abs=1e-3
    )


def test_shares_in_the_wrong_order_are_refused():
    with pytest.raises(OptionError, match=r"and prunes from 0\.8 to 0\.2 of the steps"):
        Movement(start_share=0.8, end_share=0.2)


def test_over_a_language_the_stored_graft_is_the_one_that_was_trained():
    """What survives is what the delta below made of it, plus what training added; what does not is zero."""
    carry_out(LtSft(density=0.5), make_order(objective="mlm", name="en"))
    carry_out(Movement(sparsity=0.5, every=1), make_order(under="en"))
    base = make_base("bert")
    en, new = (load_graft(name, base=base) for name in ("en", "new"))
    added = [read_values(find_edit(graft, DeltaLayers)) for graft in (en, new)]
    kept = read_places(find_edit(new, MaskLayers))
    own = {name: weight.detach().clone() for name, weight in base.model.named_parameters()}
    with attach(base, "stack(en, new)", grafts=[en, new]):
        for name, mask in kept.items():
            expected = (own[name] + added[0][name] + added[1][name]) * mask
            assert torch.allclose(base.model.get_parameter(name).detach(), expected, atol=1e-6)
