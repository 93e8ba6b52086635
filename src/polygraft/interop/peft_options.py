"""What a configuration of PEFT asks for: the linear maps that it is about, and with which rank and scale.

The keys are those of PEFT 0.21 and of the releases before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from polygraft.interop.options import Options
from polygraft.interop.peft_bias import ALL, NONE, TARGETS
from polygraft.interop.peft_patterns import compile_end, compile_pattern
from polygraft.interop.peft_target import Target, read_target
from polygraft.store.fields import JsonValue

ABOUT = (
    "auto_mapping",
    "base_model_name_or_path",
    "peft_version",
    "revision",
    "inference_mode",
    "peft_type",
)
"""What says where a file comes from."""
LORA_TRAINING_ONLY = ("lora_dropout", "megatron_core", "qalora_group_size", "eva_config", "fan_in_fan_out")
"""What changes nothing that is computed; `fan_in_fan_out` says how the base keeps its own weight."""
LORA_NEVER: Mapping[str, str] = {
    "alora_invocation_tokens": "no part begins to act at a token",
    "arrow_config": "no part chooses among several of these",
    "corda_config": "its start changes the base's own weights",
    "kasa_config": "no part scales singular values",
    "layer_replication": "the bases keep their layers",
    "lora_ga_config": "its start changes the base's own weights",
    "megatron_config": "the bases are not cut for several machines",
    "monteclora_config": "no part draws its values while it acts",
    "target_parameters": "parts stand beside linear maps only",
    "trainable_token_indices": "no part learns embeddings of pieces",
    "velora_config": "no part is trained so",
}
"""Options that have to be null, and what they would ask for."""
LORA_OFF: Mapping[str, str] = {
    "ensure_weight_tying": "no part stands beside tied embeddings",
    "lora_bias": "no part has a bias in its second matrix",
    "use_bdlora": "no part has matrices of blocks",
    "use_qalora": "no part sums its input by groups",
}
"""Options that have to be false."""
LORA_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Ways to draw the first values that leave the base as it was; others, such as PiSSA, change its weights."""
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """What a LoRA of PEFT is."""

    target: Target
    bias: str
    """Which biases of the base were trained with it."""
    rslora: bool
    dora: bool
    rank: int
    alpha: float
    ranks: Mapping[re.Pattern[str], int]
    """Ranks of maps that have one of their own; the first pattern that a name matches counts."""
    alphas: Mapping[re.Pattern[str], float]
    saved: tuple[str, ...]
    """Layers beside it that were trained whole, a head."""
    task: str | None

    def find_rank(self, name: str) -> int:
        """Give the rank of a map."""
        return next((rank for key, rank in self.ranks.items() if key.match(name)), self.rank)

    def find_alpha(self, name: str) -> float:
        """Give the alpha of a map."""
        return next((alpha for key, alpha in self.alphas.items() if key.match(name)), self.alpha)


@dataclass(frozen=True, kw_only=True)
class IA3Options:
    """What an (IA)3 of PEFT is."""

    target: Target
    feedforward: tuple[str, ...] | re.Pattern[str]
    """The ends of the names of the maps whose input is multiplied, among the targets, or what they match."""
    saved: tuple[str, ...]
    task: str | None

    def multiplies_input(self, name: str) -> bool:
        """Say whether the input of a map is multiplied, and not its output."""
        if isinstance(self.feedforward, tuple):
            return name.endswith(self.feedforward)
        return self.feedforward.fullmatch(name) is not None


def read_lora_options(values: Mapping[str, JsonValue], *, where: str, num_layers: int) -> LoraOptions:
    """Read the configuration of a LoRA.

    Args:
        values: The configuration.
        where: What the messages call it.
        num_layers: Layers of the base.

    Raises:
        DataError: A key is unknown, or asks for what no part does.
    """
    options = Options(values, where=where)
    options.ignore(*ABOUT, *LORA_TRAINING_ONLY)
    for key, why in LORA_NEVER.items():
        options.expect(key, [], why=why)
    for key, why in LORA_OFF.items():
        options.expect(key, False, why=why)
    options.expect("loftq_config", {}, why="its start changes the base's own weights")
    options.expect("init_lora_weights", *LORA_STARTS, why="its start changes the base's own weights")
    options.expect(
        "bias", NONE, ALL, TARGETS, why="it is not known which biases of the base are trained with it"
    )
    saved = options.texts("modules_to_save")
    found = LoraOptions(
        target=read_target(options, num_layers=num_layers, saved=saved),
        bias=options.text("bias") or NONE,
        rslora=options.flag("use_rslora", default=False),
        dora=options.flag("use_dora", default=False),
        rank=_read_rank(options, "r"),
        alpha=_read_alpha(options, "lora_alpha"),
        ranks=_read_pattern(options, "rank_pattern", _read_rank),
        alphas=_read_pattern(options, "alpha_pattern", _read_alpha),
        saved=saved,
        task=options.text("task_type"),
    )
    options.pass_over_empty()
    options.close()
    return found


def read_ia3_options(values: Mapping[str, JsonValue], *, where: str, num_layers: int) -> IA3Options:
    """Read the configuration of an (IA)3.

    Args:
        values: The configuration.
        where: What the messages call it.
        num_layers: Layers of the base.

    Raises:
        DataError: A key is unknown, or asks for what no part does.
    """
    options = Options(values, where=where)
    options.ignore(*ABOUT, "fan_in_fan_out", "init_ia3_weights")
    saved = options.texts("modules_to_save")
    found = IA3Options(
        target=read_target(options, num_layers=num_layers, saved=saved),
        feedforward=_read_feedforward(options),
        saved=saved,
        task=options.text("task_type"),
    )
    options.pass_over_empty()
    options.close()
    return found


def _read_feedforward(options: Options) -> tuple[str, ...] | re.Pattern[str]:
    value = options.take("feedforward_modules")
    if isinstance(value, str):
        return compile_pattern(value, where=f"{options.where}, feedforward_modules")
    return options.texts("feedforward_modules")


def _read_rank(options: Options, key: str) -> int:
    rank = options.whole(key)
    if rank < 1:
        raise options.refuse(key, rank, why="that is no rank", expected="1 or more")
    return rank


def _read_alpha(options: Options, key: str) -> float:
    alpha = options.number(key)
    if alpha <= 0:
        raise options.refuse(
            key, alpha, why="no part subtracts what it learned, or leaves it out", expected="a number above 0"
        )
    return alpha


def _read_pattern(
    options: Options, key: str, read: Callable[[Options, str], Number]
) -> dict[re.Pattern[str], Number]:
    values = options.mapping(key) or {}
    where = f"{options.where}, {key}"
    inner = Options(values, where=where)
    return {compile_end(name, where=where): read(inner, name) for name in values}
