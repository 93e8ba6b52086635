"""Prompts and prefixes of PEFT: embeddings before those of a text, and keys and values before those of its tokens.

PEFT hands a prefix over as what a model keeps of pieces that came before: every layer has its keys and values, every
token sees them, and the tokens' positions begin behind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.base.projections import find_projection
from polygraft.errors import DataError
from polygraft.interop.heads import HeadTensors
from polygraft.interop.options import Options
from polygraft.interop.peft_heads import read_saved_head
from polygraft.interop.peft_options import ABOUT
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt
from polygraft.store.fields import JsonValue

if TYPE_CHECKING:
    from polygraft.base.base import Base

PROMPT, PREFIXES = "PROMPT_TUNING", "PREFIX_TUNING"
VALUES = "prompt_embeddings"
"""What PEFT calls the embeddings [P, E], or the keys and values [P, 2 L D]: layer by layer, first the keys."""
MODEL = "base_model."
"""What stands before the names of a head's tensors here."""
ABOUT_TRAINING = (
    "encoder_hidden_size",
    "init_weights",
    "num_attention_heads",
    "prefix_projection",
    "prompt_tuning_init",
    "prompt_tuning_init_state_dict_path",
    "prompt_tuning_init_text",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
)
"""What says how the values began, or by what network they were made: the file has what came of it."""
PREFIX_FAMILIES = ("bert", "roberta", "electra", "gpt2", "llama", "gemma3")
"""The families whose models take keys and values of what came before."""


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """What a prompt or a prefix of PEFT is."""

    part: Part
    own: str
    """What the graft calls its tensor."""
    saved: tuple[str, ...]
    task: str | None


def read_prompt(
    base: Base,
    options: PromptOptions,
    stored: Mapping[str, Tensor],
    *,
    labels: Sequence[str] | None,
    where: str,
) -> tuple[dict[str, Tensor], HeadTensors | None]:
    """Give the tensor of a prompt or prefix, and the head beside it.

    Args:
        base: The base.
        options: What its configuration says.
        stored: The tensors of its file.
        labels: Names of the head's labels, in order, or None.
        where: What the messages call the folder.

    Raises:
        DataError: A tensor is missing, or of no head that does the same here.
    """
    if VALUES not in stored:
        raise DataError(
            f"{where} has no tensor '{VALUES}'. Expected the values of a prompt or prefix under that name. Get the "
            "folder again from where it was made."
        )
    head = read_saved_head(
        base,
        {key.removeprefix(MODEL): tensor for key, tensor in stored.items() if key != VALUES},
        saved=options.saved,
        task=options.task,
        labels=labels,
        where=where,
        expected=f"'{VALUES}'",
    )
    if head is not None and head.part.objective == "sequence" and isinstance(options.part, Prompt):
        raise DataError(
            f"{where} has a prompt and a head for sequences, which reads the first place of a row: there it is the "
            "prompt's, and here a prompt's places are no part of what a head reads. Expected a head for tokens. Import "
            "it from a folder without a head, and train one."
        )
    return {options.own: stored[VALUES]}, head


def read_prompt_options(
    base: Base, values: Mapping[str, JsonValue], *, kind: str, where: str
) -> PromptOptions:
    """Read the configuration of a prompt or a prefix.

    Args:
        base: The base.
        values: The configuration.
        kind: PROMPT or PREFIXES.
        where: What the messages call it.

    Raises:
        DataError: A key is unknown, or asks for what no part does on this base.
    """
    options = Options(values, where=where)
    options.ignore(*ABOUT, *ABOUT_TRAINING)
    options.expect("num_transformer_submodules", 1, why="the bases have no second stack of layers")
    length = options.whole("num_virtual_tokens")
    if length < 1:
        what = "prompt" if kind == PROMPT else "prefix"
        raise options.refuse("num_virtual_tokens", length, why=f"that is no {what}", expected="1 or more")
    if kind == PROMPT:
        options.ignore("num_layers")
        options.expect("token_dim", base.sites.embedding, why="that is not the size of the base's embeddings")
        part, own = Prompt(length=length), f"{Prompt.kind}.values"
    else:
        reason = tell_why_no_prefix(base)
        if reason is not None:
            raise DataError(
                f'{where} has peft_type = "PREFIX_TUNING": {reason}. Expected LORA, IA3 or PROMPT_TUNING for this '
                "base. What was trained with that cannot be brought over; nothing was written."
            )
        options.expect("num_layers", base.sites.num_layers, why="a prefix stands in every layer of the base")
        options.expect(
            "token_dim", find_width(base), why="that is not the size of the base's keys and values"
        )
        part = Prefix(length=length, reparameterization=None, moves_positions=True)
        own = f"{Prefix.kind}.source.values"
    saved, task = options.texts("modules_to_save"), options.text("task_type")
    options.pass_over_empty()
    options.close()
    return PromptOptions(part=part, own=own, saved=saved, task=task)


def find_width(base: Base) -> int:
    """Give the size of the keys of a token, all heads together."""
    return find_projection(base.sites, layer=0, role="key").num_rows


def tell_why_no_prefix(base: Base) -> str | None:
    """Say why a base has no prefix of PEFT that does the same here; None if it has."""
    family = base.sites.family.name
    if family not in PREFIX_FAMILIES:
        return (
            f"the models of the family '{family}' take no keys and values of what came before, so that PEFT can give "
            "them none"
        )
    config = base.model.config.to_dict()
    kinds = config.get("layer_types")
    is_windowed = any("full" not in kind for kind in kinds) if kinds else config.get("sliding_window")
    if is_windowed:
        return (
            "in layers of this base a token sees so many places back only, and there a prefix of PEFT leaves the "
            "window of the later ones, while here all of them see it"
        )
    return None
