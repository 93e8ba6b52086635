"""Runs in the peers' environment: what AdapterHub's library computes, with its own adapters and with ours.

python peer_adapters.py make FOLDER       writes bases, adapters and what they gave
python peer_adapters.py load FOLDER       loads exported folders and writes what they give
python peer_adapters.py old FOLDER        loads folders in the form of older releases and writes what they give
python peer_adapters.py padding FOLDER    writes how much a row with a prefix in a DistilBERT depends on padding
python peer_adapters.py names FOLDER      writes what the names of configurations stand for
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
    "bottleneck": "seq_bn[reduction_factor=2,non_linearity='gelu']",
    "twosided": "double_seq_bn[reduction_factor=8]",
    "twofold": "double_seq_bn[reduction_factor=4,non_linearity='relu']",
    "houlsby": "double_seq_bn_inv[reduction_factor=4]",
    "learned": "par_bn[reduction_factor=4,scaling='learned']",
    "lora": "lora[r=2,alpha=5,intermediate_lora=True,output_lora=True,leave_out=[1]]",
    "ia3": "ia3[alpha=2,output_lora=True]",
    "prefix": "prefix_tuning[prefix_length=3,bottleneck_size=5,leave_out=[0]]",
    "flat": "prefix_tuning_flat[prefix_length=3]",
    "mam": "prefix_tuning[prefix_length=3,bottleneck_size=5]|par_bn[reduction_factor=4]",
    "unipelt": (
        "prefix_tuning_flat[prefix_length=2]|seq_bn_inv[reduction_factor=4]"
        "|lora[r=2,alpha=5,attn_matrices=['k'],output_lora=True]"
    ),
    "by-layer": (
        "seq_bn[reduction_factor=4,leave_out=[0]]|double_seq_bn[reduction_factor=2,leave_out=[1,2]]"
        "|ia3[leave_out=[0,1]]"
    ),
    "dora": "dora[r=2,alpha=6,attn_matrices=['q','k','v'],intermediate_lora=True,leave_out=[1]]",
    "compacter": "compacter[reduction_factor=4,phm_dim=2,phm_rank=2]",
    "compacter-own": (
        "compacter++[reduction_factor=4,phm_dim=2,shared_phm_rule=False,factorized_phm_W=False,leave_out=[2]]"
    ),
}
FUSIONS = {"fused": ("pfeiffer", "bottleneck"), "mixed": ("twosided", "twofold")}
"""The adapters that each mixes."""
OTHERS = (
    "adapters",
    "adapter_fusion_layer",
    "pooler",
    "prefix_tuning",
    "prompt_tuning",
    "loras",
    "shared_parameters",
)
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
            if 1 in parameter.shape or parameter.dim() == 1 or float(parameter.abs().max()) == 0:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)


def run(model: Any, name: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
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
        for name, members in FUSIONS.items():
            model.add_adapter_fusion(list(members), name=name)
        shake(model)
        for name, members in FUSIONS.items():
            model.save_adapter_fusion(str(place / name), name)
            hidden = run(model, adapters.composition.Fuse(*members, name=name), inputs)
            save_file({"expected": hidden}, place / f"expected-{name}.safetensors")
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


def open_model(place: Path) -> Any:
    import adapters

    model = adapters.AutoAdapterModel.from_config(AutoConfig.from_pretrained(place)).eval()
    model.base_model.load_state_dict(load_file(place / "model.safetensors"), strict=False)
    return model


def load(folder: Path) -> None:
    from adapters.composition import Fuse

    inputs = load_file(folder / "inputs.safetensors")
    for place in sorted(folder.glob("*/exported")):
        model, report = open_model(place.parent), dict[str, Any]()
        for exported in sorted(place.iterdir()):
            info: dict[str, Any] = {}
            if exported.name in FUSIONS:
                continue
            name = model.load_adapter(str(exported), loading_info=info, set_active=True)
            report[name] = {key: sorted(map(str, value)) for key, value in info.items() if value}
            outputs = {"hidden": run(model, name, inputs)}
            if (exported / "head_config.json").exists():
                model.active_head = name
                with torch.no_grad():
                    outputs["scores"] = model(**inputs).logits.contiguous()
            save_file(outputs, place.parent / f"given-{name}.safetensors")
        for name in FUSIONS:
            info = {}
            model.load_adapter_fusion(str(place / name), set_active=True)
            members = json.loads((place / name / "adapter_fusion_config.json").read_text())["adapter_names"]
            hidden = run(model, Fuse(*members, name=name), inputs)
            save_file({"hidden": hidden}, place.parent / f"given-{name}.safetensors")
        (place.parent / "report.json").write_text(json.dumps(report))


def old(folder: Path) -> None:
    inputs = load_file(folder / "inputs.safetensors")
    for place in sorted(folder.glob("*/old")):
        model, report = open_model(place.parent), dict[str, str]()
        for written in sorted(place.iterdir()):
            try:
                name = model.load_adapter(str(written), load_as=written.name, set_active=True)
            except Exception as error:  # noqa: BLE001
                report[written.name] = type(error).__name__
                continue
            report[name] = "read"
            save_file({"expected": run(model, name, inputs)}, place.parent / f"old-{name}.safetensors")
        (place.parent / "old.json").write_text(json.dumps(report))


def padding(folder: Path) -> None:
    import adapters

    found: dict[str, float] = {}
    for kind in ("eager", "sdpa"):
        torch.manual_seed(0)
        config = AutoConfig.for_model("distilbert", **FAMILIES["distilbert"])
        model = adapters.AutoAdapterModel.from_config(config, attn_implementation=kind).eval()
        model.add_adapter("prefix", config=CONFIGS["prefix"])
        shake(model)
        rows = make_inputs()
        # The second of the rows has six tokens, and the first nine.
        alone = {name: tensor[1:2, :6] for name, tensor in rows.items()}
        both = run(model, "prefix", rows)[1:2, :6]
        found[kind] = float((run(model, "prefix", alone) - both).abs().max())
    (folder / "padding.json").write_text(json.dumps(found))


def names(folder: Path) -> None:
    from adapters.configuration.adapter_config import ADAPTER_CONFIG_MAP

    found = {name: config.to_dict() for name, config in ADAPTER_CONFIG_MAP.items()}
    (folder / "names.json").write_text(json.dumps(found))


if __name__ == "__main__":
    {"make": make, "load": load, "old": old, "padding": padding, "names": names}[sys.argv[1]](
        Path(sys.argv[2])
    )
