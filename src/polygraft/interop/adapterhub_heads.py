"""Heads of AdapterHub: its flexible ones, and those of `transformers` models that it stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.errors import DataError
from polygraft.interop.adapterhub_names import check_names
from polygraft.interop.adapterhub_options import translate_activation
from polygraft.interop.heads import DECODER, HeadTensors, drop_decoder, make_labels, read_plain_head
from polygraft.interop.options import Options
from polygraft.parts.head import Head
from polygraft.store.fields import JsonValue

if TYPE_CHECKING:
    from polygraft.base.base import Base

KINDS = ("tagging", "classification", "masked_lm")
CAUSAL = "the bases that library has adapters in here see the whole text, so that no piece is the next one"
"""Why heads that score the next piece are not brought over."""


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What a flexible head is made of."""

    part: Head
    names: Mapping[str, str]
    """Own names by those in the file."""
    identity: bool = False
    """Whether the file has one layer where the part has two: the first is the identity then."""


def read_head(
    base: Base, config: Mapping[str, JsonValue], tensors: Mapping[str, Tensor], *, where: str
) -> HeadTensors:
    """Read a head from head_config.json and its tensors.

    Args:
        base: The base.
        config: All of head_config.json.
        tensors: The tensors beside it.
        where: What the messages call the folder.

    Raises:
        DataError: It is a head that no part is, or its tensors are others.
    """
    options = Options(config, where=f"{where}/head_config.json")
    inner = options.mapping("config")
    name, model_class = options.text("name"), options.text("model_class", "") or ""
    options.ignore("hidden_size", "model_name", "model_type", "version", "num_labels", "label2id", "type")
    options.close()
    if inner is None:
        return _read_static(base, options, model_class, tensors, where=where)
    shape = _read_shape(Options(inner, where=f"{options.where}, config"))
    found = {theirs.removeprefix(f"heads.{name}."): tensor for theirs, tensor in tensors.items()}
    optional = {theirs for theirs, own in shape.names.items() if own == DECODER} - found.keys()
    check_names(found, shape.names.keys() - optional, where=where)
    own = {shape.names[theirs]: tensor for theirs, tensor in found.items()}
    if shape.part.objective == "mlm":
        own = drop_decoder(base, own, where=where)
    if shape.identity:
        own |= {
            "dense.weight": torch.eye(base.sites.hidden),
            "dense.bias": torch.zeros(base.sites.hidden),
        }
    if shape.part.objective != "mlm" and "out.bias" not in own:
        own["out.bias"] = torch.zeros(len(shape.part.labels))
    return HeadTensors(part=shape.part, tensors=own)


def _read_static(
    base: Base, options: Options, model_class: str, tensors: Mapping[str, Tensor], *, where: str
) -> HeadTensors:
    """Read the head of a model of `transformers`, which has no options of its own."""
    if model_class.endswith(("ForCausalLM", "LMHeadModel")):
        raise options.refuse(
            "model_class", model_class, why=CAUSAL, expected="a head for masked-LM or labels"
        )
    labels = _read_labels(options, count=None)
    if model_class.endswith("ForSequenceClassification") and set(tensors) == {
        "classifier.weight",
        "classifier.bias",
    }:
        raise DataError(
            f"{where} has the head of {model_class}, which reads the base's pooler. Expected a head that reads hidden "
            "states: a bare encoder has no pooler. Import the adapter without its head."
        )
    return read_plain_head(base, tensors, labels=labels, where=where)


def _read_labels(options: Options, *, count: int | None) -> tuple[str, ...] | None:
    """Give the labels by their numbers; None where the file names none."""
    found = options.mapping("label2id")
    if found is None:
        return None
    by_number = {number: label for label, number in found.items() if isinstance(number, int)}
    if sorted(by_number) != list(range(len(found))) or (count is not None and len(found) != count):
        raise options.refuse(
            "label2id",
            found,
            why="that does not number the labels",
            expected=f"each of {'them' if count is None else count} once, from 0 up",
        )
    return tuple(by_number[number] for number in sorted(by_number))


def _read_shape(options: Options) -> _Shape:
    kind = options.text("head_type")
    if kind not in KINDS:
        why = CAUSAL if kind == "causal_lm" else "no head does that"
        raise options.refuse("head_type", kind, why=why, expected=f"one of {', '.join(KINDS)}")
    options.ignore("dropout_prob")
    shape = _read_mlm(options) if kind == "masked_lm" else _read_labelling(options, kind)
    options.close()
    return shape


def _read_mlm(options: Options) -> _Shape:
    options.ignore("vocab_size", "embedding_size", "label2id")
    options.expect("layers", 2, why="a masked-LM head has one layer before its decoder")
    options.expect("layer_norm", True, why="a masked-LM head has a LayerNorm")
    options.expect("bias", True, why="a masked-LM head has a bias")
    options.expect("shift_labels", False, why="a masked-LM head scores a token at its own place")
    # Heads called their activations in files without a version as they do today.
    value = options.text("activation_function")
    name = translate_activation(options, "activation_function", value, has_version=True)
    if name != "gelu":
        raise options.refuse("activation_function", value, why="a masked-LM head has gelu", expected='"gelu"')
    names = {
        "0.weight": "dense.weight",
        "0.bias": "dense.bias",
        "2.weight": "norm.weight",
        "2.bias": "norm.bias",
        "3.weight": DECODER,
        "3.bias": "bias",
    }
    return _Shape(part=Head(objective="mlm"), names=names)


def _read_labelling(options: Options, kind: str) -> _Shape:
    count, num_layers = options.whole("num_labels"), options.whole("layers", 1)
    labels = _read_labels(options, count=count) or make_labels(count)
    value = options.text("activation_function")
    if kind == "tagging":
        options.expect("layers", 1, why="a head for tokens has one layer")
        return _Shape(
            part=Head(objective="tokens", labels=labels),
            names={"1.weight": "out.weight", "1.bias": "out.bias"},
        )
    options.expect("use_pooler", False, why="a bare encoder has no pooler")
    options.expect("layers", 1, 2, why="a head for sequences has one layer or two")
    has_bias = options.flag("bias", default=True)
    has_activation = value is not None and num_layers == 2
    activation = (
        translate_activation(options, "activation_function", value, has_version=True)
        if has_activation
        else "linear"
    )
    last = 1 if num_layers == 1 else 4 if has_activation else 3
    names = {f"{last}.weight": "out.weight", **({f"{last}.bias": "out.bias"} if has_bias else {})}
    if num_layers == 2:
        names |= {"1.weight": "dense.weight", "1.bias": "dense.bias"}
    part = Head(objective="sequence", labels=labels, activation=activation)
    return _Shape(part=part, names=names, identity=num_layers == 1)
