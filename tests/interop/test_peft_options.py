"""What configurations of PEFT ask for that no part does, and keys and layers that nobody knows."""

from __future__ import annotations

from typing import Any

import pytest
from tests.interop.peft_folder import Folder, same

from polygraft.base.base import Base
from polygraft.errors import DataError
from polygraft.interop.peft import import_peft
from polygraft.parts.head import Head
from polygraft.parts.lora import Lora


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"bias": "some"},
            'has bias = "some": it is not known which biases of the base are trained with it. Expected "none" or "all" '
            'or "lora_only"',
        ),
        (
            {"init_lora_weights": "pissa"},
            'has init_lora_weights = "pissa": its start changes the base\'s own weights. Expected true or false or '
            '"gaussian" or "orthogonal" or "eva"',
        ),
        (
            {"loftq_config": {"loftq_bits": 4}},
            'has loftq_config = {"loftq_bits": 4}: its start changes the base\'s own weights. Expected {}',
        ),
        (
            {"layer_replication": [[0, 2]]},
            "has layer_replication = [[0, 2]]: the bases keep their layers. Expected []",
        ),
        (
            {"lora_bias": True},
            "has lora_bias = true: no part has a bias in its second matrix. Expected false",
        ),
        (
            {"use_qalora": True},
            "has use_qalora = true: no part sums its input by groups. Expected false",
        ),
        ({"r": "4"}, 'has r = "4": that is no whole number. Expected a whole number of 0 or more'),
        ({"r": None}, "has r = null: that is no whole number. Expected a whole number of 0 or more"),
        ({"r": 0}, "has r = 0: that is no rank. Expected 1 or more"),
        (
            {"lora_alpha": -2},
            "has lora_alpha = -2: no part subtracts what it learned, or leaves it out. Expected a number above 0",
        ),
        (
            {"rank_pattern": {"query": 0}},
            ", rank_pattern has query = 0: that is no rank. Expected 1 or more",
        ),
        (
            {"target_modules": None},
            "has target_modules = null: the file does not say which layers it stands beside. Expected names of layers, "
            'a pattern of names, or "all-linear"',
        ),
        (
            {"target_modules": ".*query", "layers_to_transform": [0]},
            "has layers_to_transform = [0]: the targets are a pattern, which says by itself which layers are meant. "
            "Expected null",
        ),
        (
            {"layers_pattern": ["layer"]},
            'has layers_pattern = ["layer"]: no layers_to_transform says which of these layers are meant. Expected '
            "null",
        ),
        (
            {"layers_to_transform": ["0"]},
            'has layers_to_transform = ["0"]: that is no list of whole numbers. Expected a list of them',
        ),
        (
            {"init_lora_weights": "olora"},
            'has init_lora_weights = "olora": its start changes the base\'s own weights. Expected true or false or '
            '"gaussian" or "orthogonal" or "eva"',
        ),
        (
            {"init_lora_weights": "loftq"},
            'has init_lora_weights = "loftq": its start changes the base\'s own weights. Expected true or false or '
            '"gaussian" or "orthogonal" or "eva"',
        ),
        (
            {"trainable_token_indices": [3]},
            "has trainable_token_indices = [3]: no part learns embeddings of pieces. Expected []",
        ),
        (
            {"alora_invocation_tokens": [3, 4]},
            "has alora_invocation_tokens = [3, 4]: no part begins to act at a token. Expected []",
        ),
        (
            {"target_parameters": ["mlp.experts.gate_up_proj"]},
            'has target_parameters = ["mlp.experts.gate_up_proj"]: parts stand beside linear maps only. Expected []',
        ),
        (
            {"peft_type": "LOHA"},
            'has peft_type = "LOHA", which polygraft cannot import. Expected one of LORA, IA3, PROMPT_TUNING, '
            "PREFIX_TUNING",
        ),
    ],
)
def test_what_no_part_does_is_refused_by_key_and_value(
    peft_bert: Base, lora: Folder, changes: dict[str, Any], reason: str
):
    lora.change(**changes)
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    gap = "" if reason.startswith(",") else " "
    assert str(caught.value) == (
        f"{lora.path}/adapter_config.json{gap}{reason}. What was trained with that cannot be brought over; nothing was "
        "written."
    )


def test_an_unknown_key_is_refused(peft_bert: Base, lora: Folder):
    lora.change(use_dorra=True)
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    assert str(caught.value).startswith(
        f"{lora.path}/adapter_config.json has use_dorra = true, a key that polygraft does not know, so it "
        "cannot vouch for the numbers. Expected "
    )
    assert " Did you mean 'use_dora'? " in str(caught.value)


def test_what_a_newer_release_did_not_ask_for_is_passed_over(peft_bert: Base, lora: Folder):
    wanted = import_peft(peft_bert, lora.path, name="x").graft
    lora.change(use_newest=False, newest_config=None, newest_list=[], newest_map={})
    assert same(import_peft(peft_bert, lora.path, name="x").graft, wanted)


@pytest.mark.parametrize(("layers", "wrong"), [([-1], -1), ([0, 3], 3), (7, 7)])
def test_layers_that_the_base_has_not_are_refused(peft_bert: Base, lora: Folder, layers: Any, wrong: int):
    lora.change(layers_to_transform=layers)
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    assert str(caught.value) == (
        f"{lora.path}/adapter_config.json has layers_to_transform with {wrong}, and the base has 3 layers. Expected "
        "numbers from 0 to 2, since PEFT counts none from the end. Import it on the base that it was trained on."
    )


def test_a_pattern_that_matches_nothing_is_refused(peft_bert: Base, lora: Folder):
    lora.change(target_modules=r".*\.q_proj")
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    assert str(caught.value).startswith(
        f"{lora.path}/adapter_config.json is about no linear map of the base's layers: its targets are the pattern "
        '".*\\\\.q_proj". Expected some of attention.self.query, '
    )


def test_each_map_has_the_scale_of_its_own_rank_and_alpha(peft_bert: Base, lora: Folder):
    lora.change(
        use_rslora=True,
        rank_pattern={r"layer\.[12]\..*value": 2},
        alpha_pattern={".*query": 12, r"layer\.0\..*": 6},
    )
    tensors = lora.tensors()
    for key in tensors:
        if "value" in key and "layer.0" not in key:
            tensors[key] = (tensors[key][:2] if "lora_A" in key else tensors[key][:, :2]).contiguous()
    lora.save(tensors)
    parts = import_peft(peft_bert, lora.path, name="x").graft.parts
    assert parts == (
        Lora(rank=4, alpha=12, roles=("query",), rslora=True),
        Lora(rank=4, alpha=6, roles=("value",), skip_layers=(1, 2), rslora=True),
        Lora(rank=2, alpha=16, roles=("value",), skip_layers=(0,), rslora=True),
        Head(objective="tokens", labels=("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3", "LABEL_4")),
    )


def test_targets_that_the_base_has_not_are_refused(peft_bert: Base, lora: Folder):
    lora.change(target_modules=["q_proj"])
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    assert str(caught.value) == (
        f"{lora.path}/adapter_config.json is about no linear map of the base's layers: its targets are q_proj. "
        "Expected some of attention.self.query, attention.self.key, attention.self.value, attention.output.dense, "
        "intermediate.dense, output.dense. Import it on the base that it was trained on."
    )
