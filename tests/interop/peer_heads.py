"""Runs in the peers' environment: what the heads of AdapterHub's library score, its own and ours.

python peer_heads.py make FOLDER       writes heads of each family's base, and what they score
python peer_heads.py load FOLDER       loads exported heads and writes what they score
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import adapters
import torch
import transformers
from adapters.heads import BertStyleMaskedLMHead, ClassificationHead, TaggingHead
from peer_adapters import open_model, shake
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

LABELS = {0: "O", 1: "B-PER", 2: "B-LOC"}
FLEXIBLE: dict[str, tuple[str, dict[str, Any]]] = {
    "one": ("classification", {"layers": 1}),
    "two": ("classification", {"layers": 2}),
    "gelu": ("classification", {"layers": 2, "activation_function": "gelu"}),
    "plain": ("classification", {"layers": 2, "activation_function": None}),
    "unbiased": ("classification", {"layers": 2, "bias": False}),
    "tags": ("tagging", {"layers": 1}),
    "pieces": ("masked_lm", {}),
}
KINDS = {
    "classification": ClassificationHead,
    "tagging": TaggingHead,
    "masked_lm": BertStyleMaskedLMHead,
}
STATIC = {
    "bert": ("BertForTokenClassification", "BertForMaskedLM"),
    "xlm-roberta": (
        *("XLMRobertaForTokenClassification", "XLMRobertaForSequenceClassification"),
        "XLMRobertaForMaskedLM",
    ),
    "electra": ("ElectraForTokenClassification", "ElectraForSequenceClassification", "ElectraForMaskedLM"),
    "distilbert": (
        *("DistilBertForTokenClassification", "DistilBertForSequenceClassification"),
        "DistilBertForMaskedLM",
    ),
    "deberta-v2": (
        *("DebertaV2ForTokenClassification", "DebertaV2ForSequenceClassification"),
        "DebertaV2ForMaskedLM",
    ),
}


def score(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits.contiguous()


def open_static(place: Path, name: str) -> Any:
    labels = {} if name.endswith("MaskedLM") else {"id2label": LABELS}
    config = AutoConfig.from_pretrained(place, **labels)
    config.label2id = {label: number for number, label in config.id2label.items()}
    model = getattr(transformers, name)(config).eval()
    model.base_model.load_state_dict(load_file(place / "model.safetensors"), strict=False)
    model.tie_weights()
    adapters.init(model)
    return model


def shake_heads(model: Any) -> None:
    """Change what a head has, and not the base nor what is tied to it."""
    own = {id(parameter) for parameter in model.base_model.parameters()}
    heads = torch.nn.ParameterList(each for each in model.parameters() if id(each) not in own)
    shake(heads)


def make(folder: Path) -> None:
    inputs = load_file(folder / "inputs.safetensors")
    for place in sorted(path.parent for path in folder.glob("*/config.json")):
        model = open_model(place)
        for name, (kind, options) in FLEXIBLE.items():
            labels = {} if kind == "masked_lm" else {"num_labels": len(LABELS), "id2label": LABELS}
            model.add_prediction_head(KINDS[kind](model, name, **options, **labels))
        shake_heads(model)
        for name in FLEXIBLE:
            model.active_head = name
            model.save_head(str(place / "made" / name), name)
            save_file({"expected": score(model, inputs)}, place / f"made-{name}.safetensors")
        for name in STATIC[place.name]:
            static = open_static(place, name)
            shake_heads(static)
            static.save_head(str(place / "made" / name))
            save_file({"expected": score(static, inputs)}, place / f"made-{name}.safetensors")


def load(folder: Path) -> None:
    inputs = load_file(folder / "inputs.safetensors")
    for place in sorted(path.parent for path in folder.glob("*/config.json")):
        for written in sorted((place / "exported").iterdir()):
            document = json.loads((written / "head_config.json").read_text())
            info: dict[str, Any] = {}
            is_flexible = document["model_class"].endswith("AdapterModel")
            model = open_model(place) if is_flexible else open_static(place, document["model_class"])
            model.load_head(str(written), loading_info=info)
            wrong = {key: value for key, value in info.items() if value}
            assert not wrong, (written, wrong)
            save_file({"expected": score(model, inputs)}, place / f"given-{written.name}.safetensors")


if __name__ == "__main__":
    for each in sorted(Path(sys.argv[2]).glob("*/config.json")):
        (each.parent / "made").mkdir(exist_ok=True)
    {"make": make, "load": load}[sys.argv[1]](Path(sys.argv[2]))
