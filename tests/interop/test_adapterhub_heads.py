"""Heads of AdapterHub, flexible ones and those of transformers' models, in both directions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.interop.hub_folder import HUB, Folder, read
from tests.interop.peer_base import write_peer_base
from tests.interop.peers import run_peer
from tests.tiny import make_base, make_trained_graft

from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import DataError, GraftError
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.adapterhub_export import export_adapterhub
from polygraft.interop.certificate import certify, read_expected
from polygraft.parts.head import Head

FAMILIES = ("bert", "xlm-roberta", "electra", "distilbert", "deberta-v2")
LABELS = ("O", "B-PER", "B-LOC")
TAGS = Head(objective="tokens", labels=LABELS)
PIECES = Head(objective="mlm")
ACTIVATIONS = {"xlm-roberta": "tanh", "electra": "gelu", "distilbert": "relu", "deberta-v2": "gelu"}
"""What the heads for sequences of transformers' models have; that of BERT reads a pooler."""
PARTS = {
    "one": Head(objective="sequence", labels=LABELS, activation="linear"),
    "two": Head(objective="sequence", labels=LABELS),
    "gelu": Head(objective="sequence", labels=LABELS, activation="gelu"),
    "plain": Head(objective="sequence", labels=LABELS, activation="linear"),
    "unbiased": Head(objective="sequence", labels=LABELS),
    "tags": TAGS,
    "pieces": PIECES,
}


def list_static(family: str) -> dict[str, Head]:
    """The heads that the models of transformers have."""
    activation = ACTIVATIONS.get(family)
    rows = (
        {}
        if activation is None
        else {"rows": Head(objective="sequence", labels=LABELS, activation=activation)}
    )
    return {"tokens": TAGS, "guesses": PIECES, **rows}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_static_head_is_the_same_there_and_back(tmp_path: Path, family: str):
    base = make_base(family)
    for name, part in list_static(family).items():
        graft = make_trained_graft(base, name, [part])
        export_adapterhub(base, graft, tmp_path / name, static_head=True)
        document = json.loads((tmp_path / name / "head_config.json").read_text())
        assert document["config"] is None
        back = import_adapterhub(base, tmp_path / name, name=name).graft
        assert back.parts == (part,)
        assert all(torch.equal(tensor, graft.tensors()[key]) for key, tensor in back.tensors().items())


def test_a_head_that_no_model_of_transformers_has_is_no_static_one(tmp_path: Path):
    base = make_base("bert")
    graft = make_trained_graft(base, "x", [Head(objective="sequence", labels=LABELS)])
    with pytest.raises(GraftError) as caught:
        export_adapterhub(base, graft, tmp_path / "out", static_head=True)
    assert str(caught.value) == (
        "The head of the graft 'x' is one for 'sequence' that reads layer -1 with the activation tanh. Expected what "
        "the models of `transformers` for the family 'bert' have: the last hidden state, layer -1. Export the graft "
        "without its head."
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model_class", ["BertLMHeadModel", "RobertaForCausalLM"])
def test_a_static_head_that_scores_the_next_piece_is_refused(tmp_path: Path, model_class: str):
    base = make_base("bert")
    export_adapterhub(base, make_trained_graft(base, "x", [PIECES]), tmp_path, static_head=True)
    file = tmp_path / "head_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_class": model_class}))
    with pytest.raises(DataError) as caught:
        import_adapterhub(base, tmp_path, name="x")
    assert str(caught.value) == (
        f'{file} has model_class = "{model_class}": the bases that library has adapters in here see the whole text, so '
        "that no piece is the next one. Expected a head for masked-LM or labels. What was trained with that cannot be "
        "brought over; nothing was written."
    )


def test_a_flexible_head_that_scores_the_next_piece_is_refused(tmp_path: Path):
    base = make_base("bert")
    export_adapterhub(base, make_trained_graft(base, "x", [PIECES]), tmp_path)
    file = tmp_path / "head_config.json"
    document = json.loads(file.read_text())
    document["config"] |= {"head_type": "causal_lm", "shift_labels": True}
    file.write_text(json.dumps(document))
    with pytest.raises(DataError) as caught:
        import_adapterhub(base, tmp_path, name="x")
    assert str(caught.value) == (
        f'{file}, config has head_type = "causal_lm": the bases that library has adapters in here see the whole text, '
        "so that no piece is the next one. Expected one of tagging, classification, masked_lm. What was trained with "
        "that cannot be brought over; nothing was written."
    )


def test_the_activation_of_a_head_has_the_name_of_today_in_old_files(tmp_path: Path):
    base = make_base("bert")
    export_adapterhub(base, make_trained_graft(base, "x", [PARTS["gelu"]]), tmp_path)
    file = tmp_path / "head_config.json"
    document = json.loads(file.read_text())
    del document["version"]
    file.write_text(json.dumps(document))
    assert import_adapterhub(base, tmp_path, name="x").graft.parts == (PARTS["gelu"],)


