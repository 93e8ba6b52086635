"""LoRA of PEFT beside layers that compute several maps, against weights that are changed in plain tensor code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import make_base, make_batch, make_trained_graft
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import DataError, GraftError
from polygraft.interop.peft import import_peft
from polygraft.interop.peft_export import export_peft
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part

FUSED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "gpt2": {"attn.c_attn": ("query", "key", "value"), "mlp.c_proj": ("down",)},
    "modernbert": {
        "attn.Wqkv": ("query", "key", "value"),
        "mlp.Wi": ("gate", "up"),
        "mlp.Wo": ("down",),
    },
}
"""Layers by family, with the maps that each computes, in the order of its outputs."""
RANK, ALPHA = 3, 5
every_family = pytest.mark.parametrize("family", FUSED)
with_and_without_dora = pytest.mark.parametrize("dora", [False, True])


def name_layers(base: Base, family: str) -> list[str]:
    layers = base.sites.family.layers
    return [f"{layers}.{layer}.{path}" for layer in range(base.sites.num_layers) for path in FUSED[family]]


def write_lora(base: Base, family: str, folder: Path, *, dora: bool, **changes: Any) -> dict[str, Tensor]:
    """Write a LoRA as PEFT does, and give what each weight of the base becomes with it."""
    generator = torch.Generator().manual_seed(3)
    tensors: dict[str, Tensor] = {}
    changed: dict[str, Tensor] = {}
    for name in name_layers(base, family):
        weight = base.model.get_parameter(f"{name}.weight").detach()
        a = torch.randn(RANK, weight.shape[1], generator=generator)
        b = torch.randn(weight.shape[0], RANK, generator=generator) * 0.2
        tensors |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
        new = weight + ALPHA / RANK * b @ a
        if dora:
            lengths = torch.rand(weight.shape[0], generator=generator) + 0.5
            tensors[f"{name}.lora_magnitude_vector"] = lengths
            new = lengths[:, None] * new / new.norm(dim=1, keepdim=True)
        changed[f"{name}.weight"] = new
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": ALPHA,
        "use_dora": dora,
        "fan_in_fan_out": family == "gpt2",
        "target_modules": list(FUSED[family]),
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(
        {f"base_model.model.{name}": tensor for name, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    return changed


@torch.no_grad()
def run(base: Base, graft: Graft) -> Tensor:
    batch = make_batch()
    with attach(base, graft.name, grafts=[graft]) as attachment:
        return attachment.run(*batch)[batch.attention_mask == 1]


@torch.no_grad()
def run_changed(base: Base, changed: Mapping[str, Tensor]) -> Tensor:
    """Run the base with other weights, slowly: they are put in and taken out."""
    batch, own = make_batch(), {name: base.model.get_parameter(name).clone() for name in changed}
    for name, weight in changed.items():
        base.model.get_parameter(name).copy_(weight)
    with attach(base, None) as attachment:
        hidden = attachment.run(*batch)[batch.attention_mask == 1]
    for name, weight in own.items():
        base.model.get_parameter(name).copy_(weight)
    return hidden


@every_family
@with_and_without_dora
def test_a_lora_beside_a_layer_of_several_maps_changes_all_of_them(family: str, tmp_path: Path, dora: bool):
    base = make_base(family)
    changed = write_lora(base, family, tmp_path, dora=dora)
    graft = import_peft(base, tmp_path, name="x").graft
    roles = tuple(role for found in FUSED[family].values() for role in found)
    assert graft.parts == (Lora(rank=RANK, alpha=ALPHA, roles=roles, dora=dora),)
    wanted = run_changed(base, changed)
    assert (run(base, graft) - wanted).abs().max() < 1e-5 * wanted.abs().max()


@every_family
@with_and_without_dora
def test_back_and_there_its_tensors_are_the_same(family: str, tmp_path: Path, dora: bool):
    base = make_base(family)
    write_lora(base, family, tmp_path / "in", dora=dora)
    export_peft(base, import_peft(base, tmp_path / "in", name="x").graft, tmp_path / "out")
    old, new = (load_file(tmp_path / each / "adapter_model.safetensors") for each in ("in", "out"))
    assert old.keys() == new.keys()
    assert all(torch.allclose(old[key], new[key], rtol=1e-6, atol=1e-6) for key in old)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["rank_pattern"]) == (RANK, ALPHA, {})
    assert config["fan_in_fan_out"] is (family == "gpt2")


OWN: Mapping[str, list[Part]] = {
    "own A each": [Lora(rank=2, alpha=3, roles=("query", "key", "value", "up"))],
    "one of three": [Lora(rank=2, roles=("key",), skip_layers=(0,))],
    "other scales": [
        Lora(rank=2, alpha=3, roles=("query", "down"), rslora=True),
        Lora(rank=3, alpha=7, roles=("value",), rslora=True),
    ],
    "dora": [Lora(rank=2, roles=("query", "value"), dora=True), Lora(rank=3, roles=("up",), dora=True)],
    "ia3": [IA3(outputs=("key", "up"), inputs=("down", "output"))],
}


@every_family
@pytest.mark.parametrize("name", OWN)
def test_maps_with_values_of_their_own_go_there_and_back(family: str, tmp_path: Path, name: str):
    base = make_base(family)
    graft = make_trained_graft(base, "x", OWN[name])
    export_peft(base, graft, tmp_path)
    back = import_peft(base, tmp_path, name="x").graft
    wanted = run(base, graft)
    assert (run(base, back) - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_different_a_stand_one_below_the_other_and_b_in_blocks(tmp_path: Path):
    base = make_base("gpt2")
    graft = make_trained_graft(base, "x", [Lora(rank=2, alpha=3, roles=("query", "value"))])
    export_peft(base, graft, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 6)
    tensors, own = load_file(tmp_path / "adapter_model.safetensors"), graft.tensors()
    a = tensors["base_model.model.h.1.attn.c_attn.lora_A.weight"]
    b = tensors["base_model.model.h.1.attn.c_attn.lora_B.weight"]
    query, value = (f"lora.layers.1.{role}" for role in ("query", "value"))
    assert torch.equal(a, torch.cat([own[f"{query}.A"], own[f"{value}.A"]]))
    wanted = torch.zeros(48, 4)
    wanted[:16, :2], wanted[32:, 2:] = own[f"{query}.B"], own[f"{value}.B"]
    assert torch.equal(b, wanted)


def test_rows_that_the_layer_has_not_are_refused(tmp_path: Path):
    base = make_base("gpt2")
    write_lora(base, "gpt2", tmp_path, dora=False)
    file, name = tmp_path / "adapter_model.safetensors", "h.0.attn.c_attn.lora_B.weight"
    save_file({**load_file(file), f"base_model.model.{name}": torch.ones(64, RANK)}, file)
    with pytest.raises(DataError) as caught:
        import_peft(base, tmp_path, name="x")
    assert str(caught.value) == (
        f"The tensor '{name}' has the shape [64, 3]. Expected 48 rows, which is what that layer of the base gives. "
        "Import it on the base that it was trained on."
    )


def test_what_several_maps_read_together_is_not_multiplied(tmp_path: Path):
    base = make_base("gpt2")
    write_lora(
        base,
        "gpt2",
        tmp_path,
        dora=False,
        peft_type="IA3",
        feedforward_modules=["c_attn"],
        r=None,
        lora_alpha=None,
        use_dora=None,
    )
    with pytest.raises(DataError) as caught:
        import_peft(base, tmp_path, name="x")
    assert str(caught.value) == (
        f"{tmp_path}/adapter_config.json multiplies what 'h.0.attn.c_attn' reads, and in this base that layer computes "
        "several maps from one input. Expected a layer of one map. What was trained beside all of them at once cannot "
        "be brought over."
    )


def test_two_parts_beside_one_of_several_maps_are_not_exported(tmp_path: Path):
    base = make_base("gpt2")
    graft = make_trained_graft(base, "x", [Lora(rank=2), Lora(rank=2, roles=("value",), skip_layers=(0,))])
    with pytest.raises(GraftError) as caught:
        export_peft(base, graft, tmp_path / "out")
    assert str(caught.value) == (
        "The graft 'x' has two parts beside 'h.1.attn.c_attn, value'. Expected one beside each map, as PEFT has. "
        "Export another graft."
    )


def test_factors_of_what_several_maps_read_are_not_exported(tmp_path: Path):
    base = make_base("gpt2")
    graft = make_trained_graft(base, "x", [IA3(outputs=(), inputs=("query",))])
    with pytest.raises(GraftError) as caught:
        export_peft(base, graft, tmp_path / "out")
    assert str(caught.value) == (
        "The graft 'x' multiplies what 'query' of layer 0 reads, which is one of several maps in 'h.0.attn.c_attn'. "
        "Expected a map that is a layer of its own, as PEFT has. Export another graft."
    )
