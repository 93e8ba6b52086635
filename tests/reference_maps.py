"""A slow second opinion on parts that change linear maps and biases: a copy of the base with other weights.

What is computed with these weights is what `reference.py` computes; nothing here is imported from what it checks but
the options of the parts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from polygraft.attach.graft import Graft
from polygraft.parts.bitfit import BitFit
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora

Place = tuple[str, int, int]
"""A layer's path, which of the maps in its weight, and how many are in it."""

BERT_MAPS: Mapping[str, Place] = {
    "query": ("encoder.layer.{}.attention.self.query", 0, 1),
    "key": ("encoder.layer.{}.attention.self.key", 0, 1),
    "value": ("encoder.layer.{}.attention.self.value", 0, 1),
    "output": ("encoder.layer.{}.attention.output.dense", 0, 1),
    "up": ("encoder.layer.{}.intermediate.dense", 0, 1),
    "down": ("encoder.layer.{}.output.dense", 0, 1),
}
LLAMA_MAPS: Mapping[str, Place] = {
    "query": ("layers.{}.self_attn.q_proj", 0, 1),
    "key": ("layers.{}.self_attn.k_proj", 0, 1),
    "value": ("layers.{}.self_attn.v_proj", 0, 1),
    "output": ("layers.{}.self_attn.o_proj", 0, 1),
    "gate": ("layers.{}.mlp.gate_proj", 0, 1),
    "up": ("layers.{}.mlp.up_proj", 0, 1),
    "down": ("layers.{}.mlp.down_proj", 0, 1),
}
MAPS: Mapping[str, Mapping[str, Place]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), BERT_MAPS),
    "distilbert": {
        "query": ("transformer.layer.{}.attention.q_lin", 0, 1),
        "key": ("transformer.layer.{}.attention.k_lin", 0, 1),
        "value": ("transformer.layer.{}.attention.v_lin", 0, 1),
        "output": ("transformer.layer.{}.attention.out_lin", 0, 1),
        "up": ("transformer.layer.{}.ffn.lin1", 0, 1),
        "down": ("transformer.layer.{}.ffn.lin2", 0, 1),
    },
    "deberta-v2": {
        **BERT_MAPS,
        "query": ("encoder.layer.{}.attention.self.query_proj", 0, 1),
        "key": ("encoder.layer.{}.attention.self.key_proj", 0, 1),
        "value": ("encoder.layer.{}.attention.self.value_proj", 0, 1),
    },
    "modernbert": {
        "query": ("layers.{}.attn.Wqkv", 0, 3),
        "key": ("layers.{}.attn.Wqkv", 1, 3),
        "value": ("layers.{}.attn.Wqkv", 2, 3),
        "output": ("layers.{}.attn.Wo", 0, 1),
        "gate": ("layers.{}.mlp.Wi", 0, 2),
        "up": ("layers.{}.mlp.Wi", 1, 2),
        "down": ("layers.{}.mlp.Wo", 0, 1),
    },
    "gpt2": {
        "query": ("h.{}.attn.c_attn", 0, 3),
        "key": ("h.{}.attn.c_attn", 1, 3),
        "value": ("h.{}.attn.c_attn", 2, 3),
        "output": ("h.{}.attn.c_proj", 0, 1),
        "up": ("h.{}.mlp.c_fc", 0, 1),
        "down": ("h.{}.mlp.c_proj", 0, 1),
    },
}


class Map:
    """One linear map: its weight [rows, columns] and its bias, in place in the model."""

    def __init__(self, model: nn.Module, layer: int, role: str) -> None:
        path, index, count = MAPS.get(model.config.model_type, LLAMA_MAPS)[role]
        linear = model.get_submodule(path.format(layer))
        weight = linear.weight.data if isinstance(linear, nn.Linear) else linear.weight.data.T
        self.weight = weight.chunk(count)[index]
        self.bias = None if linear.bias is None else linear.bias.data.chunk(count)[index]
        self.own_weight = self.weight.clone()
        self.own_bias = None if self.bias is None else self.bias.clone()


def change_maps(model: nn.Module, grafts: Sequence[Graft]) -> nn.Module:
    """A copy of a bare encoder whose weights do what LoRA, (IA)3 and BitFit of a stack do; itself without any."""
    if not any(isinstance(part, Lora | IA3 | BitFit) for graft in grafts for part in graft.parts):
        return model
    model = copy.deepcopy(model)
    for graft in grafts:
        add_to_weights(model, graft)
    found: dict[tuple[int, str], Map] = {}
    columns: list[tuple[Map, Tensor]] = []
    for graft in grafts:
        for name, tensor in graft.tensors().items():
            match name.split("."):
                case ["lora", "layers", layer, role, "A"]:
                    add_product(find_map(model, found, layer, role), graft, name.removesuffix(".A"))
                case ["ia3", "outputs", layer, role]:
                    multiply_rows(find_map(model, found, layer, role), tensor)
                case ["ia3", "inputs", layer, role]:
                    columns.append((find_map(model, found, layer, role), tensor))
                case _:
                    pass
    for where, factors in columns:
        where.weight.mul_(factors)
    return model


def find_map(model: nn.Module, found: dict[tuple[int, str], Map], layer: str, role: str) -> Map:
    place = (int(layer), role)
    if place not in found:
        found[place] = Map(model, *place)
    return found[place]


def multiply_rows(where: Map, factors: Tensor) -> None:
    where.weight.mul_(factors[:, None])
    if where.bias is not None:
        where.bias.mul_(factors)


def add_product(where: Map, graft: Graft, key: str) -> None:
    options = next(part for part in graft.parts if isinstance(part, Lora))
    tensors, root = graft.tensors(), options.rank**0.5
    scale = options.alpha / (root if options.rslora else options.rank)
    product = scale * (tensors[f"{key}.B"] @ tensors[f"{key}.A"])
    where.weight.add_(product)
    if options.dora:
        length = torch.sqrt((where.own_weight**2).sum(1)) + tensors[f"{key}.magnitude"]
        factors = length / torch.sqrt(((where.own_weight + product) ** 2).sum(1))
        where.weight.mul_(factors[:, None])
        if where.bias is not None:
            # The map without its bias is what is stretched.
            where.bias.copy_(factors * (where.bias - where.own_bias) + where.own_bias)


def add_to_weights(model: nn.Module, graft: Graft) -> None:
    """Do what BitFit does, for what the tests ask of it: all biases, or the norms."""
    part = next((part for part in graft.parts if isinstance(part, BitFit)), None)
    if part is None:
        return
    values, start = graft.tensors()["bitfit.values"], 0
    layers = dict(model.named_modules())
    for name, weight in model.named_parameters():
        is_norm = "norm" in type(layers[name.rpartition(".")[0]]).__name__.lower()
        if (part.weights == ("*.bias",) and name.endswith(".bias")) or (
            part.weights == ("norm",) and is_norm
        ):
            weight.data.add_(values[start : start + weight.numel()].view_as(weight))
            start += weight.numel()
    assert start == len(values)
