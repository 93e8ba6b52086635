"""Movement pruning."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.recipe.by_method import (
    SETTINGS,
    carry_out,
    change_settings,
    count,
    flatten,
    load_graft,
    make_order,
    read_checkpoint,
    read_flat,
    read_mask,
    stop_after,
)
from tests.tiny import make_base, make_batch

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, copy_tensors, make_graft
from polygraft.attach.sparse import find_edit, read_places, read_values
from polygraft.base.base import Base
from polygraft.errors import OptionError
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.mask import MaskLayers
from polygraft.parts.scores import Scores, ScoresLayers
from polygraft.prune.schedule import cubic_at
from polygraft.recipe.bench import Bench
from polygraft.recipe.methods import LtSft, Movement
from polygraft.train.loop import Interrupted

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


def train_until_the_last_step(method: Movement, **settings: object) -> dict[str, torch.Tensor]:
    """Train and store a graft; give what was trained before its survivors were chosen."""
    order = make_order(dev=None, settings=change_settings(**{"steps": 10, **settings}))
    with pytest.raises(Interrupted):
        carry_out(method, order, should_stop=stop_after(10))
    tensors = read_checkpoint("movement", 10)
    carry_out(method, order)
    return tensors


def test_survivors_have_the_largest_scores_and_the_values_they_were_trained_to():
    tensors = train_until_the_last_step(Movement(sparsity=0.8, every=1))
    kept, scores = flatten(read_mask("new")), tensors["scores.values"].tolist()
    first = sorted(range(5376), key=lambda place: (-scores[place], place))[:1075]
    assert kept.nonzero().flatten().tolist() == sorted(first)
    assert torch.equal(read_flat("new"), tensors["delta.values"] * kept)


def score(base: Base, graft: Graft) -> torch.Tensor:
    batch = make_batch()
    with torch.no_grad(), attach(base, "new", grafts=[graft]) as attachment:
        return attachment.score(*batch)[batch.attention_mask == 1]


def test_what_is_stored_is_close_to_what_was_trained():
    """Survivors are chosen once more in the end, after the last update of the scores, which is a small one."""
    tensors = train_until_the_last_step(Movement(sparsity=0.8, every=1))
    base = make_base("bert")
    stored = load_graft("new", base=base)
    trained = make_graft(base, "new", [Delta(), Scores(), stored.parts[-1]])
    copy_tensors(trained, tensors)
    was = tensors["scores.values"] > tensors["scores.threshold"]
    assert int((flatten(read_mask("new")) != was).sum()) < 0.02 * 5376
    found, expected = score(base, stored), score(base, trained)
    assert (found - expected).norm() < 0.2 * expected.norm()


def test_scores_learn_at_a_rate_of_their_own_and_a_penalty_pulls_them_down():
    """Adam's first step moves every value by the learning rate."""
    order = make_order(settings=change_settings(warmup=0.0, checkpoint_every=1))
    for penalty, largest in ((0.0, 0.3), (1e6, -0.3)):
        with pytest.raises(Interrupted):
            carry_out(Movement(every=1, penalty=penalty), order, should_stop=stop_after(1))
        tensors = read_checkpoint("movement", 1)
        assert float(tensors["scores.values"].max()) == pytest.approx(largest, rel=0.01)
        assert float(tensors["delta.values"].abs().max()) == pytest.approx(SETTINGS.lr, rel=0.01)


def test_a_half_is_rounded_up_as_in_every_other_method():
    """Of 256 weights, 2.5 are to be left."""
    name = "encoder.layer.0.attention.self.query.weight"
    order = make_order(dev=None, settings=change_settings(steps=2))
    carry_out(Movement(weights=(name,), sparsity=0.990234375, every=1), order)
    assert count(read_mask("new")) == 3
