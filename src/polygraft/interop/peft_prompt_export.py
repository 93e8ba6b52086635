"""Grafts of a prompt or a prefix as PEFT has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.errors import GraftError
from polygraft.interop.peft_prompt import PREFIXES, PROMPT, find_width, tell_why_no_prefix
from polygraft.parts.head import Head
from polygraft.parts.prefix import PrefixLayers
from polygraft.parts.prompt import PromptEmbeddings

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

HEADS = ("num_key_value_heads", "num_attention_heads", "n_head", "n_heads")
"""What configurations of bases call the number of heads of keys; the first that is there counts."""


def write_prompt(base: Base, graft: Graft) -> tuple[dict[str, object], Tensor]:
    """Give the configuration and the values of a prompt.

    Raises:
        GraftError: The graft has several, or a head that reads a place of the prompt there.
    """
    found = graft.list_layers(PromptEmbeddings)
    _check_one(graft, len(found), what="prompts")
    if any(isinstance(part, Head) and part.objective == "sequence" for part in graft.parts):
        raise GraftError(
            f"The graft '{graft.name}' has a prompt and a head for sequences, which reads the first piece of a row, "
            "and with PEFT the first place of the prompt. Expected a head for tokens, or none. Export another graft."
        )
    values = found[0].values.detach()
    config: dict[str, object] = {
        **_list_sizes(base, length=len(values)),
        "num_attention_heads": _count_heads(base, *HEADS[1:]),
        "peft_type": PROMPT,
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": None,
        "token_dim": values.shape[1],
        "tokenizer_kwargs": None,
        "tokenizer_name_or_path": None,
    }
    return config, values


def write_prefix(base: Base, graft: Graft) -> tuple[dict[str, object], Tensor]:
    """Give the configuration and the values of a prefix; the network that made them is not needed there.

    Raises:
        GraftError: PEFT would compute something else.
    """
    found = graft.list_layers(PrefixLayers)
    _check_one(graft, len(found), what="prefixes")
    options = found[0].options
    reason = tell_why_no_prefix(base)
    if reason is not None:
        raise GraftError(
            f"The graft '{graft.name}' has a prefix, and {reason}. Expected a base whose prefixes are the same in "
            "PEFT. Export another graft."
        )
    if not options.moves_positions or len(found[0].list_layers()) < base.sites.num_layers:
        raise GraftError(
            f"The graft '{graft.name}' has a prefix with moves_positions={options.moves_positions} and "
            f"skip_layers={list(options.skip_layers)}. Expected True and none: with PEFT the tokens' positions begin "
            "behind a prefix, and it stands in every layer. Train one with these options."
        )
    config: dict[str, object] = {
        **_list_sizes(base, length=options.length),
        "encoder_hidden_size": find_width(base),
        "init_weights": None,
        "num_attention_heads": _count_heads(base, *HEADS),
        "peft_type": PREFIXES,
        "prefix_projection": False,
        "token_dim": find_width(base),
    }
    return config, found[0].make_all().detach()


def _check_one(graft: Graft, count: int, *, what: str) -> None:
    if count > 1:
        raise GraftError(
            f"The graft '{graft.name}' has {count} {what}. Expected one, as PEFT has. Export another graft."
        )


def _list_sizes(base: Base, *, length: int) -> dict[str, object]:
    return {
        "num_layers": base.sites.num_layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": length,
    }


def _count_heads(base: Base, *keys: str) -> int:
    config = base.model.config.to_dict()
    return next(int(config[key]) for key in keys if config.get(key) is not None)
