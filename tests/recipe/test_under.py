"""Tasks over the mean of the target's language graft and the source's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.recipe.material import BARE, find_end, load, names_of, read_grafts, run_all
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, rebuild_graft
from polygraft.base.load import load_base
from polygraft.errors import RecipeError
from polygraft.recipe.events import StepStarted
from polygraft.store.store import Store

LEAN = "train.task.source_weight=0.25"


def test_a_target_is_scored_with_the_weighed_mean_of_two_stored_grafts(here: Path):
    end = find_end(run_all(load(*BARE, LEAN, "train.language.lr=0.05")))
    plan = next(r.plan for r in end.summary.results if (r.language, r.condition) == ("qu", "target"))
    base, store = load_base("bare", device="cpu"), Store(Path("store"))
    own, source, ner, mean = (rebuild_graft(base, *store.get(name)) for name in ("qu", "en", "ner", "qu"))
    # The slow reference: parameter by parameter.
    with torch.no_grad():
        pairs = zip(own.layers.parameters(), source.layers.parameters(), strict=True)
        for tensor, (first, second) in zip(mean.layers.parameters(), pairs, strict=True):
            tensor.copy_((0.75 * first.double() + 0.25 * second.double()).float())

    ids = torch.randint(5, 20, (3, 12), generator=torch.Generator().manual_seed(0))

    def score(plan: str, *grafts: Graft) -> Tensor:
        with attach(base, plan, grafts=grafts, store=store) as attachment, torch.inference_mode():
            return attachment.score(ids, torch.ones_like(ids))

    expected = score("stack(qu, ner)", mean, ner)
    assert (score(plan) - expected).abs().max() < 1e-6
    assert (score("stack(qu, ner)", own, ner) - expected).abs().max() > 1e-3


def test_the_weight_trains_nothing_anew(here: Path):
    run_all(load(*BARE))
    before = read_grafts(Path("store"))
    events = run_all(load(*BARE, LEAN))
    assert read_grafts(Path("store")) == before
    assert names_of(events, StepStarted) == ["evaluate.ner"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            [LEAN, "train.language.method=piggyback"],
            "The recipe has train.task.source_weight = 0.25, and its language grafts cannot be averaged. Expected 0, "
            "or language grafts made by lt-sft or of parts that have a mean (bottleneck, compacter, lora, ia3, bitfit, "
            "invertible, glow). Correct one of them. (recipe.toml)",
        ),
        (
            ["train.task.source_weight=1"],
            "The recipe has train.task.source_weight = 1.0. Expected a share from 0 up to (but not) 1. Correct the "
            "value. (recipe.toml)",
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_weight_that_means_nothing_is_refused(settings: list[str], sentence: str):
    with pytest.raises(RecipeError) as caught:
        load(*settings)
    assert str(caught.value) == sentence
