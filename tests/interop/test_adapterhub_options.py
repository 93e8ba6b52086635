"""What configurations of AdapterHub ask for that no part does, and keys that nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.interop.hub_folder import Folder, read

from polygraft.base.base import Base
from polygraft.errors import DataError


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_gating": True}, "has use_gating = true: no part has a gate. Expected false"),
        (
            {"ln_before": True},
            "has ln_before = true: no part has a LayerNorm of its own before the projection. Expected false",
        ),
        (
            {"ln_after": True},
            "has ln_after = true: no part has a LayerNorm of its own after the projection. Expected false",
        ),
        (
            {"cross_adapter": True},
            "has cross_adapter = true: the bases have no attention to another text. Expected false",
        ),
        (
            {"scaling": "channel"},
            'has scaling = "channel": no part has a factor for each column. Expected a number or "learned"',
        ),
        (
            {"original_ln_after": False},
            "has original_ln_after = false: every part leaves the base's own LayerNorm where it is. Expected true",
        ),
        (
            {"residual_before_ln": "post_add"},
            'has residual_before_ln = "post_add": every part\'s residual is taken before the LayerNorm. Expected true',
        ),
        (
            {"inv_adapter": "glow"},
            'has inv_adapter = "glow": that library cannot compute its own GLOW, so nothing says what an adapter with '
            'it does. Expected "nice"',
        ),
        (
            {"non_linearity": "mish"},
            'has non_linearity = "mish": no part has that activation. Expected one of relu, gelu, gelu_python, '
            "gelu_new, gelu_fast, gelu_pytorch_tanh, swish, silu, tanh, leakyrelu, leaky_relu, sigmoid, linear",
        ),
        (
            {"leave_out": [0, 1, 2]},
            "has leave_out = [0, 1, 2]: no layer is left. Expected at least one layer to be left",
        ),
        (
            {"leave_out": [0.5]},
            "has leave_out = [0.5]: that is no list of whole numbers. Expected a list of them",
        ),
        (
            {"reduction_factor": {"0": 8, "2": 8}},
            'has reduction_factor = {"0": 8, "2": 8}: layer 1 has none. Expected one for each layer, or a default',
        ),
        (
            {"reduction_factor": None},
            "has reduction_factor = null: that is no number that polygraft knows. Expected a number",
        ),
        (
            {"architecture": "reft"},
            'has architecture = "reft": that is ReFT (LoReFT, NoReFT, DiReFT), which changes single hidden states, and '
            "no part does. Expected null or one of lora, prefix_tuning, union",
        ),
        (
            {"architecture": "mtl_lora"},
            'has architecture = "mtl_lora": that is MTL-LoRA, which has matrices of its own for each task, and no part '
            "has. Expected null or one of lora, prefix_tuning, union",
        ),
        (
            {"architecture": "prompt_tuning"},
            'has architecture = "prompt_tuning": that library puts a prompt behind the embeddings, without positions, '
            "and there a classification reads its first place; the part 'prompt' stands before them, with positions, "
            "and is not read. Expected null or one of lora, prefix_tuning, union",
        ),
        (
            {"architecture": "new"},
            'has architecture = "new": no adapters of that architecture are brought over. Expected "lora" or '
            '"prefix_tuning" or "union"',
        ),
        (
            {"mh_adapter": "yes"},
            'has mh_adapter = "yes": that is no truth value. Expected true or false',
        ),
        (
            {"mh_adapter": True},
            "has mh_adapter = true, output_adapter = true, is_parallel = false, original_ln_before = true: no part "
            "stands there. Expected output_adapter alone with original_ln_before (Pfeiffer), mh_adapter and "
            "output_adapter without it (Houlsby), or output_adapter alone with is_parallel",
        ),
    ],
)
def test_what_no_part_does_is_refused_by_key_and_value(
    hub_bert: Base, ner: Folder, changes: dict[str, Any], reason: str
):
    ner.change(**changes)
    with pytest.raises(DataError) as caught:
        read(hub_bert, ner.path, "ner")
    assert str(caught.value) == (
        f"{ner.path}/adapter_config.json, config {reason}. What was trained with that cannot be brought over; nothing "
        "was written."
    )


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("lora", {"use_gating": True}, "has use_gating = true: no part has a gate. Expected false"),
        (
            "ia3",
            {"use_dora": True},
            "has use_dora = true: factors have no direction. Expected false",
        ),
        (
            "lora",
            {"vera_d": 0.1},
            "has vera_d = 0.1: that is VeRA, and no part has vectors between matrices that all layers share. Expected "
            "null",
        ),
        (
            "lora",
            {"composition_mode": "multiply"},
            'has composition_mode = "multiply": no part joins its tensors with the base\'s otherwise. Expected "add" '
            'or "scale"',
        ),
        ("lora", {"r": 0}, "has r = 0: a product has at least one row. Expected 1 or more"),
        ("lora", {"alpha": 0}, "has alpha = 0: that undoes the adapter. Expected a number above 0"),
        (
            "lora",
            {"attn_matrices": ["q", "o"]},
            'has attn_matrices = ["q", "o"]: \'o\' is none of the attention\'s maps. Expected some of q, k, v',
        ),
        (
            "lora",
            {"selfattn_lora": False},
            'has attn_matrices = ["q", "v"]: no linear map is left. Expected selfattn_lora with some of them, '
            "intermediate_lora or output_lora",
        ),
        (
            "lora",
            {"leave_out": [0, 1, 2]},
            "has leave_out = [0, 1, 2]: no layer is left. Expected at least one layer to be left",
        ),
        ("ia3", {"r": 2}, "has r = 2: factors have no rank. Expected 1"),
        ("prefix", {"use_gating": True}, "has use_gating = true: no part has a gate. Expected false"),
        (
            "prefix",
            {"encoder_prefix": False},
            "has encoder_prefix = false: the bases have no decoder that alone could get it. Expected true",
        ),
        ("prefix", {"prefix_length": 0}, "has prefix_length = 0: that is no prefix. Expected 1 or more"),
        ("prefix", {"bottleneck_size": 0}, "has bottleneck_size = 0: that is no network. Expected 1 or more"),
        (
            "prefix",
            {"leave_out": [2, 1, 0]},
            "has leave_out = [0, 1, 2]: no layer is left. Expected at least one layer to be left",
        ),
        ("compacter", {"scaling": 2.0}, "has scaling = 2.0: a Compacter has no factor. Expected 1.0 or 1"),
        ("compacter", {"phm_bias": False}, "has phm_bias = false: a Compacter has biases. Expected true"),
        (
            "compacter",
            {"shared_W_phm": True},
            "has shared_w_phm = true: each projection of a Compacter has matrices B of its own. Expected false",
        ),
        (
            "compacter",
            {"factorized_phm_rule": True},
            "has factorized_phm_rule = true: the matrices A of a Compacter are whole. Expected false",
        ),
        ("compacter", {"phm_dim": 0}, "has phm_dim = 0: that is no sum of products. Expected 1 or more"),
        (
            "compacter",
            {"mh_adapter": False, "is_parallel": True},
            "has is_parallel = true: no Compacter stands there. Expected false",
        ),
        (
            "compacter",
            {"reduction_factor": {"0": 2, "default": 4}},
            'has reduction_factor = {"0": 2, "default": 4}: a Compacter has one width in all layers. Expected a number',
        ),
    ],
)
def test_what_other_parts_do_not_do_is_refused_by_key_and_value(
    hub_bert: Base, tmp_path: Path, name: str, changes: dict[str, Any], reason: str
):
    folder = Folder(tmp_path, f"adapters/{name}")
    folder.change(**changes)
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder.path, name)
    assert str(caught.value) == (
        f"{folder.path}/adapter_config.json, config {reason}. What was trained with that cannot be brought over; "
        "nothing was written."
    )


@pytest.mark.parametrize("name", ["lora", "prefix"])
def test_an_unknown_key_of_other_parts_is_refused(hub_bert: Base, tmp_path: Path, name: str):
    folder = Folder(tmp_path, f"adapters/{name}")
    folder.change(more=3)
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder.path, name)
    assert str(caught.value).startswith(
        f"{folder.path}/adapter_config.json, config has more = 3, a key that polygraft does not know, so it "
        "cannot vouch for the numbers. Expected "
    )


def test_an_unknown_key_is_refused_with_its_value(hub_bert: Base, ner: Folder):
    ner.change(use_gatin=3)
    with pytest.raises(DataError) as caught:
        read(hub_bert, ner.path, "ner")
    assert str(caught.value).startswith(
        f"{ner.path}/adapter_config.json, config has use_gatin = 3, a key that polygraft does not know, so it "
        "cannot vouch for the numbers. Expected "
    )
    assert str(caught.value).endswith(
        " Did you mean 'use_gating'? Take a newer polygraft, or write the folder again with its own library and "
        "without this option."
    )


def test_an_unknown_key_beside_the_configuration_is_refused(hub_bert: Base, ner: Folder):
    ner.write({**ner.config(), "quantised": True})
    with pytest.raises(DataError) as caught:
        read(hub_bert, ner.path, "ner")
    assert str(caught.value).startswith(
        f"{ner.path}/adapter_config.json has quantised = true, a key that polygraft does not know, so it "
        "cannot vouch for the numbers. Expected "
    )
