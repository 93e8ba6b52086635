"""Where grafts attach: one row a family of architectures.

A row says where the layers are, where each sublayer takes its input and gives its output, and
whether its LayerNorm comes after the residual sum (post-norm) or before the sublayer (pre-norm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from polygraft.base.family import Family, HeadPaths, SublayerPaths
from polygraft.errors import BaseModelError, nearest
from polygraft.types import ProjectionRole

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

SublayerName = Literal["attention", "ffn"]


BIDIRECTIONAL_KEY = "use_bidirectional_attention"
"""The key of a configuration by which a decoder sees the whole row, as embedding models made of decoders do."""

_CAUSAL_HEAD = HeadPaths(decoder="lm_head")
_LLAMA_KEYS = (
    "rms_norm_eps",
    "num_key_value_heads",
    "head_dim",
    "rope_parameters",
    "sliding_window",
    "layer_types",
    BIDIRECTIONAL_KEY,
)

_BERT_ATTENTION = SublayerPaths(
    input="attention.self.value", output="attention.output.dropout", norm="attention.output.LayerNorm"
)
_BERT_FFN = SublayerPaths(input="intermediate.dense", output="output.dropout", norm="output.LayerNorm")
_BERT_HEAD = HeadPaths(
    dense="cls.predictions.transform.dense",
    norm="cls.predictions.transform.LayerNorm",
    activation="hidden_act",
    decoder="cls.predictions.decoder",
)

FAMILIES: tuple[Family, ...] = (
    Family(
        name="bert",
        model_types=("bert",),
        layers="encoder.layer",
        embeddings="embeddings",
        attention=_BERT_ATTENTION,
        ffn=_BERT_FFN,
        heads=(_BERT_HEAD,),
        has_pooler=True,
    ),
    Family(
        name="roberta",
        model_types=("roberta", "xlm-roberta", "camembert"),
        layers="encoder.layer",
        embeddings="embeddings",
        attention=_BERT_ATTENTION,
        ffn=_BERT_FFN,
        heads=(
            HeadPaths(
                dense="lm_head.dense",
                norm="lm_head.layer_norm",
                activation="=gelu",
                decoder="lm_head.decoder",
            ),
        ),
        has_pooler=True,
        config_keys=("pad_token_id",),
    ),
    Family(
        name="electra",
        model_types=("electra",),
        layers="encoder.layer",
        embeddings="embeddings",
        attention=_BERT_ATTENTION,
        ffn=_BERT_FFN,
        heads=(
            HeadPaths(
                dense="generator_predictions.dense",
                norm="generator_predictions.LayerNorm",
                activation="=gelu",
                decoder="generator_lm_head",
            ),
        ),
    ),
    Family(
        name="distilbert",
        model_types=("distilbert",),
        layers="transformer.layer",
        embeddings="embeddings",
        attention=SublayerPaths(input="attention.v_lin", output="attention.out_lin", norm="sa_layer_norm"),
        ffn=SublayerPaths(input="ffn.lin1", output="ffn.dropout", norm="output_layer_norm"),
        heads=(
            HeadPaths(
                dense="vocab_transform",
                norm="vocab_layer_norm",
                activation="activation",
                decoder="vocab_projector",
            ),
        ),
        config_keys=("n_heads", "activation"),
    ),
    Family(
        name="deberta-v2",
        model_types=("deberta-v2",),
        layers="encoder.layer",
        # Before the padding is set to zero, which the convolution behind the first layer looks at.
        embeddings="embeddings.LayerNorm",
        attention=SublayerPaths(
            input="attention.self.value_proj",
            output="attention.output.dropout",
            norm="attention.output.LayerNorm",
        ),
        ffn=_BERT_FFN,
        heads=(
            _BERT_HEAD,
            HeadPaths(
                dense="lm_predictions.lm_head.dense",
                norm="lm_predictions.lm_head.LayerNorm",
                activation="hidden_act",
                decoder="lm_predictions.lm_head",
            ),
        ),
        layers_give_weights=True,
        # The convolution.
        looks_back=True,
        position_roles=("query", "key"),
        config_keys=(
            "relative_attention",
            "max_relative_positions",
            "max_position_embeddings",
            "position_buckets",
            "position_biased_input",
            "pos_att_type",
            "share_att_key",
            "norm_rel_ebd",
            "conv_act",
        ),
    ),
    Family(
        name="modernbert",
        model_types=("modernbert",),
        layers="layers",
        embeddings="embeddings",
        attention=SublayerPaths(input="attn_norm", output="attn.out_drop"),
        ffn=SublayerPaths(input="mlp_norm", output="mlp"),
        heads=(
            HeadPaths(
                dense="head.dense", norm="head.norm", activation="classifier_activation", decoder="decoder"
            ),
        ),
        last_norm=True,
        config_keys=("hidden_activation", "norm_eps", "layer_types", "local_attention", "rope_parameters"),
    ),
    Family(
        name="eurobert",
        model_types=("eurobert",),
        layers="layers",
        embeddings="embed_tokens",
        attention=SublayerPaths(input="input_layernorm", output="self_attn.o_proj"),
        ffn=SublayerPaths(input="post_attention_layernorm", output="mlp"),
        heads=(HeadPaths(decoder="lm_head"),),
        last_norm=True,
        config_keys=("rms_norm_eps", "num_key_value_heads", "head_dim", "rope_parameters"),
    ),
    Family(
        name="gpt2",
        model_types=("gpt2",),
        layers="h",
        # Behind the sum of the words' and the positions' embeddings.
        embeddings="drop",
        attention=SublayerPaths(input="ln_1", output="attn.resid_dropout"),
        ffn=SublayerPaths(input="ln_2", output="mlp"),
        heads=(_CAUSAL_HEAD,),
        is_decoder=True,
        has_transposed_weights=True,
        last_norm=True,
        config_keys=(
            "n_head",
            "activation_function",
            "layer_norm_epsilon",
            "scale_attn_weights",
            "scale_attn_by_inverse_layer_idx",
        ),
    ),
    Family(
        name="llama",
        model_types=("llama", "mistral", "qwen2", "qwen3", "gemma"),
        layers="layers",
        # Gemma's give the words' embeddings times the root of their size.
        embeddings="embed_tokens",
        attention=SublayerPaths(input="input_layernorm", output="self_attn.o_proj"),
        ffn=SublayerPaths(input="post_attention_layernorm", output="mlp"),
        heads=(_CAUSAL_HEAD,),
        is_decoder=True,
        last_norm=True,
        config_keys=_LLAMA_KEYS,
    ),
    Family(
        name="gemma3",
        model_types=("gemma3_text",),
        layers="layers",
        embeddings="embed_tokens",
        # What is added to the residual has gone through a norm of its own.
        attention=SublayerPaths(input="input_layernorm", output="post_attention_layernorm"),
        ffn=SublayerPaths(input="pre_feedforward_layernorm", output="post_feedforward_layernorm"),
        heads=(_CAUSAL_HEAD,),
        is_decoder=True,
        last_norm=True,
        config_keys=(*_LLAMA_KEYS, "hidden_activation", "query_pre_attn_scalar", "attn_logit_softcapping"),
    ),
)

FAMILY_OF: Mapping[str, Family] = {kind: family for family in FAMILIES for kind in family.model_types}


def find_family(model_type: str) -> Family:
    """Give the row of the table for a Hugging Face `model_type`.

    Raises:
        BaseModelError: The table has no such row.
    """
    if model_type not in FAMILY_OF:
        raise BaseModelError(
            f"A base of the type '{model_type}' is not supported: polygraft does not know where its layers "
            f"are. Supported types are {', '.join(sorted(FAMILY_OF))}.{nearest(model_type, FAMILY_OF)} "
            "To add one, see CONTRIBUTING.md, 'Add a base family'."
        )
    return FAMILY_OF[model_type]


@dataclass(frozen=True, kw_only=True)
class Sublayer:
    """One sublayer of one layer of a base, found."""

    input: nn.Module
    output: nn.Module
    norm: nn.Module | None


@dataclass(frozen=True, kw_only=True)
class Sites:
    """The named places of one base."""

    family: Family
    embeddings: nn.Module
    word_embeddings: nn.Embedding
    layers: tuple[nn.Module, ...]
    hidden: int
    """Size of a layer's output (D)."""
    embedding: int
    """Size of the embeddings' output (E); equals D in most families."""
    vocab: int
    """Number of pieces that the embeddings know (V)."""
    norm_eps: float
    """What the base's LayerNorms add to the variance."""
    is_causal: bool = False
    """Whether a token sees those before it alone: then the base guesses the next piece, else a hidden one."""

    @property
    def has_last_norm(self) -> bool:
        """Whether a norm follows the last layer."""
        return self.family.last_norm

    @property
    def position_roles(self) -> tuple[ProjectionRole, ...]:
        """The linear maps that embeddings of relative positions go through as well, which belong to no row."""
        return self.family.position_roles

    @property
    def num_layers(self) -> int:
        """Count the layers (L)."""
        return len(self.layers)

    def sublayer(self, layer: int, name: SublayerName) -> Sublayer:
        """Find one sublayer of the layer with that index, counted from 0."""
        paths = self.family.attention if name == "attention" else self.family.ffn
        parent = self.layers[layer]
        return Sublayer(
            input=parent.get_submodule(paths.input),
            output=parent.get_submodule(paths.output),
            norm=None if paths.norm is None else parent.get_submodule(paths.norm),
        )


