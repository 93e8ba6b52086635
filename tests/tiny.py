"""Tiny random bases of every supported family, made in memory: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.sparse import find_edit, make_mask
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.base.pretrained_head import find_head
from polygraft.base.sites import find_family
from polygraft.parts.mask import Mask, MaskLayers
from polygraft.parts.part import Part

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_TEXT = """
    ñuqa qam pay mariya cuscoman rirqan wasi wasiyki allin runa llaqta yaku inti killa the a woman went to lima house
    good man town water sun moon of in and was born , . una mujer fue casa bueno hombre pueblo agua sol luna de en y
    nació ana pedro juan bolivia
"""
WORDS = _TEXT.split()
VOCAB = len(SPECIAL) + len(WORDS)
HIDDEN = 16

_SIZES: Mapping[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 48,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    # Larger than usual, so that every weight matters in the outputs that are compared.
    "initializer_range": 0.3,
}
_DISTILBERT: Mapping[str, Any] = {
    "vocab_size": VOCAB,
    "dim": HIDDEN,
    "n_layers": 3,
    "n_heads": 2,
    "hidden_dim": 24,
    "max_position_embeddings": 48,
    "pad_token_id": 1,
    "initializer_range": 0.3,
}
_DEBERTA: Mapping[str, Any] = {
    **_SIZES,
    "relative_attention": True,
    "position_buckets": 4,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
}

BASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bert": ("bert", _SIZES),
    "roberta": ("roberta", {**_SIZES, "type_vocab_size": 1}),
    "xlm-roberta": ("xlm-roberta", {**_SIZES, "type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "camembert": ("camembert", {**_SIZES, "type_vocab_size": 1}),
    "electra": ("electra", {**_SIZES, "embedding_size": HIDDEN}),
    "electra-small": ("electra", {**_SIZES, "embedding_size": 10}),
    "distilbert": ("distilbert", _DISTILBERT),
    "deberta-v2": ("deberta-v2", {**_DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "deberta-v3": ("deberta-v2", {**_DEBERTA, "share_att_key": True, "legacy": False}),
    "modernbert": (
        "modernbert",
        {
            **_SIZES,
            "local_attention": 4,
            "global_attn_every_n_layers": 2,
            "cls_token_id": 0,
            "sep_token_id": 2,
        },
    ),
    "eurobert": (
        "eurobert",
        {**_SIZES, "num_key_value_heads": 1, "tie_word_embeddings": False, "mask_token_id": 4},
    ),
    "gpt2": ("gpt2", {**_SIZES, "n_inner": 24}),
    "llama": ("llama", {**_SIZES, "num_key_value_heads": 1}),
    "mistral": ("mistral", {**_SIZES, "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 4}),
    "qwen2": ("qwen2", {**_SIZES, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen3": (
        "qwen3",
        {
            **_SIZES,
            "num_key_value_heads": 1,
            "head_dim": 6,
            "tie_word_embeddings": True,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 1,
        },
    ),
    "gemma": ("gemma", {**_SIZES, "num_key_value_heads": 2, "head_dim": 6}),
    "gemma3": (
        "gemma3_text",
        {
            **_SIZES,
            "num_key_value_heads": 1,
            "head_dim": 6,
            "query_pre_attn_scalar": 5,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
}
"""A base's name in the tests: its `model_type` and its configuration."""
_RATES: Mapping[str, tuple[str, ...]] = {
    "distilbert": ("dropout", "attention_dropout"),
    "modernbert": ("embedding_dropout", "mlp_dropout", "attention_dropout"),
    "gpt2": ("embd_pdrop", "resid_pdrop", "attn_pdrop"),
    **dict.fromkeys(
        ("bert", "roberta", "electra", "deberta-v2"), ("hidden_dropout_prob", "attention_probs_dropout_prob")
    ),
}
"""What the configurations of a family call their rates of dropout, the last that of attention."""
DECODERS = [name for name, (model_type, _) in BASES.items() if find_family(model_type).is_decoder]
TIED = [name for name in BASES if name not in {"eurobert", "llama", "mistral"}]
"""Those whose head scores pieces by the word embeddings."""
ENCODERS = [name for name in BASES if name not in DECODERS]


class TinyBatch(NamedTuple):
    """Rows of different lengths, padded on the right."""

    input_ids: Tensor
    attention_mask: Tensor


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer of about sixty words: sentences are `<s> ... </s>`."""
    pieces = {piece: index for index, piece in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(pieces, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=40,
    )


def make_model(name: str, *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A masked-LM or causal model with random weights; no weight, bias or norm is left at a round value."""
    model_type, options = BASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = AutoConfig.for_model(model_type, **{**options, **changes})
        kind = AutoModelForCausalLM if find_family(model_type).is_decoder else AutoModelForMaskedLM
        model = kind.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


def make_base(name: str = "bert", *, seed: int = 0, with_head: bool = True, **changes: Any) -> Base:
    """A frozen tiny base, with its own head that scores pieces or without."""
    whole = make_model(name, seed=seed, **changes)
    head = find_head(whole, find_family(BASES[name][0]).heads) if with_head else None
    return freeze_base(name=f"tiny-{name}", model=whole.base_model, tokenizer=make_tokenizer(), head=head)


def list_rates(name: str, *, hidden: float = 0.2, attention: float = 0.3) -> dict[str, float]:
    """The rates of dropout of a tiny base, as `make_base` and `make_model` take them."""
    *others, own = _RATES.get(find_family(BASES[name][0]).name, ("attention_dropout",))
    return {**dict.fromkeys(others, hidden), own: attention}


def make_batch(*, lengths: Sequence[int] = (9, 5, 2), seed: int = 0) -> TinyBatch:
    """Random sentences `<s> ... </s>` of the given lengths, the first ones not the longest."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    input_ids = torch.randint(len(SPECIAL), VOCAB, (len(lengths), width), generator=generator)
    attention_mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    input_ids[:, 0] = 0
    input_ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = 2
    return TinyBatch(input_ids.where(attention_mask.bool(), torch.tensor(1)), attention_mask)


def make_trained_graft(base: Base, name: str, parts: Sequence[Part], *, seed: int = 0) -> Graft:
    """A graft as if it had been trained: every one of its values is random, none is zero."""
    generator = torch.Generator().manual_seed(seed + 1)
    graft = make_graft(base, name, parts, seed=seed)
    if any(isinstance(part, Mask) for part in parts):
        infos = find_edit(graft, MaskLayers).infos
        kept = {info.name: torch.rand(info.shape, generator=generator) < 0.7 for info in infos}
        others = [part for part in parts if not isinstance(part, Mask)]
        graft = make_mask(base, name, kept, others=others, seed=seed)
    with torch.no_grad():
        for parameter in graft.layers.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return graft
