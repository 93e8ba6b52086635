"""Prompts of PEFT: embeddings before those of a text."""

from __future__ import annotations

from collections.abc import Mapping

from polygraft.errors import DataError
from polygraft.interop.options import Options
from polygraft.interop.peft_options import ABOUT
from polygraft.parts.prompt import Prompt
from polygraft.store.fields import JsonValue

VALUES = "prompt_embeddings"
"""What PEFT calls the embeddings, [P, E]."""
TRAINING_ONLY = (
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "prompt_tuning_init_state_dict_path",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
)
"""What says how the embeddings began."""
OF_THE_BASE = ("num_layers", "num_attention_heads", "task_type")


def read_prompt_options(values: Mapping[str, JsonValue], *, where: str, embedding: int) -> Prompt:
    """Read the configuration of a prompt.

    Args:
        values: The configuration.
        where: What the messages call it.
        embedding: Size of the base's word embeddings (E).

    Raises:
        DataError: A key is unknown, or asks for what no part does.
    """
    options = Options(values, where=where)
    options.ignore(*ABOUT, *TRAINING_ONLY, *OF_THE_BASE)
    options.expect("num_transformer_submodules", 1, why="the bases have no second stack of layers")
    options.expect("modules_to_save", [], why="no head beside a prompt is brought over")
    options.expect("token_dim", embedding, why="that is not the size of the base's embeddings")
    length = options.whole("num_virtual_tokens")
    if length < 1:
        raise options.refuse("num_virtual_tokens", length, why="that is no prompt", expected="1 or more")
    options.close()
    return Prompt(length=length)


def refuse_prefix(*, where: str) -> DataError:
    """Make the error for a prefix, whose values would do something else here."""
    return DataError(
        f'{where} has peft_type = "PREFIX_TUNING": PEFT hands a prefix over as pieces that came before, so that a '
        "text's positions begin behind it, and here a prefix has no positions: the same values would do something "
        "else. Expected LORA, IA3 or PROMPT_TUNING. What was trained with that cannot be brought over; nothing was "
        "written."
    )
