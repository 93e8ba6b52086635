"""The decoder families of the slow reference, written out with plain tensor code down to their attention."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tests.plain_math import ACTIVATIONS, gelu_tanh, layer_norm, linear, rms_norm, softmax
from torch import Tensor, nn


class Gpt2:
    """GPT-2: norms before the sublayers, learned positions, weights that lie transposed, a causal mask."""

    def __init__(self, model: nn.Module, mask: Tensor) -> None:
        self.config = model.config
        self.w = dict(model.named_parameters())
        self.mask = mask

    def product(self, x: Tensor, name: str) -> Tensor:
        return x @ self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        return layer_norm(x, self.w, name, eps=self.config.layer_norm_epsilon)

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.w["wte.weight"][input_ids] + self.w["wpe.weight"][: input_ids.shape[1]]

    def enter(self, x: Tensor) -> Tensor:
        return x

    def attend(self, layer: int, x: Tensor) -> Tensor:
        num_rows, num_tokens, hidden = x.shape
        num_heads = self.config.n_head
        size = hidden // num_heads
        mixed = self.product(self.norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn")
        q, k, v = mixed.view(num_rows, num_tokens, 3, num_heads, size).permute(2, 0, 3, 1, 4)
        h = look_back(q, k, v, self.mask, scale=1 / math.sqrt(size)).transpose(1, 2)
        return self.product(h.reshape(x.shape), f"h.{layer}.attn.c_proj")

    def feed(self, layer: int, x: Tensor) -> Tensor:
        middle = gelu_tanh(self.product(self.norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc"))
        return self.product(middle, f"h.{layer}.mlp.c_proj")

    def norm_after(self, layer: int, sublayer: str) -> Callable[[Tensor], Tensor]:
        return lambda x: x

    def leave_layer(self, layer: int, x: Tensor, first: Tensor) -> Tensor:
        return x

    def leave(self, x: Tensor) -> Tensor:
        return self.norm(x, "ln_f")


class Llama:
    """Llama, Mistral and Qwen: RMS norms before the sublayers, rotary positions, shared keys, a causal mask."""

    def __init__(self, model: nn.Module, mask: Tensor) -> None:
        self.config = model.config
        self.known = model.config.to_dict()
        self.w = dict(model.named_parameters())
        self.mask = mask

    def norm(self, x: Tensor, name: str) -> Tensor:
        return rms_norm(x, self.w[f"{name}.weight"], eps=self.config.rms_norm_eps)

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.w["embed_tokens.weight"][input_ids]

    def enter(self, x: Tensor) -> Tensor:
        return x

    def find_kind(self, layer: int) -> str:
        window = self.known.get("sliding_window")
        kinds = (
            self.known.get("layer_types") or ["full_attention" if window is None else "sliding_attention"] * 9
        )
        return kinds[layer]

    def scale(self, size: int) -> float:
        return 1 / math.sqrt(size)

    def theta(self, kind: str) -> float:
        return self.config.rope_parameters["rope_theta"]

    def attend(self, layer: int, x: Tensor) -> Tensor:
        num_rows, num_tokens, hidden = x.shape
        kind, name = self.find_kind(layer), f"layers.{layer}.self_attn"
        size = self.known.get("head_dim") or hidden // self.config.num_attention_heads
        normed = self.norm(x, f"layers.{layer}.input_layernorm")
        q, k, v = (
            linear(normed, self.w, f"{name}.{key}_proj").view(num_rows, num_tokens, -1, size) for key in "qkv"
        )
        if f"{name}.q_norm.weight" in self.w:
            q, k = self.norm(q, f"{name}.q_norm"), self.norm(k, f"{name}.k_norm")
        q, k = (turn(y.transpose(1, 2), theta=self.theta(kind)) for y in (q, k))
        num_sharing = q.shape[1] // k.shape[1]
        k, v = (y.repeat_interleave(num_sharing, 1) for y in (k, v.transpose(1, 2)))
        window = self.config.sliding_window if kind == "sliding_attention" else None
        mixed = look_back(q, k, v, self.mask, scale=self.scale(size), window=window)
        return linear(mixed.transpose(1, 2).reshape(num_rows, num_tokens, -1), self.w, f"{name}.o_proj")

    def activate(self, x: Tensor) -> Tensor:
        return ACTIVATIONS["swish"](x)

    def feed(self, layer: int, x: Tensor, *, norm: str = "post_attention_layernorm") -> Tensor:
        name, normed = f"layers.{layer}.mlp", self.norm(x, f"layers.{layer}.{norm}")
        gate = self.activate(linear(normed, self.w, f"{name}.gate_proj"))
        return linear(gate * linear(normed, self.w, f"{name}.up_proj"), self.w, f"{name}.down_proj")

    def norm_after(self, layer: int, sublayer: str) -> Callable[[Tensor], Tensor]:
        return lambda x: x

    def leave_layer(self, layer: int, x: Tensor, first: Tensor) -> Tensor:
        return x

    def leave(self, x: Tensor) -> Tensor:
        return self.norm(x, "norm")


class Gemma(Llama):
    """Gemma: as Llama, with embeddings times the root of their size and norms' weights counted from 1."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        return rms_norm(x, 1 + self.w[f"{name}.weight"], eps=self.config.rms_norm_eps)

    def embed(self, input_ids: Tensor) -> Tensor:
        return super().embed(input_ids) * math.sqrt(self.config.hidden_size)

    def activate(self, x: Tensor) -> Tensor:
        return gelu_tanh(x)


class Gemma3(Gemma):
    """Gemma 3: as Gemma, with a norm behind each sublayer too, and other positions in layers with a window."""

    def scale(self, size: int) -> float:
        return 1 / math.sqrt(self.config.query_pre_attn_scalar)

    def theta(self, kind: str) -> float:
        return self.config.rope_parameters[kind]["rope_theta"]

    def attend(self, layer: int, x: Tensor) -> Tensor:
        return self.norm(super().attend(layer, x), f"layers.{layer}.post_attention_layernorm")

    def feed(self, layer: int, x: Tensor, *, norm: str = "pre_feedforward_layernorm") -> Tensor:
        return self.norm(super().feed(layer, x, norm=norm), f"layers.{layer}.post_feedforward_layernorm")


def look_back(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scale: float, window: int | None = None
) -> Tensor:
    """Mix the values [B, H, T, S] of each token and those before it, of the last `window` tokens alone if given."""
    places = torch.arange(q.shape[2])
    distance = places[:, None] - places
    may = (distance >= 0) & (mask[:, None, None, :] == 1)
    if window is not None:
        may = may & (distance < window)
    return softmax((q @ k.transpose(2, 3) * scale).masked_fill(~may, -1e9)) @ v


def turn(x: Tensor, *, theta: float) -> Tensor:
    """Turn the pairs (i, i + S/2) of [B, H, T, S] by the token's place times theta ** (-2 i / S)."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[2])[:, None] * theta ** (-torch.arange(half) / half)
    cos, sin = angles.cos().to(x), angles.sin().to(x)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
