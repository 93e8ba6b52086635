"""What a recipe's language grafts and its masked-LM head learn, and where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipe.material import (
    BARE,
    load,
    run_all,
)
from tests.tiny import SPECIAL

from polygraft.attach.graft import rebuild_graft
from polygraft.base.load import load_base
from polygraft.errors import RecipeError
from polygraft.parts.bottleneck import Bottleneck, BottleneckLayers
from polygraft.recipe.corpus import Corpus
from polygraft.store.store import Store


@pytest.mark.parametrize(
    ("setting", "moves"), [("negatives=0", False), ("negatives=1000", True), ("vocabulary=full", True)]
)
def test_all_pieces_can_be_scored_instead_of_the_texts_own(here: Path, setting: str, moves: bool):
    recipe = load(*BARE, f"train.language.{setting}")
    run_all(recipe, only=["mlm"])
    corpus = Corpus(recipe=recipe, tokenizer=load_base("bare", device="cpu").tokenizer)
    seen = {*corpus.read_mixed().ids.tolist(), *range(len(SPECIAL))}
    bias = Store(Path("store")).get("mlm")[1]["head.bias"]
    others = [piece for piece in range(len(bias)) if piece not in seen]
    assert others
    # A piece that is scored and is never right loses by it.
    assert all((bias[piece] < 0).item() is moves for piece in others)
    assert all(bias[piece] == 0 for piece in others) is not moves


def test_some_pieces_that_no_text_has_can_be_scored_beside_its_own(here: Path):
    few_lines = ("language.en.max_lines=3", "language.qu.max_lines=3")
    recipe = load(*BARE, *few_lines, "train.language.negatives=2", "train.mlm.steps=1")
    run_all(recipe, only=["mlm", "language.en"])
    corpus = Corpus(recipe=recipe, tokenizer=load_base("bare", device="cpu").tokenizer)
    seen = {*corpus.read_mixed().ids.tolist(), *range(len(SPECIAL))}
    bias = Store(Path("store")).get("mlm")[1]["head.bias"]
    others = [piece for piece in range(len(bias)) if piece not in seen]
    assert len(others) > 2
    assert sum((bias[piece] < 0).item() for piece in others) == 2
    assert sum((bias[piece] == 0).item() for piece in others) == len(others) - 2
    assert Store(Path("store")).manifest("en").hyperparameters["negatives"] == 2


def test_the_masked_lm_head_and_the_languages_learn_from_joined_lines(here: Path):
    recipe = load(*BARE, "train.language.rows=joined")
    run_all(recipe, only=["mlm", "language.qu"])
    corpus = Corpus(recipe=recipe, tokenizer=load_base("bare", device="cpu").tokenizer, longest=40)
    texts = {"mlm": corpus.read_mixed(), "qu": corpus.read_language("qu").train}
    for name, text in texts.items():
        manifest = Store(Path("store")).manifest(name)
        assert manifest.hyperparameters["rows"] == "joined"
        assert set(text.lengths[:-1].tolist()) <= {40, text.lengths.min()}
        # All rows go into one batch.
        assert manifest.cost["tokens"] == 3 * text.num_tokens


def test_a_language_graft_is_stored_at_its_strength(here: Path):
    run_all(load(*BARE, "train.language.strength=0.5"), only=["mlm", "language"])
    manifest, tensors = Store(Path("store")).get("qu")
    base = load_base("bare")
    whole = rebuild_graft(base, manifest, tensors)
    assert [part.scale for part in whole.parts if isinstance(part, Bottleneck)] == [0.5]
    assert manifest.hyperparameters["strength"] == 0.5
    assert manifest.scores["held_out_loss"] != manifest.scores["held_out_loss_at_strength_1"]


def test_a_language_is_not_named_as_the_masked_lm_head(here: Path):
    path = Path("recipe.toml")
    path.write_text(path.read_text().replace("language.qu", "language.mlm"))
    with pytest.raises(RecipeError, match="would make a graft called 'mlm'"):
        load(*BARE)


@pytest.mark.parametrize(
    ("settings", "own", "below"),
    [
        ((), [2], [0, 1]),
        (("train.mlm.from_layer=1",), [1, 2], [0]),
        (("train.mlm.from_layer=1", "train.mlm.layer=2"), [1], [0]),
        (("train.mlm.reduction=0",), [], [0, 1, 2]),
        (("train.mlm.reduction=0", "train.mlm.layer=2", "train.mlm.from_layer=1"), [], [0, 1]),
    ],
)
def test_the_masked_lm_bottleneck_stands_above_the_language_grafts(
    here: Path, settings: tuple[str, ...], own: list[int], below: list[int]
):
    run_all(load(*BARE, *settings), only=["mlm", "language.qu"])
    base, store = load_base("bare", device="cpu"), Store(Path("store"))
    found = {name: rebuild_graft(base, *store.get(name)) for name in ("mlm", "qu")}
    places = {
        name: sorted(place[0] for layers in graft.layers.children() for place in _list_places(layers))
        for name, graft in found.items()
    }
    assert places == {"mlm": own, "qu": below}


def _list_places(layers: object) -> list[tuple[int, str]]:
    return layers.list_places() if isinstance(layers, BottleneckLayers) else []
