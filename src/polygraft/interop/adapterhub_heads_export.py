"""Heads as AdapterHub has them: its flexible ones, and those of `transformers` models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from torch import Tensor

from polygraft.interop.heads import DECODER, write_plain_head
from polygraft.parts.head import Head

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

CLASS_ENDS: Mapping[str, str] = {
    "tokens": "ForTokenClassification",
    "sequence": "ForSequenceClassification",
    "mlm": "ForMaskedLM",
}
"""How the names of the models end that have a head for an objective."""


def write_flexible_head(base: Base, graft: Graft, part: Head) -> tuple[dict[str, object], dict[str, Tensor]]:
    """Give what head_config.json has under `config`, and the tensors beside it.

    Args:
        base: The base.
        graft: The graft, after which the head is called.
        part: Its head.
    """
    own = {
        name.removeprefix(f"{Head.kind}."): tensor
        for name, tensor in graft.tensors().items()
        if name.startswith(f"{Head.kind}.")
    }
    own[DECODER] = base.sites.word_embeddings.weight.detach()
    config = write_head_config(part, vocab=base.sites.vocab, embedding=base.sites.embedding)
    return config, name_head_tensors(part, own, name=graft.name)


def write_static_head(base: Base, graft: Graft, part: Head) -> tuple[dict[str, object], dict[str, Tensor]]:
    """Give what head_config.json has besides what it says of the base, and the tensors beside it.

    Args:
        base: The base.
        graft: The graft.
        part: Its head.

    Raises:
        GraftError: The models of `transformers` have no such head.
    """
    tensors = write_plain_head(base, graft, with_base=False)
    # The models of masked-LM have labels, too, which mean nothing.
    labels = part.labels or ("LABEL_0", "LABEL_1")
    about: dict[str, object] = {
        "config": None,
        "label2id": {label: number for number, label in enumerate(labels)},
        "name": None,
        "num_labels": len(labels),
    }
    return about, tensors


def write_head_config(part: Head, *, vocab: int, embedding: int) -> dict[str, object]:
    """Give what a flexible head's configuration says of a head."""
    if part.objective == "mlm":
        return {
            "activation_function": "gelu",
            "bias": True,
            "embedding_size": embedding,
            "head_type": "masked_lm",
            "label2id": None,
            "layer_norm": True,
            "layers": 2,
            "shift_labels": False,
            "vocab_size": vocab,
        }
    shared: dict[str, object] = {
        "dropout_prob": None,
        "label2id": {label: number for number, label in enumerate(part.labels)},
        "num_labels": len(part.labels),
    }
    if part.objective == "tokens":
        return {**shared, "activation_function": "tanh", "head_type": "tagging", "layers": 1}
    return {
        **shared,
        "activation_function": cast("object", part.activation),
        "bias": True,
        "head_type": "classification",
        "layers": 2,
        "use_pooler": False,
    }


def name_head_tensors(part: Head, own: Mapping[str, Tensor], *, name: str) -> dict[str, Tensor]:
    """Give a head's tensors as a flexible head names them.

    Args:
        part: The head.
        own: Its tensors as the part names them.
        name: What the head is called.
    """
    if part.objective == "mlm":
        order = {
            "dense.weight": 0,
            "dense.bias": 0,
            "norm.weight": 2,
            "norm.bias": 2,
            DECODER: 3,
            "bias": 3,
        }
    elif part.objective == "tokens":
        order = {"out.weight": 1, "out.bias": 1}
    else:
        order = {"dense.weight": 1, "dense.bias": 1, "out.weight": 4, "out.bias": 4}
    return {f"heads.{name}.{at}.{key.rpartition('.')[2]}": own[key] for key, at in order.items()}
