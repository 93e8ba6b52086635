"""Runs in the peers' environment: what AdapterHub's library computes, with its own adapters and with ours.

python peer_adapters.py make FOLDER       writes bases, adapters and what they gave
python peer_adapters.py load FOLDER       loads exported folders and writes what they give
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

BERT = {
    "vocab_size": 70,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 48,
    "initializer_range": 0.3,
    "pad_token_id": 1,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "roberta": {**BERT, "type_vocab_size": 1},
    "xlm-roberta": {**BERT, "type_vocab_size": 1},
    "electra": {**BERT, "embedding_size": 16},
    "deberta-v2": {**BERT, "type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {
        "vocab_size": 70,
        "dim": 16,
        "n_layers": 3,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 48,
        "initializer_range": 0.3,
        "pad_token_id": 1,
    },
}
CONFIGS = {
    "pfeiffer": "seq_bn[reduction_factor=4]",
    "houlsby": "double_seq_bn_inv[reduction_factor=4]",
    "learned": "par_bn[reduction_factor=4,scaling='learned']",
    "lora": "lora[r=2,alpha=5,intermediate_lora=True,output_lora=True,leave_out=[1]]",
    "ia3": "ia3[alpha=2,output_lora=True]",
    "prefix": "prefix_tuning[prefix_length=3,bottleneck_size=5,leave_out=[0]]",
    "flat": "prefix_tuning_flat[prefix_length=3]",
    "compacter": "compacter[reduction_factor=4,phm_dim=2,phm_rank=2]",
    "compacter-own": (
        "compacter++[reduction_factor=4,phm_dim=2,shared_phm_rule=False,factorized_phm_W=False,leave_out=[2]]"
    ),
}
OTHERS = ("adapters", "pooler", "prefix_tuning", "prompt_tuning", "loras", "shared_parameters")
"""Words in the names of what is not the base's own."""


def make_inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 70, (3, 9), generator=generator)
    mask = (torch.arange(9) < torch.tensor([9, 6, 4])[:, None]).long()
    return {"input_ids": ids.where(mask.bool(), torch.tensor(1)), "attention_mask": mask}


def shake(model: torch.nn.Module) -> None:
    """No value stays at zero or one, so that each of them matters."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1 or float(parameter.abs().max()) == 0:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)


def run(model: Any, name: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    model.set_active_adapters(name)
    with torch.no_grad():
        return model.base_model(**inputs)[0].contiguous()


def make(folder: Path) -> None:
    import adapters

    inputs = make_inputs()
    save_file(inputs, folder / "inputs.safetensors")
    for family, options in FAMILIES.items():
        torch.manual_seed(0)
        place = folder / family
        place.mkdir()
        model = adapters.AutoAdapterModel.from_config(AutoConfig.for_model(family, **options)).eval()
        for name, config in CONFIGS.items():
            model.add_adapter(name, config=config)
        shake(model)
        for name in CONFIGS:
            model.save_adapter(place / name, name)
            save_file({"expected": run(model, name, inputs)}, place / f"expected-{name}.safetensors")
        own = {
            key: value
            for key, value in model.base_model.state_dict().items()
            if not any(word in key for word in OTHERS)
        }
        save_file(own, place / "model.safetensors")
        model.config.to_json_file(place / "config.json")


def load(folder: Path) -> None:
    import adapters

    inputs = load_file(folder / "inputs.safetensors")
    for place in sorted(folder.glob("*/exported")):
        config = AutoConfig.from_pretrained(place.parent)
        model = adapters.AutoAdapterModel.from_config(config).eval()
        model.base_model.load_state_dict(load_file(place.parent / "model.safetensors"), strict=False)
        report: dict[str, Any] = {}
        for exported in sorted(place.iterdir()):
            info: dict[str, Any] = {}
            name = model.load_adapter(str(exported), loading_info=info, set_active=True)
            report[name] = {key: sorted(map(str, value)) for key, value in info.items() if value}
            outputs = {"hidden": run(model, name, inputs)}
            if (exported / "head_config.json").exists():
                model.active_head = name
                with torch.no_grad():
                    outputs["scores"] = model(**inputs).logits.contiguous()
            save_file(outputs, place.parent / f"given-{name}.safetensors")
        (place.parent / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    {"make": make, "load": load}[sys.argv[1]](Path(sys.argv[2]))
