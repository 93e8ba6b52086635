"""Grafts as AdapterHub's folders: back again without a change, and read by its own library."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.interop.golden import FORMATS, load_golden_base
from tests.interop.peers import run_peer
from tests.tiny import make_base, make_tokenizer, make_trained_graft
from transformers import AutoConfig, AutoModel

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.errors import DataError, GraftError
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.adapterhub_export import export_adapterhub
from polygraft.interop.certificate import certify, read_expected
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.delta import Delta
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix

HUB = FORMATS / "adapterhub"
ADAPTERS = ("qu", "ner", "ner_drop", "houlsby", "parallel", "lora", "ia3", "prefix", "compacter")
LABELS = ("O", "B-PER", "B-LOC")
MADE_THERE = ("pfeiffer", "houlsby", "learned", "lora", "ia3", "prefix", "flat", "compacter", "compacter-own")
GRAFTS: dict[str, list[Part]] = {
    "language": [
        Bottleneck(reduction=2, scaling=1.0),
        Invertible(reduction=2),
        Head(objective="mlm"),
    ],
    "tokens": [
        Bottleneck(reduction=4, activation="gelu", scaling=2.0, skip_layers=(1,)),
        Head(objective="tokens", labels=LABELS),
    ],
    "sequence": [
        Bottleneck(reduction=4, activation="swish", placement="attention+ffn", scaling=1.0),
        Head(objective="sequence", labels=LABELS),
    ],
    "parallel": [Bottleneck(reduction=8, placement="parallel", scaling=4.0)],
    "widths": [
        Bottleneck(reduction=2, scaling=1.0, skip_layers=(0, 2)),
        Bottleneck(reduction=8, scaling=1.0, skip_layers=(1,)),
    ],
    "learned": [Bottleneck(reduction=4, scaling="learned")],
    "lora": [Lora(rank=2, alpha=3.0, roles=("query", "key", "up", "down"), skip_layers=(1,))],
    "ia3": [IA3(outputs=("query", "value", "up", "down"), inputs=(), skip_layers=(0,))],
    "prefix": [Prefix(length=3, reparameterization=5, activation="relu", skip_layers=(2,))],
    "flat": [Prefix(length=3, reparameterization=None)],
    "compacter": [
        Compacter(reduction=4, terms=2, skip_layers=(1,)),
        Head(objective="tokens", labels=LABELS),
    ],
    "compacter-ffn": [
        Compacter(reduction=4, terms=2, rank=None, shared=False, activation="relu", placement="ffn")
    ],
    "head": [Head(objective="sequence", labels=LABELS)],
}


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
    assert back.parts == graft.parts


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
            "The graft 'x' has the part 'delta', which is not written for AdapterHub. Expected bottlenecks, perhaps "
            "with an invertible part, or one compacter, lora, ia3 or prefix, and a head. Export another graft.",
        ),
        (
            [Lora(rank=2), Lora(rank=4)],
            "The graft 'x' has the parts lora, lora, and an adapter of that library is one of them. Expected "
            "bottlenecks, perhaps with an invertible part, or one compacter, lora, ia3 or prefix, and a head. Export "
            "another graft.",
        ),
        (
            [Lora(rank=2, dora=True)],
            "The graft 'x' has a LoRA with dora=True, which is not written for AdapterHub. Expected dora=False. Export "
            "another graft.",
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
            "The graft 'x' has bottlenecks with activation=relu, placement=ffn, scaling=learned, semantics=adapterhub "
            "and activation=relu, placement=ffn, scaling=1, semantics=adapterhub. Expected one activation, placement "
            "and scaling, and semantics='adapterhub', which are what that library computes. Export another graft.",
        ),
        (
            [Bottleneck(reduction=4, semantics="paper")],
            "The graft 'x' has bottlenecks with activation=relu, placement=ffn, scaling=1, semantics=paper. Expected "
            "one activation, placement and scaling, and semantics='adapterhub', which are what that library computes. "
            "Export another graft.",
        ),
        (
            [Bottleneck(reduction=4), Bottleneck(reduction=2)],
            "The graft 'x' has two bottlenecks in one layer. Expected one in each at most. Export another graft.",
        ),
        (
            [Invertible()],
            "The graft 'x' has 1 invertible parts and 0 bottlenecks. Expected one invertible part beside a bottleneck "
            "at most. Export another graft.",
        ),
        (
            [Bottleneck(reduction=4, activation="gelu"), Invertible()],
            "The graft 'x' has an invertible part with the activation relu and a bottleneck with gelu. Expected one, "
            "as that library has. Export another graft.",
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


@pytest.mark.parametrize("family", ["deberta-v2", "distilbert"])
def test_prefixes_are_not_brought_over_where_they_do_something_else(tmp_path: Path, family: str):
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
            f"A prefix of AdapterHub for bases of the family '{family}' was to be brought over, and there it does not "
            "do what it does here. Expected bert, roberta or electra. Take such a base, or another part, such as lora."
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


def load_peer_base(folder: Path) -> Base:
    model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    tensors = load_file(folder / "model.safetensors")
    missing, unknown = model.load_state_dict(tensors, strict=False)
    assert not [key for key in missing if not key.startswith("pooler.")]
    assert all(key.endswith("position_ids") for key in unknown)
    if "pooler" in dict(model.named_children()):
        model.pooler = None
    return freeze_base(name=folder.name, model=model, tokenizer=make_tokenizer())


def stands(family: str, name: str) -> bool:
    """Whether a graft is brought over there: prefixes are not to all families."""
    return family not in ("deberta-v2", "distilbert") or name not in ("prefix", "flat")


@pytest.mark.peers
@pytest.mark.timeout(400)
@pytest.mark.slow
def test_its_library_reads_what_we_write_and_we_what_it_writes(tmp_path: Path):
    run_peer("peer_adapters.py", "make", tmp_path)
    inputs = tmp_path / "inputs.safetensors"
    families = sorted(path.parent.name for path in tmp_path.glob("*/config.json"))
    assert families == ["bert", "deberta-v2", "distilbert", "electra", "roberta", "xlm-roberta"]
    ours: dict[tuple[str, str], Graft] = {}
    for family in families:
        folder = tmp_path / family
        base = load_peer_base(folder)
        for name in MADE_THERE:
            if not stands(family, name):
                shutil.rmtree(folder / name)
                continue
            graft = import_adapterhub(base, folder / name, name=name).graft
            expected = read_expected(inputs, folder / f"expected-{name}.safetensors")
            assert certify(base, graft, expected).largest_difference < 1e-5, (family, name)
            shutil.rmtree(folder / name)
        for name, parts in GRAFTS.items():
            if name != "head" and stands(family, name):
                ours[family, name] = make_trained_graft(base, name, parts)
                export_adapterhub(base, ours[family, name], folder / "exported" / name)
    run_peer("peer_adapters.py", "load", tmp_path)
    given = load_file(inputs)
    for (family, name), graft in ours.items():
        folder = tmp_path / family
        assert json.loads((folder / "report.json").read_text())[name] == {}, (family, name)
        outputs = load_file(folder / f"given-{name}.safetensors")
        mask = given["attention_mask"].bool()
        base = load_peer_base(folder)
        with attach(base, name, grafts=[graft], any_base=True) as attachment, torch.no_grad():
            hidden = attachment.run(given["input_ids"], given["attention_mask"])
            assert (hidden - outputs["hidden"])[mask].abs().max() < 1e-5, (family, name)
            if name in ("tokens", "sequence", "compacter"):
                scores = attachment.score(given["input_ids"], given["attention_mask"])
                difference = (scores - outputs["scores"]).abs()
                assert (difference if name == "sequence" else difference[mask]).max() < 1e-5, (family, name)
