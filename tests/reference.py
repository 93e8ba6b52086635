"""A slow second opinion: every family's layers and every part, written out with plain tensor code.

Nothing here is imported from what it checks but the options of the parts. Only the attention of DeBERTa, the rotary
angles of ModernBERT and EuroBERT, and their feed-forward are called as functions of the base.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from tests.formulas import add_compacter, attend_with_prefix, find_prefix
from tests.plain_math import (
    ACTIVATIONS,
    Tensors,
    gelu,
    layer_norm,
    linear,
    rms_norm,
)
from tests.reference_decoders import Gemma, Gemma3, Gpt2, Llama
from tests.reference_maps import change_maps
from torch import Tensor, nn

from polygraft.attach.graft import Graft
from polygraft.parts.bottleneck import Bottleneck

# ------------------------------------------------------------------------------------------- parts


def correct_sublayer(
    grafts: Sequence[Graft],
    *,
    layer: int,
    sublayer: str,
    h: Tensor,
    inp: Tensor,
    norm: Callable[[Tensor], Tensor],
) -> Tensor:
    """Run h through the bottlenecks of all grafts, then add the input and apply the norm."""
    origin = h
    for graft in grafts:
        tensors = graft.tensors()
        h = add_compacter(graft, layer=layer, sublayer=sublayer, h=h, inp=inp, norm=norm)
        options = next((part for part in graft.parts if isinstance(part, Bottleneck)), None)
        name = f"bottleneck.layers.{layer}.{sublayer}"
        if options is None or f"{name}.down.weight" not in tensors:
            continue
        x = {"ffn": norm(h + inp), "attention+ffn": h, "parallel": inp}[options.placement]
        middle = ACTIVATIONS[options.activation](linear(x, tensors, f"{name}.down"))
        scale = options.scaling if options.scaling is not None else 1
        if scale == "learned":
            scale = tensors[f"{name}.scale"]
        if options.placement == "parallel" and options.scaling is None:
            scale = 4
        residual = origin if options.semantics == "paper" else h
        h = scale * linear(middle, tensors, f"{name}.up") + residual
    return norm(h + inp)


def invertible_parts(grafts: Sequence[Graft]) -> list[tuple[Callable[[Tensor], Tensor], ...]]:
    """F and G of every graft that has them, lowest first."""
    parts = []
    for graft in grafts:
        tensors = graft.tensors()
        if "invertible.F.down.weight" in tensors:
            activation = next(vars(part)["activation"] for part in graft.parts if part.kind == "invertible")
            parts.append(tuple(make_coupling(tensors, name, activation) for name in "FG"))
    return parts


def make_coupling(tensors: Tensors, name: str, activation: str) -> Callable[[Tensor], Tensor]:
    def couple(x: Tensor) -> Tensor:
        middle = ACTIVATIONS[activation](linear(x, tensors, f"invertible.{name}.down"))
        return linear(middle, tensors, f"invertible.{name}.up")

    return couple


def change_embeddings(x: Tensor, grafts: Sequence[Graft]) -> Tensor:
    half = x.shape[-1] // 2
    for f, g in invertible_parts(grafts):
        first = x[..., :half] + f(x[..., half:])
        x = torch.cat([first, x[..., half:] + g(first)], -1)
    return x


def restore_embeddings(y: Tensor, grafts: Sequence[Graft]) -> Tensor:
    half = y.shape[-1] // 2
    for f, g in reversed(invertible_parts(grafts)):
        second = y[..., half:] - g(y[..., :half])
        y = torch.cat([y[..., :half] - f(second), second], -1)
    return y


# ---------------------------------------------------------------------------------------- families

BERT_NAMES = {
    "layer": "encoder.layer",
    "embeddings": "embeddings",
    "norm0": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "attention": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "ffn": "output.LayerNorm",
}
DISTILBERT_NAMES = {
    "layer": "transformer.layer",
    "embeddings": "embeddings",
    "norm0": "embeddings.LayerNorm",
    "q": "attention.q_lin",
    "k": "attention.k_lin",
    "v": "attention.v_lin",
    "o": "attention.out_lin",
    "attention": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "ffn": "output_layer_norm",
}


class PostNorm:
    """BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA and DistilBERT."""

    grafts: Sequence[Graft] = ()

    def __init__(self, model: nn.Module, mask: Tensor) -> None:
        self.model = model
        self.config = model.config
        self.w = dict(model.named_parameters())
        self.mask = mask
        is_distilbert = self.config.model_type == "distilbert"
        self.names = DISTILBERT_NAMES if is_distilbert else BERT_NAMES
        self.eps = 1e-12 if is_distilbert else self.config.layer_norm_eps

    def name(self, layer: int, key: str) -> str:
        return f"{self.names['layer']}.{layer}.{self.names[key]}"

    def embed(self, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        if self.config.model_type in {"roberta", "xlm-roberta", "camembert"}:
            is_piece = (input_ids != self.config.pad_token_id).long()
            positions = torch.cumsum(is_piece, 1) * is_piece + self.config.pad_token_id
        x = self.w["embeddings.word_embeddings.weight"][input_ids]
        x = x + self.w["embeddings.position_embeddings.weight"][positions]
        if "embeddings.token_type_embeddings.weight" in self.w:
            x = x + self.w["embeddings.token_type_embeddings.weight"][0]
        return layer_norm(x, self.w, self.names["norm0"], eps=self.eps)

    def enter(self, x: Tensor) -> Tensor:
        is_projected = "embeddings_project.weight" in self.w
        return linear(x, self.w, "embeddings_project") if is_projected else x

    def attend(self, layer: int, x: Tensor) -> Tensor:
        num_rows, num_tokens, hidden = x.shape
        num_heads = self.config.num_attention_heads
        shape = (num_rows, num_tokens, num_heads, hidden // num_heads)
        q, k, v = (linear(x, self.w, self.name(layer, key)).view(shape).transpose(1, 2) for key in "qkv")
        may = (self.mask[:, None, None, :] == 1).expand(-1, -1, num_tokens, -1)
        prefix = find_prefix(self.grafts, layer=layer, num_layers=self.config.num_hidden_layers, width=hidden)
        mixed = attend_with_prefix(q, k, v, may, prefix)
        return linear(mixed, self.w, self.name(layer, "o"))

    def feed(self, layer: int, x: Tensor) -> Tensor:
        return linear(gelu(linear(x, self.w, self.name(layer, "up"))), self.w, self.name(layer, "down"))

    def norm_after(self, layer: int, sublayer: str) -> Callable[[Tensor], Tensor]:
        return lambda x: layer_norm(x, self.w, self.name(layer, sublayer), eps=self.eps)

    def leave_layer(self, layer: int, x: Tensor, first: Tensor) -> Tensor:
        return x

    def leave(self, x: Tensor) -> Tensor:
        return x


class Deberta(PostNorm):
    """DeBERTa-v2 and v3: padding is zero in the embeddings, a convolution may follow the first layer."""

    def embed(self, input_ids: Tensor) -> Tensor:
        x = self.w["embeddings.word_embeddings.weight"][input_ids]
        return layer_norm(x, self.w, "embeddings.LayerNorm", eps=self.eps)

    def enter(self, x: Tensor) -> Tensor:
        return x * self.mask[..., None]

    def attend(self, layer: int, x: Tensor) -> Tensor:
        encoder = self.model.encoder
        mask = (self.mask[:, None, :] * self.mask[:, :, None])[:, None]
        relative = layer_norm(encoder.rel_embeddings.weight, self.w, "encoder.LayerNorm", eps=self.eps)
        mixed, _ = encoder.layer[layer].attention.self(
            x, mask, relative_pos=encoder.get_rel_pos(x), rel_embeddings=relative
        )
        return linear(mixed, self.w, self.name(layer, "o"))

    def leave_layer(self, layer: int, x: Tensor, first: Tensor) -> Tensor:
        if layer != 0 or "encoder.conv.conv.weight" not in self.w:
            return x
        kernel = self.w["encoder.conv.conv.weight"]
        zeros = torch.zeros_like(first[:, :1])
        wide = torch.cat([zeros, first, zeros], 1)
        moved = sum(wide[:, i : i + first.shape[1]] @ kernel[:, :, i].T for i in range(3))
        moved = (moved + self.w["encoder.conv.conv.bias"]) * self.mask[..., None]
        normed = layer_norm(x + gelu(moved), self.w, "encoder.conv.LayerNorm", eps=self.eps)
        return normed * self.mask[..., None]


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of x [B, H, T, d], the halves of each head, by the angles of the positions."""
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]


