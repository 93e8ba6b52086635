"""The table of families: its rows fit the models of transformers."""

from __future__ import annotations

import pytest
from tests.tiny import BASES, DECODERS, make_base, make_model
from torch import nn

from polygraft.base.sites import FAMILIES, find_family, find_sites
from polygraft.errors import BaseModelError

POST_NORM = [name for name in BASES if name not in {"modernbert", "eurobert", *DECODERS}]


@pytest.mark.parametrize("name", BASES)
def test_every_site_of_every_family_is_found(name: str):
    sites = make_base(name).sites
    assert sites.num_layers == 3
    assert sites.hidden == 16
    assert sites.vocab == 57
    assert sites.embedding == sites.word_embeddings.weight.shape[1] == (10 if name == "electra-small" else 16)
    for layer in range(3):
        for sublayer in ("attention", "ffn"):
            found = sites.sublayer(layer, sublayer)
            assert (found.norm is None) == (name not in POST_NORM)


@pytest.mark.parametrize("name", POST_NORM)
def test_each_sublayer_has_a_norm_of_its_own(name: str):
    sites = make_base(name).sites
    norms = [sites.sublayer(layer, sub).norm for layer in range(3) for sub in ("attention", "ffn")]
    assert len({id(norm) for norm in norms}) == 6


@pytest.mark.parametrize(
    ("name", "eps"),
    [("bert", 1e-12), ("xlm-roberta", 1e-5), ("distilbert", 1e-12), ("deberta-v2", 1e-7), ("eurobert", 1e-5)],
)
def test_what_the_norms_add_to_the_variance_is_known(name: str, eps: float):
    assert make_base(name).sites.norm_eps == eps


def test_a_family_has_one_row_and_a_type_one_family():
    types = [kind for family in FAMILIES for kind in family.model_types]
    assert len(types) == len(set(types))
    assert find_family("camembert").name == "roberta"


def test_an_unknown_family_is_refused_with_the_nearest_known_one():
    with pytest.raises(BaseModelError) as refusal:
        find_family("modern-bert")
    assert str(refusal.value) == (
        "A base of the type 'modern-bert' is not supported: polygraft does not know where its layers are. "
        "Supported "
        "types are bert, camembert, deberta-v2, distilbert, electra, eurobert, gemma, gemma3_text, gpt2, llama, "
        "mistral, modernbert, qwen2, qwen3, roberta, xlm-roberta. Did "
        "you mean 'modernbert'? To add one, see CONTRIBUTING.md, 'Add a base family'."
    )


def test_a_model_with_a_task_head_is_not_a_bare_encoder():
    with pytest.raises(BaseModelError) as refusal:
        find_sites(make_model("bert"))
    assert str(refusal.value) == (
        "A base of the family 'bert' is expected to have 'encoder.layer' and 'embeddings', and this "
        "BertForMaskedLM "
        "has not (BertForMaskedLM has no attribute `encoder`). Load the bare encoder."
    )


def test_embeddings_that_are_projected_before_their_norm_are_refused():
    with pytest.raises(BaseModelError) as refusal:
        make_base("deberta-v2", embedding_size=10)
    assert str(refusal.value) == (
        "The base has word embeddings of size 10 that are projected to 16 before their LayerNorm, so "
        "nothing can be "
        "undone before its decoder. In the family 'deberta-v2' both sizes are expected to be equal. Take "
        "another base "
        "of the family."
    )


def test_the_word_embeddings_are_those_of_the_model():
    base = make_base("distilbert")
    assert isinstance(base.sites.word_embeddings, nn.Embedding)
    assert base.sites.word_embeddings is base.model.get_input_embeddings()
