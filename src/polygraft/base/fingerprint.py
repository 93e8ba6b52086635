"""Fingerprints: short names for exactly these weights and exactly this tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from polygraft.base.sites import find_family

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

    from polygraft.base.pretrained_head import PretrainedHead

NUM_CHARACTERS = 32
RELEVANT_KEYS = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "vocab_size",
)
"""What of a configuration changes the outputs without changing a weight's shape, and what names the shape,
in every family; `Family.config_keys` has the rest."""


def fingerprint_weights(tensors: Iterable[tuple[str, Tensor]], config: PretrainedConfig) -> str:
    """Hash every name, shape, dtype and value, and the configuration that the outputs depend on.

    Args:
        tensors: Names and tensors, such as `model.named_parameters()`; their order does not matter.
        config: The architecture's configuration.
    """
    known = config.to_dict()
    keys = (*RELEVANT_KEYS, *find_family(str(known["model_type"])).config_keys)
    relevant = {key: known[key] for key in keys if key in known}
    return _hash(json.dumps(relevant, sort_keys=True, default=str), tensors)


def fingerprint_head(head: PretrainedHead, *, is_tied: bool) -> str:
    """Hash a base's own head that scores pieces.

    Args:
        head: The head.
        is_tied: Whether its decoder is the word embeddings, which the base's fingerprint covers.
    """
    own = ((name, tensor) for name, tensor in head.named_parameters() if not (is_tied and name == "weight"))
    return _hash(type(head.activation).__name__, own)


def _hash(text: str, tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        flat = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(flat.numpy().data)
    return digest.hexdigest()[:NUM_CHARACTERS]


def fingerprint_tokenizer(tokenizer: PreTrainedTokenizerFast) -> str:
    """Hash the tokenizer's whole definition: pieces, scores, normalisation and special pieces."""
    # What stands before the added pieces, truncation and padding, is how a tokenizer was last called.
    definition = tokenizer.backend_tokenizer.to_str()
    definition = definition[definition.index('"added_tokens":') :]
    special = {name: str(piece) for name, piece in tokenizer.special_tokens_map.items()}
    text = definition + json.dumps(special, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:NUM_CHARACTERS]