class ModernBert:
    """ModernBERT and mmBERT: norms before the sublayers, rotary positions, every other layer local."""

    grafts: Sequence[Graft] = ()

    def __init__(self, model: nn.Module, mask: Tensor) -> None:
        self.model = model
        self.config = model.config
        self.w = dict(model.named_parameters())
        self.mask = mask

    def norm(self, x: Tensor, name: str) -> Tensor:
        return layer_norm(x, self.w, name, eps=self.config.norm_eps)

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.norm(self.w["embeddings.tok_embeddings.weight"][input_ids], "embeddings.norm")

    def enter(self, x: Tensor) -> Tensor:
        return x

    def attend(self, layer: int, x: Tensor) -> Tensor:
        kind = self.config.layer_types[layer]
        positions = torch.arange(x.shape[1])
        may = self.mask[:, None, None, :].bool().expand(-1, 1, x.shape[1], -1)
        if kind == "sliding_attention":
            distance = (positions[:, None] - positions[None, :]).abs()
            may = may & (distance <= self.config.local_attention // 2)
        rotary = self.model.rotary_emb(x, positions[None], kind)
        normed = x if layer == 0 else self.norm(x, f"layers.{layer}.attn_norm")
        projected = linear(normed, self.w, f"layers.{layer}.attn.Wqkv").chunk(3, dim=-1)
        return linear(self.mix(layer, projected, rotary, may), self.w, f"layers.{layer}.attn.Wo")

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        # The family does so in singles, whatever the weights are.
        return turn(x.float(), cos, sin).to(x.dtype)

    def mix(self, layer: int, projected: Sequence[Tensor], rotary: Sequence[Tensor], may: Tensor) -> Tensor:
        size = self.config.hidden_size // self.config.num_attention_heads
        q, k, v = (x.unflatten(-1, (-1, size)).transpose(1, 2) for x in projected)
        q, k = (self.rotate(x, *rotary) for x in (q, k))
        prefix = find_prefix(
            self.grafts,
            layer=layer,
            num_layers=self.config.num_hidden_layers,
            width=k.shape[1] * size,
        )
        return attend_with_prefix(q, k, v, may, prefix)

    def feed(self, layer: int, x: Tensor) -> Tensor:
        return self.model.layers[layer].mlp(self.norm(x, f"layers.{layer}.mlp_norm"))

    def norm_after(self, layer: int, sublayer: str) -> Callable[[Tensor], Tensor]:
        return lambda x: x

    def leave_layer(self, layer: int, x: Tensor, first: Tensor) -> Tensor:
        return x

    def leave(self, x: Tensor) -> Tensor:
        return self.norm(x, "final_norm")


class EuroBert(ModernBert):
    """EuroBERT: RMS norms before the sublayers, rotary positions, no norm on the embeddings."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        return rms_norm(x, self.w[f"{name}.weight"], eps=self.config.rms_norm_eps)

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return turn(x, cos, sin)

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.w["embed_tokens.weight"][input_ids]

    def attend(self, layer: int, x: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1])[None]
        may = self.mask[:, None, None, :].bool().expand(-1, 1, x.shape[1], -1)
        rotary = self.model.rotary_emb(x, position_ids=positions)
        normed = self.norm(x, f"layers.{layer}.input_layernorm")
        name = f"layers.{layer}.self_attn"
        projected = [linear(normed, self.w, f"{name}.{kind}_proj") for kind in "qkv"]
        return linear(self.mix(layer, projected, rotary, may), self.w, f"{name}.o_proj")

    def feed(self, layer: int, x: Tensor) -> Tensor:
        return self.model.layers[layer].mlp(self.norm(x, f"layers.{layer}.post_attention_layernorm"))

    def leave(self, x: Tensor) -> Tensor:
        return self.norm(x, "norm")


FAMILIES = {
    "deberta-v2": Deberta,
    "modernbert": ModernBert,
    "eurobert": EuroBert,
    "gpt2": Gpt2,
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), Llama),
    "gemma": Gemma,
    "gemma3_text": Gemma3,
}


def bare_copy(model: nn.Module) -> nn.Module:
    """A copy that no hook will ever be put on."""
    return copy.deepcopy(model)


@torch.no_grad()
def compute_hidden(
    model: nn.Module,
    grafts: Sequence[Graft],
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    num_layers: int | None = None,
) -> Tensor:
    """The hidden states of a bare encoder under a stack of grafts, after some layers or after all."""
    model = change_maps(model, grafts)
    family = FAMILIES.get(model.config.model_type, PostNorm)(model, attention_mask)
    family.grafts = grafts
    x = family.enter(change_embeddings(family.embed(input_ids), grafts))
    first = x
    for layer in range(model.config.num_hidden_layers):
        for sublayer, compute in (("attention", family.attend), ("ffn", family.feed)):
            x = correct_sublayer(
                grafts,
                layer=layer,
                sublayer=sublayer,
                h=compute(layer, x),
                inp=x,
                norm=family.norm_after(layer, sublayer),
            )
        x = family.leave_layer(layer, x, first)
        if layer + 1 == num_layers:
            return x
    return family.leave(x)


HEADS = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm"),
    "electra": ("generator_predictions.dense", "generator_predictions.LayerNorm"),
    "distilbert": ("vocab_transform", "vocab_layer_norm"),
    "deberta-v2": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
    "deberta-v3": ("lm_predictions.lm_head.dense", "lm_predictions.lm_head.LayerNorm"),
    "modernbert": ("head.dense", "head.norm"),
}
DECODERS = {
    "bert": "cls.predictions.decoder",
    "roberta": "lm_head.decoder",
    "electra": "generator_lm_head",
    "distilbert": "vocab_projector",
    "deberta-v2": "cls.predictions.decoder",
    "modernbert": "decoder",
}


@torch.no_grad()
def compute_logits(whole: nn.Module, grafts: Sequence[Graft], hidden: Tensor) -> Tensor:
    """Scores over the vocabulary by the base's own head, the invertible parts undone before its decoder."""
    config = whole.config
    kind = "roberta" if config.model_type in {"xlm-roberta", "camembert"} else config.model_type
    if kind == "deberta-v2" and not config.legacy:
        kind = "deberta-v3"
    w = whole.state_dict()
    x = hidden
    names = HEADS.get(kind)
    if names is not None:
        sizes = config.to_dict()
        eps = next((sizes[key] for key in ("layer_norm_eps", "norm_eps") if key in sizes), 1e-12)
        x = layer_norm(gelu(linear(x, w, names[0])), w, names[1], eps=eps)
    x = restore_embeddings(x, grafts)
    if kind == "deberta-v3":
        return x @ w["deberta.embeddings.word_embeddings.weight"].T + w["lm_predictions.lm_head.bias"]
    return linear(x, w, DECODERS.get(kind, "lm_head"))
