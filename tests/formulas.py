"""Plain formulas of the parts that more than one line of a model needs: see reference.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from tests.plain_math import ACTIVATIONS, linear, softmax
from torch import Tensor

from polygraft.attach.graft import Graft
from polygraft.parts.compacter import Compacter
from polygraft.parts.prefix import Prefix


def add_compacter(
    graft: Graft,
    *,
    layer: int,
    sublayer: str,
    h: Tensor,
    inp: Tensor,
    norm: Callable[[Tensor], Tensor],
) -> Tensor:
    """Add what a compacter says, each of its weights written out as a sum of Kronecker products."""
    tensors = graft.tensors()
    options = next((part for part in graft.parts if isinstance(part, Compacter)), None)
    name = f"compacter.layers.{layer}.{sublayer}"
    if options is None or f"{name}.down.bias" not in tensors:
        return h

    def project(x: Tensor, projection: str) -> Tensor:
        own = f"{name}.{projection}"
        rule = tensors["compacter.rule" if options.shared else f"{own}.rule"]
        weight: Tensor | float = 0.0
        for index in range(options.terms):
            if options.rank is None:
                small = tensors[f"{own}.full"][index]
            else:
                small = tensors[f"{own}.left"][index] @ tensors[f"{own}.right"][index]
            weight = weight + torch.kron(rule[index], small)
        return x @ weight + tensors[f"{own}.bias"]

    x = norm(h + inp) if options.placement == "ffn" else h
    return h + project(ACTIVATIONS[options.activation](project(x, "down")), "up")


def find_prefix(grafts: Sequence[Graft], *, layer: int, num_layers: int, width: int) -> Tensor:
    """The prefixes of a layer, [2, P, width], keys and values, those of the lowest graft first."""
    found = [torch.zeros(2, 0, width)]
    for graft in grafts:
        tensors = graft.tensors()
        for part in graft.parts:
            if not isinstance(part, Prefix):
                continue
            layers = [each for each in range(num_layers) if each - num_layers not in part.skip_layers]
            layers = [each for each in layers if each not in part.skip_layers]
            if part.reparameterization is None:
                values = tensors["prefix.source.values"]
            else:
                middle = linear(tensors["prefix.source.embedding"], tensors, "prefix.source.down")
                values = linear(ACTIVATIONS[part.activation](middle), tensors, "prefix.source.up")
            if layer in layers:
                both = values.view(part.length, len(layers), 2, width)[:, layers.index(layer)]
                found.append(both.transpose(0, 1))
    return torch.cat(found, dim=1)


def attend_with_prefix(q: Tensor, k: Tensor, v: Tensor, may: Tensor, prefix: Tensor) -> Tensor:
    """Attention head by head, q [B, H, T, d] and k, v [B, G, T, d]; `may` is [B, 1, T, T]: [B, T, H d]."""
    num_rows, num_heads, num_tokens, size = q.shape
    num_groups = k.shape[1]
    mixed: list[Tensor] = []
    for head in range(num_heads):
        group = head * num_groups // num_heads
        own = prefix[..., group * size : (group + 1) * size]
        keys, values = (
            torch.cat([own[index].expand(num_rows, -1, -1), x[:, group]], dim=1)
            for index, x in enumerate((k, v))
        )
        scores = q[:, head] @ keys.transpose(1, 2) / math.sqrt(size)
        seen = torch.ones(num_rows, num_tokens, prefix.shape[1], dtype=torch.bool)
        scores = scores.masked_fill(~torch.cat([seen, may[:, 0]], dim=-1), -1e9)
        mixed.append(softmax(scores) @ values)
    return torch.cat(mixed, dim=-1)
