"""Grafts as AdapterHub's folders: back again without a change, and what its library would misread."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.interop.exported import GRAFTS, LABELS
from tests.interop.golden import FORMATS, load_golden_base
from tests.tiny import make_base, make_trained_graft

from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import DataError, GraftError
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.adapterhub_export import export_adapterhub
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.delta import Delta
from polygraft.parts.fusion import Fusion
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt

HUB = FORMATS / "adapterhub"
ADAPTERS = ("qu", "ner", "ner_drop", "houlsby", "parallel", "lora", "ia3", "prefix", "compacter")
KNOWN = (
    "Expected bottlenecks, perhaps with an invertible part, compacter, lora, ia3 and prefix, and a head, or a fusion "
    "alone. Export another graft."
)


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("bert")


def same(a: Graft, b: Graft) -> bool:
    """Whether two grafts hold equal numbers; parts of one graft may stand in another order."""
    first, second = a.tensors(), b.tensors()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("safetensors", [False, True], ids=["bin", "safetensors"])
@pytest.mark.parametrize("name", [name for name in GRAFTS if name != "widths"])
def test_there_and_back_a_graft_is_the_same(base: Base, tmp_path: Path, name: str, safetensors: bool):
    graft = make_trained_graft(base, name, GRAFTS[name])
    written = export_adapterhub(base, graft, tmp_path / "out", safetensors=safetensors)
    assert sorted(path.name for path in written) == sorted(path.name for path in (tmp_path / "out").iterdir())
    back = import_adapterhub(base, tmp_path / "out", name=name).graft
    assert same(back, graft)
    # The root of the rank is in alpha then: rsLoRA is a way of saying it that the library does not have.
    plain = [
        replace(part, alpha=part.scale * part.rank, rslora=False) if isinstance(part, Lora) else part
        for part in graft.parts
    ]
    assert list(back.parts) == plain


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_back_and_there_the_librarys_own_tensors_are_the_same(tmp_path: Path, family: str, name: str):
    base, source = load_golden_base(HUB / family), HUB / family / "adapters" / name
    export_adapterhub(base, import_adapterhub(base, source, name=name).graft, tmp_path)
    old, new = (
        torch.load(folder / "pytorch_adapter.bin", weights_only=True) for folder in (source, tmp_path)
    )
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], new[key]) for key in old)
    old, new = (json.loads((folder / "adapter_config.json").read_text()) for folder in (source, tmp_path))
    # How values were drawn before training, and what the base was called, are not kept.
    for document in (old, new):
        document["config"].pop("init_weights", None)
    old["model_name"] = family
    assert new == old


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [Delta(weights=("norm",))],
            f"The graft 'x' has the part 'delta', which is not written for AdapterHub. {KNOWN}",
        ),
        (
            [Lora(rank=2), Lora(rank=4)],
            f"The graft 'x' has two parts of the kind lora or ia3, and that library has one at most. {KNOWN}",
        ),
        (
            [Lora(rank=2, skip_layers=(0,)), IA3(inputs=(), skip_layers=(1,))],
            f"The graft 'x' has two parts of the kind lora or ia3, and that library has one at most. {KNOWN}",
        ),
        (
            [Prefix(length=2, skip_layers=(0,)), Prefix(length=3, skip_layers=(1, 2))],
            f"The graft 'x' has two parts of the kind prefix, and that library has one at most. {KNOWN}",
        ),
        (
            [Prompt(length=2)],
            "The graft 'x' has a prompt, which stands before the embeddings, with positions and their norm; that "
            f"library puts one behind them, without. {KNOWN}",
        ),
        (
            [Fusion(), Head(objective="tokens", labels=LABELS)],
            "The graft 'x' has the parts fusion, head, and a fusion of that library has a folder of its own. "
            f"{KNOWN}",
        ),
        (
            [Fusion(skip_layers=(1, 2))],
            "The graft 'x' has a fusion that skips the layers 1, 2, and that library mixes in all layers in which its "
            "members stand. Expected skip_layers=(). Export another graft.",
        ),
        (
            [Fusion()],
            "The graft 'x' is a fusion, and of the names of its members there are none. Expected the names of two "
            "adapters or more, each once and without dots and commas, in the order in which it was trained on them. "
            "Name them with --members.",
        ),
        (
            [Lora(rank=2, dora=True)],
            "The graft 'x' has a LoRA with dora=True, and that library's DoRA multiplies the biases of its maps, too. "
            "Expected dora=False. Export another graft.",
        ),
        (
            [Lora(rank=2, roles=("value", "output"))],
            "The graft 'x' has the part 'lora' at output, where that library has nothing. Expected some of query, key, "
            "value, up and down. Export another graft.",
        ),
        (
            [IA3()],
            "The graft 'x' has an (IA)3 that multiplies what down read, and that library multiplies only what maps "
            "give. Expected no inputs. Export another graft.",
        ),
        (
            [Bottleneck(reduction=4, scaling="learned"), Bottleneck(reduction=2, scaling=1.0)],
            "The graft 'x' has two bottlenecks or compacters in layer 0, and that library has one at most. "
            f"{KNOWN}",
        ),
        (
            [Bottleneck(reduction=4, semantics="paper")],
            "The graft 'x' has a bottleneck with semantics='paper'. Expected semantics='adapterhub', which is what "
            "that library computes. Export another graft.",
        ),
        (
            [Bottleneck(reduction=4), Compacter(reduction=4)],
            "The graft 'x' has two bottlenecks or compacters in layer 0, and that library has one at most. "
            f"{KNOWN}",
        ),
        (
            [Lora(rank=2), Invertible()],
            "The graft 'x' has an invertible part with the activation relu and no bottleneck. Expected a bottleneck "
            "with the same, as that library has one for both. Export another graft.",
        ),
        (
            [Bottleneck(reduction=4, activation="gelu"), Invertible()],
            "The graft 'x' has an invertible part with the activation relu and bottlenecks with gelu. Expected a "
            "bottleneck with the same, as that library has one for both. Export another graft.",
        ),
        (
            [Head(objective="tokens", labels=LABELS, layer=2)],
            "The head of the graft 'x' reads layer 2. Expected -1, the last hidden state, as heads of that library do. "
            "Train a head that reads the last layer.",
        ),
    ],
)
def test_what_the_library_would_misread_is_not_exported(
    base: Base, tmp_path: Path, parts: list[Part], message: str
):
    graft = make_trained_graft(base, "x", parts)
    with pytest.raises(GraftError) as caught:
        export_adapterhub(base, graft, tmp_path / "out")
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


def test_a_base_that_the_library_does_not_know_is_refused(tmp_path: Path):
    base = make_base("modernbert")
    graft = make_trained_graft(base, "x", [Bottleneck(reduction=4)])
    with pytest.raises(DataError) as caught:
        export_adapterhub(base, graft, tmp_path / "out")
    assert str(caught.value) == (
        "AdapterHub's names for bases of the family 'modernbert' are not known. Expected one of bert, roberta, "
        "electra, deberta-v2, distilbert. Take the base that the adapter was trained on."
    )


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (
            "deberta-v2",
            "such a base computes its attention by itself, so that no prefix can be put into it here",
        ),
        (
            "distilbert",
            "there that library adds one to a prefix's scores in batches with padding, and nothing in others, unless "
            "its attention is 'eager': no prefix here does both",
        ),
    ],
)
def test_prefixes_are_not_brought_over_where_they_do_something_else(tmp_path: Path, family: str, reason: str):
    base = make_base(family)
    graft = make_trained_graft(base, "x", [Prefix(length=3)])
    folder = HUB / "bert" / "adapters" / "prefix"
    document = json.loads((folder / "adapter_config.json").read_text()) | {
        "model_type": family,
        "hidden_size": 16,
    }
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "adapter_config.json").write_text(json.dumps(document))
    for bring in (
        lambda: import_adapterhub(base, tmp_path / "x", name="x"),
        lambda: export_adapterhub(base, graft, tmp_path / "out"),
    ):
        with pytest.raises(GraftError) as caught:
            bring()
        assert str(caught.value) == (
            f"A prefix of AdapterHub for bases of the family '{family}' was to be brought over, and {reason}. "
            "Expected bert, roberta or electra. Take such a base, or another part, such as lora."
        )


def test_a_prefix_that_moves_positions_is_not_exported(tmp_path: Path):
    base = make_base("bert")
    graft = make_trained_graft(base, "x", [Prefix(length=3, moves_positions=True)])
    with pytest.raises(GraftError) as caught:
        export_adapterhub(base, graft, tmp_path / "out")
    assert str(caught.value) == (
        "The graft 'x' has a prefix with moves_positions=True, and in that library the positions of a text begin where "
        "they always do. Expected False. Export it for PEFT."
    )
    assert not (tmp_path / "out").exists()
