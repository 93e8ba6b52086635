"""Attention over short rows on a processor, with a gradient of its own.

PyTorch's fused attention never holds a row's whole matrix of weights, which long rows need, and computes it again for
the gradient. Rows of text are short: there all heads' weights are small, are kept, and all that is left is six batched
products. transformers finds the function below by its name in a base's configuration.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from torch import nn
    from transformers import PreTrainedModel

NAME = "polygraft"
"""What this attention is called in a base's configuration."""
SDPA = "sdpa"
"""What transformers calls PyTorch's own."""
MAX_LENGTH = 128
"""The most tokens of a row: from 256 on PyTorch's own is as fast, and what is kept grows with the square."""


class _Made(NamedTuple):
    """What was made of a mask."""

    version: int
    """How often the mask had been changed."""
    added: Tensor
    """What is added to the scores [B, 1, Tq, Tk]."""
    blind: Tensor | None
    """The tokens that see none [B, 1, Tq, 1], or None where there are none such."""


_made: MutableMapping[Tensor, _Made] = WeakIdKeyDictionary()
"""For each mask that is still there: all layers of a pass are given one and the same."""


def use_short_attention(model: PreTrainedModel) -> None:
    """Let a bare encoder compute attention this way where it is quicker: in float32, on a processor, looking both ways.

    Where it is not PyTorch's own attention that it would take, nothing changes.
    """
    config: Any = model.config
    is_there = model.device.type == "cpu" and model.dtype == torch.float32
    if is_there and config._attn_implementation == SDPA:
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def attend(
    attention: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **named: Any
) -> tuple[Tensor, None]:
    """Compute attention: this way over short rows, else by PyTorch's own.

    Args:
        attention: The layer that asks.
        query: [B, H, Tq, d].
        key: [B, H, Tk, d].
        value: [B, H, Tk, d].
        mask: Which tokens see which (True), or what is added to their scores; [B, 1, Tq, Tk].
        named: What transformers says besides: `scaling`, what scores are multiplied with, and more.

    Returns:
        The heads' outputs [B, Tq, H, d]; and None, where others give the weights.
    """
    if not _is_short(attention, query, key, value, mask, named):
        return sdpa_attention_forward(attention, query, key, value, mask, **named)
    scaling: float | None = named.get("scaling")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    blind: Tensor | None = None
    if mask is not None and mask.dtype == torch.bool:
        mask, blind = _find_added(mask)
    out: Tensor = _ShortAttention.apply(query, key, value, mask, blind, scale)
    return out, None


def _find_added(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Give what is added to the scores in place of a mask of bools, and the tokens that see none: once for a pass."""
    # Masks that are made for inference count no changes; each pass makes its own.
    version = 0 if mask.is_inference() else mask._version
    made = _made.get(mask)
    if made is None or made.version != version:
        made = _made[mask] = _Made(version, *make_added(mask))
    return made.added, made.blind


def make_added(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Make of a mask of bools [B, 1, Tq, Tk] what is added to the scores, and the tokens that see none, if any.

    Padding may stand behind the window of a row's last token; what comes out there is 0, as by PyTorch's own.
    """
    blind = ~mask.any(dim=-1, keepdim=True)
    added = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    added.masked_fill_(~mask, torch.finfo(torch.float32).min)
    return added, blind if bool(blind.any()) else None


def find_attention(layer: nn.Module) -> nn.Module | None:
    """Find in a layer of a base what asks transformers for the function that computes attention.

    None where the layer computes it by itself, as DeBERTa's do.
    """
    for each in layer.modules():
        module = vars(sys.modules[type(each).__module__])
        if "is_causal" in vars(each) and "config" in vars(each) and "ALL_ATTENTION_FUNCTIONS" in module:
            return each
    return None


def looks_back_only(attention: nn.Module, named: dict[str, Any]) -> bool:
    """Tell whether a layer's tokens see those before them alone, by what transformers says or by the layer."""
    is_causal: bool | None = named.get("is_causal")
    return bool(attention.is_causal if is_causal is None else is_causal)


def _is_short(
    attention: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    named: dict[str, Any],
) -> bool:
    # First: the compiler, which has its own, is not to look at lengths.
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return (
        max(query.shape[2], key.shape[2]) <= MAX_LENGTH
        and all(x.dtype == torch.float32 and x.device.type == "cpu" for x in (query, key, value))
        and query.shape[1] == key.shape[1]
        and not (mask is None and looks_back_only(attention, named))
        and not named.get("dropout")
        and named.get("position_bias") is None
    )


class _ShortAttention(torch.autograd.Function):
    """`softmax(query @ key.T * scale + mask) @ value`, heads last; 0 for tokens that see none (`blind`)."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        blind: Tensor | None,
        scale: float,
    ) -> Tensor:
        rows, heads, length, _ = query.shape
        # One after another in memory: batched products of strided matrices take half as long again.
        query, key, value = (x.flatten(0, 1) for x in (query, key, value))
        scores = torch.baddbmm(query.new_empty(()), query, key.transpose(1, 2), beta=0, alpha=scale)
        if mask is not None:
            scores.view(rows, heads, length, -1).add_(mask)
        weights = torch.softmax(scores, dim=-1)
        if blind is not None:
            weights.view(rows, heads, length, -1).masked_fill_(blind, 0)
        ctx.save_for_backward(query, key, value, weights)
        ctx.heads, ctx.scale = heads, scale
        out = torch.bmm(weights, value)
        return out.unflatten(0, (-1, heads)).transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    @override
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (the decorator hides the names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        query, key, value, weights = ctx.saved_tensors
        needs_query, needs_key, needs_value, *_ = ctx.needs_input_grad
        gradient = grad_outputs[0].transpose(1, 2).flatten(0, 1)
        of_query = of_key = of_value = None
        if needs_value:
            of_value = torch.bmm(weights.transpose(1, 2), gradient)
        if needs_query or needs_key:
            of_weights = torch.bmm(gradient, value.transpose(1, 2))
            # What PyTorch's own softmax goes back through: weights * (of_weights - sum(weights * of_weights)).
            of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            if needs_query:
                of_query = torch.baddbmm(query.new_empty(()), of_scores, key, beta=0, alpha=ctx.scale)
            if needs_key:
                across = of_scores.transpose(1, 2)
                of_key = torch.baddbmm(query.new_empty(()), across, query, beta=0, alpha=ctx.scale)
        found = (of_query, of_key, of_value)
        return *(None if x is None else x.unflatten(0, (-1, ctx.heads)) for x in found), None, None, None