def list_exports(base: Base, family: str, folder: Path) -> dict[str, Graft]:
    """Export heads of both kinds, and give them by their folders' names."""
    written: dict[str, Graft] = {}
    for name, part in {"tags": TAGS, "pieces": PIECES, "two": PARTS["two"], "gelu": PARTS["gelu"]}.items():
        written[name] = make_trained_graft(base, name, [part])
        export_adapterhub(base, written[name], folder / name)
    for name, part in list_static(family).items():
        written[name] = make_trained_graft(base, name, [part])
        export_adapterhub(base, written[name], folder / name, static_head=True)
    return written


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_heads_score_the_same_in_both_libraries(tmp_path: Path):
    bases = {family: make_base(family) for family in FAMILIES}
    for family, base in bases.items():
        inputs = write_peer_base(base, tmp_path / family)
    run_peer("peer_heads.py", "make", tmp_path)
    ours: dict[str, dict[str, Graft]] = {}
    for family, base in bases.items():
        folder = tmp_path / family
        made = sorted((folder / "made").iterdir())
        assert len(made) == len(PARTS) + len(list_static(family))
        for path in made:
            graft = import_adapterhub(base, path, name="x").graft
            assert path.name not in PARTS or graft.parts == (PARTS[path.name],)
            certify(base, graft, read_expected(inputs, folder / f"made-{path.name}.safetensors"))
            if path.name in ("one", "plain"):
                export_adapterhub(base, graft, folder / "exported" / path.name)
        ours[family] = list_exports(base, family, folder / "exported")
        shutil.rmtree(folder / "made")
    run_peer("peer_heads.py", "load", tmp_path)
    for family, base in bases.items():
        folder = tmp_path / family
        for name, graft in ours[family].items():
            certify(base, graft, read_expected(inputs, folder / f"given-{name}.safetensors"))
        for name in ("one", "plain"):
            given, wanted = (
                load_file(folder / f"{of}-{name}.safetensors")["expected"] for of in ("given", "made")
            )
            assert (given - wanted).abs().max() < 1e-5


def test_labels_come_over_in_the_order_of_their_numbers(hub_bert: Base):
    graft = read(hub_bert, HUB / "bert" / "heads" / "ner", "ner")
    assert graft.labels == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


HEAD = "head_config.json"


@pytest.mark.parametrize(
    ("source", "changes", "reason"),
    [
        (
            "heads/ner",
            {"head_type": "question_answering"},
            'has head_type = "question_answering": no head does that. Expected one of tagging, classification, '
            "masked_lm",
        ),
        ("heads/ner", {"layers": 2}, "has layers = 2: a head for tokens has one layer. Expected 1"),
        (
            "heads/topic",
            {"use_pooler": True},
            "has use_pooler = true: a bare encoder has no pooler. Expected false",
        ),
        (
            "heads/topic",
            {"label2id": {"a": 0, "b": 2, "c": 3, "d": 4}},
            'has label2id = {"a": 0, "b": 2, "c": 3, "d": 4}: that does not number the labels. Expected each of 4 '
            "once, from 0 up",
        ),
        (
            "heads/qu",
            {"layer_norm": False},
            "has layer_norm = false: a masked-LM head has a LayerNorm. Expected true",
        ),
        (
            "heads/qu",
            {"activation_function": "relu"},
            'has activation_function = "relu": a masked-LM head has gelu. Expected "gelu"',
        ),
    ],
)
def test_a_head_that_no_part_is_is_refused(
    hub_bert: Base, tmp_path: Path, source: str, changes: dict[str, Any], reason: str
):
    folder = Folder(tmp_path, source)
    folder.change(HEAD, **changes)
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder.path, "x")
    assert str(caught.value) == (
        f"{folder.path}/head_config.json, config {reason}. What was trained with that cannot be brought over; nothing "
        "was written."
    )


def test_a_masked_lm_head_with_a_decoder_of_its_own_is_refused(hub_bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "heads/qu")
    tensors = folder.tensors("pytorch_model_head.bin")
    tensors["heads.qu.3.weight"] += 0.5
    folder.save(tensors, "pytorch_model_head.bin")
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder.path, "qu")
    assert str(caught.value) == (
        f"{folder.path} has a masked-LM head with a decoder of its own: it differs from the word embeddings of 'bert' "
        "by up to 0.5. Expected them again, since a head is stored without them. Import the adapter without its head, "
        "or on the base that it was trained on."
    )


def test_a_head_of_one_layer_for_sequences_is_the_same_function(hub_bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "heads/topic")
    tensors = folder.tensors("pytorch_model_head.bin")
    weight, hidden = tensors["heads.topic.4.weight"], torch.randn(3, 32)
    folder.save({"heads.topic.1.weight": weight}, "pytorch_model_head.bin")
    folder.change(HEAD, layers=1, bias=False)
    head = read(hub_bert, folder.path, "topic").find_head()
    assert head is not None
    assert torch.allclose(head(hidden), hidden @ weight.T, atol=1e-6)


def write_static(folder: Path, model_class: str, tensors: dict[str, torch.Tensor]) -> Path:
    document = {
        "config": None,
        "hidden_size": 32,
        "label2id": {"O": 0, "B": 1},
        "model_class": model_class,
        "model_name": "tiny-bert",
        "model_type": "bert",
        "name": None,
        "num_labels": 2,
        "version": "adapters.1.3.0",
    }
    (folder / HEAD).write_text(json.dumps(document))
    torch.save(tensors, folder / "pytorch_model_head.bin")
    return folder


def test_the_head_of_a_transformers_model_is_read(hub_bert: Base, tmp_path: Path):
    weight = torch.randn(2, 32)
    tensors = {"classifier.weight": weight, "classifier.bias": torch.ones(2)}
    graft = read(hub_bert, write_static(tmp_path, "BertForTokenClassification", tensors), "ner")
    assert graft.parts == (Head(objective="tokens", labels=("O", "B")),)
    assert torch.equal(graft.tensors()["head.out.weight"], weight)


def test_a_head_that_reads_a_pooler_is_refused(hub_bert: Base, tmp_path: Path):
    tensors = {"classifier.weight": torch.randn(2, 32), "classifier.bias": torch.ones(2)}
    folder = write_static(tmp_path, "BertForSequenceClassification", tensors)
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder, "x")
    assert str(caught.value) == (
        f"{folder} has the head of BertForSequenceClassification, which reads the base's pooler. Expected a head that "
        "reads hidden states: a bare encoder has no pooler. Import the adapter without its head."
    )
