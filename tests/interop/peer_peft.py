"""Runs in the peers' environment: what PEFT computes, with its own folders and with ours.

python peer_peft.py make FOLDER       writes a base, folders and what they gave
python peer_peft.py load FOLDER       loads exported folders and writes what they give
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification, BertConfig

SIZES = {
    "vocab_size": 70,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 48,
    "initializer_range": 0.3,
    "num_labels": 4,
}


def make_inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 70, (3, 9), generator=generator)
    return {
        "input_ids": ids,
        "attention_mask": (torch.arange(9) < torch.tensor([9, 6, 4])[:, None]).long(),
    }


def list_configs() -> dict[str, Any]:
    from peft import IA3Config, LoraConfig

    shared: dict[str, Any] = {"task_type": "TOKEN_CLS"}
    return {
        "dora": LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=["query", "dense"], **shared),
        "ranks": LoraConfig(
            r=4,
            lora_alpha=6,
            target_modules=["query", "value", "intermediate.dense"],
            rank_pattern={"value": 2, "layer.1.attention.self.query": 3},
            alpha_pattern={"intermediate.dense": 9},
            **shared,
        ),
        "layers": LoraConfig(
            r=2, target_modules=["key"], layers_to_transform=[0, 2], use_rslora=True, **shared
        ),
        "all": LoraConfig(r=2, target_modules="all-linear", exclude_modules=["classifier"], **shared),
        "pattern": LoraConfig(r=2, target_modules=r".*layer\.[12]\..*(key|value)", **shared),
        "ia3": IA3Config(
            target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"], **shared
        ),
    }


def shake(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)


def score(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**inputs).logits.contiguous()


def make(folder: Path) -> None:
    from peft import get_peft_model

    inputs = make_inputs()
    save_file(inputs, folder / "inputs.safetensors")
    torch.manual_seed(0)
    AutoModelForTokenClassification.from_config(BertConfig(**SIZES)).save_pretrained(folder / "base")
    for name, config in list_configs().items():
        model = get_peft_model(AutoModelForTokenClassification.from_pretrained(folder / "base"), config)
        shake(model)
        model.save_pretrained(folder / name)
        save_file({"expected": score(model, inputs)}, folder / f"expected-{name}.safetensors")


def load(folder: Path) -> None:
    from peft import PeftModel

    inputs = load_file(folder / "inputs.safetensors")
    for exported in sorted((folder / "exported").iterdir()):
        base = AutoModelForTokenClassification.from_pretrained(folder / "base")
        model = PeftModel.from_pretrained(base, str(exported))
        save_file({"given": score(model, inputs)}, folder / f"given-{exported.name}.safetensors")


if __name__ == "__main__":
    {"make": make, "load": load}[sys.argv[1]](Path(sys.argv[2]))
