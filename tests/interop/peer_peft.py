"""Runs in the peers' environment: what PEFT computes, with its own folders and with ours.

python peer_peft.py make FOLDER       writes bases, folders and what they gave
python peer_peft.py load FOLDER       loads exported folders and writes what they give

A base is called FAMILY-TASK; what was made for it, and what was exported for it, lies in folders of that name.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

SIZES: Mapping[str, Any] = {
    "vocab_size": 70,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 48,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "num_labels": 4,
}
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "bert": SIZES,
    "roberta": SIZES,
    "electra": {**SIZES, "embedding_size": 16},
    "distilbert": {
        "vocab_size": 70,
        "dim": 16,
        "n_layers": 3,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 48,
        "pad_token_id": 1,
        "initializer_range": 0.3,
        "num_labels": 4,
    },
    "deberta-v2": {
        **SIZES,
        "relative_attention": True,
        "position_buckets": 4,
        "norm_rel_ebd": "layer_norm",
        "pos_att_type": "p2c|c2p",
        "type_vocab_size": 0,
    },
    "modernbert": {
        **SIZES,
        "local_attention": 4,
        "global_attn_every_n_layers": 2,
        "cls_token_id": 0,
        "sep_token_id": 2,
    },
    "gpt2": {**SIZES, "n_inner": 24},
    "llama": {**SIZES, "num_key_value_heads": 1},
    "qwen3": {**SIZES, "num_key_value_heads": 1, "head_dim": 6, "tie_word_embeddings": True},
}
"""By the `model_type`."""
MODELS: Mapping[str, Any] = {
    "hidden": AutoModel,
    "tokens": AutoModelForTokenClassification,
    "sequence": AutoModelForSequenceClassification,
}
TASKS = {"hidden": "FEATURE_EXTRACTION", "tokens": "TOKEN_CLS", "sequence": "SEQ_CLS"}


def make_inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 70, (3, 9), generator=generator)
    mask = (torch.arange(9) < torch.tensor([9, 6, 4])[:, None]).long()
    return {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask}


def list_linear_configs() -> dict[str, dict[str, Any]]:
    """By base, then by case."""
    from peft import IA3Config, LoraConfig

    return {
        "bert-tokens": {
            "dora": LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=["query", "dense"]),
            "ranks": LoraConfig(
                r=4,
                lora_alpha=6,
                target_modules=["query", "value", "intermediate.dense"],
                rank_pattern={"value": 2, "layer.1.attention.self.query": 3},
                alpha_pattern={"intermediate.dense": 9},
            ),
            "expressions": LoraConfig(
                r=4,
                lora_alpha=6,
                use_rslora=True,
                target_modules=["query", "value", "intermediate.dense"],
                rank_pattern={r".*layer\.[12]\..*(query|value)": 2, r"^bert\.encoder.*query": 3},
                alpha_pattern={r"intermediate\..+": 9, r"layer\.0\.\S+": 4},
            ),
            "layers": LoraConfig(r=2, target_modules=["key"], layers_to_transform=[0, 2], use_rslora=True),
            "one-layer": LoraConfig(
                r=2, target_modules=["key", "query"], layers_to_transform=1, layers_pattern="layer"
            ),
            # A whole name counts in every layer.
            "whole-name": LoraConfig(
                r=2,
                target_modules=["key", "bert.encoder.layer.0.attention.self.value"],
                layers_to_transform=[2],
                layers_pattern=["block", "lay.r"],
            ),
            "biases": LoraConfig(r=2, bias="all", target_modules=["query"]),
            "target-biases": LoraConfig(
                r=2, bias="lora_only", use_dora=True, target_modules=["query", "dense"]
            ),
            "all": LoraConfig(r=2, target_modules="all-linear", exclude_modules=["classifier"]),
            "pattern": LoraConfig(r=2, target_modules=r".*layer\.[12]\..*(key|value)"),
            "excluded": LoraConfig(
                r=2, target_modules=["key", "value"], exclude_modules=r".*\.1\.attention\.self\.(key|query)"
            ),
            "ia3": IA3Config(
                target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]
            ),
            "ia3-pattern": IA3Config(
                target_modules=r".*\.(key|value|dense)", feedforward_modules=r".*\d\.output\.dense"
            ),
        },
        "gpt2-hidden": {
            "lora": LoraConfig(
                r=3, lora_alpha=5, fan_in_fan_out=True, target_modules=["c_attn", "c_proj", "c_fc"]
            ),
            "default": LoraConfig(fan_in_fan_out=True),
            "dora": LoraConfig(
                r=3, use_dora=True, fan_in_fan_out=True, target_modules=["c_attn", "mlp.c_proj"]
            ),
            "ranks": LoraConfig(
                r=3,
                use_rslora=True,
                fan_in_fan_out=True,
                target_modules=["c_attn", "c_fc"],
                rank_pattern={r"h\.[02]\.attn.*": 5},
                alpha_pattern={"c_attn": 3},
            ),
            "ia3": IA3Config(
                target_modules=["c_attn", "mlp.c_proj"],
                feedforward_modules=["mlp.c_proj"],
                fan_in_fan_out=True,
            ),
        },
        "gpt2-tokens": {
            "lora": LoraConfig(r=3, fan_in_fan_out=True, target_modules=["c_attn"]),
            "biases": LoraConfig(r=3, bias="all", fan_in_fan_out=True, target_modules=["c_attn"]),
            "target-biases": LoraConfig(
                r=3, bias="lora_only", fan_in_fan_out=True, target_modules=["c_attn"]
            ),
        },
        "llama-tokens": {"lora": LoraConfig(r=2, target_modules=["q_proj", "down_proj"])},
        "bert-sequence": {
            "lora": LoraConfig(r=2, modules_to_save=["classifier", "pooler"], target_modules=["query"])
        },
        "deberta-v2-sequence": {
            "lora": LoraConfig(r=2, modules_to_save=["classifier", "pooler"], target_modules=["query_proj"])
        },
        "roberta-sequence": {"lora": LoraConfig(r=2, target_modules=["query"])},
        "distilbert-sequence": {
            "lora": LoraConfig(
                r=2, modules_to_save=["classifier", "pre_classifier"], target_modules=["q_lin"]
            )
        },
        "modernbert-hidden": {
            "lora": LoraConfig(r=3, lora_alpha=5, target_modules=["Wqkv", "Wi", "Wo"]),
            "dora": LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=["Wqkv", "Wi", "mlp.Wo"]),
            "ia3": IA3Config(target_modules=["Wqkv", "mlp.Wo"], feedforward_modules=["mlp.Wo"]),
        },
    }


def list_prompt_configs() -> dict[str, dict[str, Any]]:
    """By base, then by case."""
    from peft import PrefixTuningConfig, PromptTuningConfig

    both = ["bert-hidden", "bert-tokens", "roberta-tokens", "electra-hidden", "gpt2-hidden", "llama-tokens"]
    prompts = ["modernbert-hidden", "deberta-v2-hidden"]
    found: dict[str, dict[str, Any]] = {
        base: {"prompt": PromptTuningConfig(num_virtual_tokens=3)} for base in [*both, *prompts]
    }
    for base in [*both, "qwen3-hidden"]:
        found.setdefault(base, {})["prefix"] = PrefixTuningConfig(num_virtual_tokens=3)
    found["gpt2-hidden"]["projected"] = PrefixTuningConfig(
        num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=5
    )
    found["bert-sequence"] = {
        "prefix": PrefixTuningConfig(num_virtual_tokens=3, modules_to_save=["classifier", "pooler"])
    }
    return found


def list_configs() -> dict[str, dict[str, Any]]:
    configs = list_linear_configs()
    for base, cases in list_prompt_configs().items():
        configs.setdefault(base, {}).update(cases)
    for base, cases in configs.items():
        for config in cases.values():
            config.task_type = TASKS[base.rpartition("-")[2]]
    return configs


def shake(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)


def make_base(name: str) -> PreTrainedModel:
    family, task = name.rsplit("-", 1)
    torch.manual_seed(0)
    model = MODELS[task].from_config(AutoConfig.for_model(family, **FAMILIES[family]))
    shake(model)
    return model.eval()


def load_base(folder: Path, name: str) -> PreTrainedModel:
    return MODELS[name.rpartition("-")[2]].from_pretrained(folder / "bases" / name)


def compute(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        given = model.eval()(**inputs)
    found = given.last_hidden_state if "last_hidden_state" in given else given.logits
    # A prompt's own places come first.
    return (found[:, -inputs["input_ids"].shape[1] :] if found.dim() == 3 else found).contiguous()


def make(folder: Path) -> None:
    from peft import get_peft_model

    inputs = make_inputs()
    save_file(inputs, folder / "inputs.safetensors")
    for base, cases in list_configs().items():
        make_base(base).save_pretrained(folder / "bases" / base)
        for name, config in cases.items():
            model = get_peft_model(load_base(folder, base), config)
            shake(model)
            model.save_pretrained(folder / "made" / base / name)
            expected = folder / "expected" / base
            expected.mkdir(parents=True, exist_ok=True)
            save_file({"expected": compute(model, inputs)}, expected / f"{name}.safetensors")


def load(folder: Path) -> None:
    from peft import PeftModel

    inputs = load_file(folder / "inputs.safetensors")
    for exported in sorted((folder / "exported").glob("*/*")):
        model = PeftModel.from_pretrained(load_base(folder, exported.parent.name), str(exported))
        given = folder / "given" / exported.parent.name
        given.mkdir(parents=True, exist_ok=True)
        save_file({"given": compute(model, inputs)}, given / f"{exported.name}.safetensors")


if __name__ == "__main__":
    {"make": make, "load": load}[sys.argv[1]](Path(sys.argv[2]))