def find_sites(model: PreTrainedModel) -> Sites:
    """Find the places of a bare encoder where grafts attach.

    Raises:
        BaseModelError: The family is unknown, or the model is not laid out as its row says.
    """
    family = find_family(str(model.config.model_type))
    try:
        layers = tuple(model.get_submodule(family.layers).children())
        embeddings = model.get_submodule(family.embeddings)
        word_embeddings = cast("nn.Embedding", model.get_input_embeddings())
    except AttributeError as error:
        raise BaseModelError(
            f"A base of the family '{family.name}' is expected to have '{family.layers}' and "
            f"'{family.embeddings}', and this {type(model).__name__} has not ({error}). Load the bare "
            "encoder."
        ) from None
    weight = word_embeddings.weight
    embedding = _embedding_size(model)
    if weight.shape[1] != embedding:
        raise BaseModelError(
            f"The base has word embeddings of size {weight.shape[1]} that are projected to {embedding} "
            "before their "
            f"LayerNorm, so nothing can be undone before its decoder. In the family '{family.name}' both "
            "sizes are "
            "expected to be equal. Take another base of the family."
        )
    sites = Sites(
        family=family,
        embeddings=embeddings,
        word_embeddings=word_embeddings,
        layers=layers,
        hidden=int(model.config.hidden_size),
        embedding=embedding,
        vocab=int(weight.shape[0]),
        norm_eps=_find_norm_eps(model),
        is_causal=is_causal(model.config),
    )
    for index in range(sites.num_layers):
        sites.sublayer(index, "attention")
        sites.sublayer(index, "ffn")
    return sites


def is_causal(config: PretrainedConfig) -> bool:
    """Tell whether a token sees those before it alone, by a base's family and its configuration."""
    family = find_family(str(config.model_type))
    return family.is_decoder and not config.to_dict().get(BIDIRECTIONAL_KEY)


def _embedding_size(model: PreTrainedModel) -> int:
    """Size of what the embeddings hand on: ELECTRA projects after them, all others inside."""
    config = model.config
    # Read as an attribute: in DistilBERT's configuration the size is called `dim`, and this is its alias.
    return int(config.embedding_size if config.model_type == "electra" else config.hidden_size)


def _find_norm_eps(model: PreTrainedModel) -> float:
    """What the LayerNorms add: the families name it differently, and DistilBERT fixes it."""
    config = model.config.to_dict()
    keys = ("layer_norm_eps", "norm_eps", "rms_norm_eps", "layer_norm_epsilon")
    return float(next((config[key] for key in keys if key in config), 1e-12))
