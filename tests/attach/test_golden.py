"""The numbers that AdapterHub's library gave for its own files, again to 1e-5.

The folders in tests/formats were written by `adapters` 1.3.0; their tensors are renamed by hand here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import make_tokenizer
from torch import Tensor
from transformers import AutoModel

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import Graft, copy_tensors, make_graft
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.fusion import Fusion
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.part import Part

FORMATS = Path(__file__).parent.parent / "formats" / "adapterhub"
ADAPTERS = ("qu", "en", "ner", "ner_drop", "houlsby", "parallel")
BOTTLENECK = re.compile(
    r"layer\.(\d+)\.(attention\.)?output\.adapters\.\w+\.adapter_(down|up)(?:\.0)?\.(\w+)$"
)
INVERTIBLE = re.compile(r"invertible_adapters\.\w+\.([FG])\.([02])\.(\w+)$")


def rename(name: str) -> str:
    if found := BOTTLENECK.search(name):
        layer, attention, projection, kind = found.groups()
        return f"bottleneck.layers.{layer}.{'attention' if attention else 'ffn'}.{projection}.{kind}"
    function, place, kind = INVERTIBLE.search(name).groups()
    return f"invertible.{function}.{'down' if place == '0' else 'up'}.{kind}"


def read_adapter(base: Base, folder: Path) -> Graft:
    config = json.loads((folder / "adapter_config.json").read_text())["config"]
    placement = "attention+ffn" if config["mh_adapter"] else "parallel" if config["is_parallel"] else "ffn"
    parts: list[Part] = [
        Bottleneck(
            reduction=config["reduction_factor"],
            activation=config["non_linearity"],
            placement=placement,
            scaling=config["scaling"],
            skip_layers=tuple(config["leave_out"]),
        )
    ]
    if config["inv_adapter"]:
        parts.append(
            Invertible(reduction=config["inv_adapter_reduction_factor"], activation=config["non_linearity"])
        )
    graft = make_graft(base, folder.name, parts)
    tensors = torch.load(folder / "pytorch_adapter.bin", weights_only=True)
    copy_tensors(graft, {rename(name): tensor for name, tensor in tensors.items()})
    return graft


def read_head(base: Base, folder: Path, head: Head, names: dict[str, str]) -> Graft:
    graft = make_graft(base, f"{folder.name}-head", [head])
    tensors = torch.load(folder / "pytorch_model_head.bin", weights_only=True)
    copy_tensors(
        graft, {f"head.{own}": tensors[f"heads.{folder.name}.{theirs}"] for own, theirs in names.items()}
    )
    return graft


FUSION = re.compile(r"layer\.(\d+)\.output\.adapter_fusion_layer\.[\w,]+\.(.+)$")


def read_fusion(base: Base, folder: Path) -> Graft:
    graft = make_graft(base, "mix", [Fusion()])
    renamed: dict[str, Tensor] = {}
    tensors = torch.load(folder / "pytorch_model_adapter_fusion.bin", weights_only=True)
    for name, tensor in tensors.items():
        layer, rest = FUSION.search(name).groups()
        renamed[f"fusion.layers.{layer}.ffn.{'value' if rest == 'value.weight' else rest}"] = tensor
    copy_tensors(graft, renamed)
    return graft


def labels(count: int) -> tuple[str, ...]:
    return tuple(f"label{index}" for index in range(count))


class Golden:
    """One base with its adapters and heads, its input, and what came out."""

    def __init__(self, family: str) -> None:
        self.folder = FORMATS / family
        model = AutoModel.from_pretrained(self.folder / "base", add_pooling_layer=False)
        self.base = freeze_base(name=family, model=model, tokenizer=make_tokenizer())
        inputs = load_file(self.folder / "inputs.safetensors")
        self.batch = (inputs["input_ids"], inputs["attention_mask"])
        heads = self.folder / "heads"
        self.grafts = [read_adapter(self.base, self.folder / "adapters" / name) for name in ADAPTERS] + [
            read_head(
                self.base,
                heads / "ner",
                Head(objective="tokens", labels=labels(5)),
                {"out.weight": "1.weight", "out.bias": "1.bias"},
            ),
            read_head(
                self.base,
                heads / "topic",
                Head(objective="sequence", labels=labels(4)),
                {
                    "dense.weight": "1.weight",
                    "dense.bias": "1.bias",
                    "out.weight": "4.weight",
                    "out.bias": "4.bias",
                },
            ),
            read_head(
                self.base,
                heads / "qu",
                Head(objective="mlm"),
                {
                    "dense.weight": "0.weight",
                    "dense.bias": "0.bias",
                    "norm.weight": "2.weight",
                    "norm.bias": "2.bias",
                    "bias": "3.bias",
                },
            ),
        ]

        self.grafts.append(read_fusion(self.base, self.folder / "fusion" / "en,ner"))

    def attach(self, plan: str | None) -> Attachment:
        return attach(self.base, plan, grafts=self.grafts)

    def difference(self, case: str, output: Tensor) -> float:
        expected = load_file(self.folder / f"expected-{case}.safetensors")["expected"]
        assert output.shape == expected.shape
        difference = (output - expected).abs()
        if difference.dim() == 3:
            difference = difference * self.batch[1][..., None]
        return difference.max().item()


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.mark.parametrize("case", ["qu", "ner", "ner_drop", "houlsby", "parallel"])
@torch.no_grad()
def test_one_adapter_gives_the_same_hidden_state(golden: Golden, case: str):
    with golden.attach(case) as attachment:
        assert golden.difference(case, attachment.run(*golden.batch)) < 1e-5


@torch.no_grad()
def test_the_bare_base_gives_the_same_hidden_state(golden: Golden):
    with golden.attach(None) as attachment:
        assert golden.difference("base", attachment.run(*golden.batch)) < 1e-5


@pytest.mark.parametrize(
    ("case", "plan"),
    [
        ("stack-qu-ner-head", "stack(qu, ner, ner-head)"),
        ("stack-en-ner-head", "stack(en, ner, ner-head)"),
        ("ner-topic-head", "stack(ner, topic-head)"),
    ],
)
@torch.no_grad()
def test_a_stack_with_a_head_gives_the_same_scores(golden: Golden, case: str, plan: str):
    with golden.attach(plan) as attachment:
        assert golden.difference(case, attachment.score(*golden.batch)) < 1e-5


@torch.no_grad()
def test_a_language_with_its_masked_lm_head_gives_the_same_scores(golden: Golden):
    with golden.attach("stack(qu, qu-head)") as attachment:
        hidden = attachment.run(*golden.batch)
        x, weight, bias = attachment.prepare_decoding(hidden.flatten(0, 1))
    scores = (x @ weight.T + bias).view(*hidden.shape[:2], -1)
    assert golden.difference("qu-mlm-head", scores) < 1e-5


@torch.no_grad()
def test_a_fusion_gives_the_same_hidden_state(golden: Golden):
    with golden.attach("fuse(en, ner, by=mix)") as attachment:
        assert golden.difference("fuse-en-ner", attachment.run(*golden.batch)) < 1e-5
