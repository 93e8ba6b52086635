"""What a configuration of PEFT asks for: which linear maps it is about, and with which rank and scale.

The keys are those of PEFT 0.21 and of the releases before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from polygraft.interop.options import Options
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
PLAIN_PATTERN = re.compile(r"\^?[\w.]+\$?")
"""A key of `rank_pattern` that is a name, or the end of one."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Which layers of a model a configuration is about, by their names there."""

    modules: tuple[str, ...] | None
    """Ends of names; None where a pattern says which, and the tensors that are there are taken."""
    excluded: tuple[str, ...]
    layers: tuple[int, ...] | None
    """The layers of the base; None is all."""
    is_all_linear: bool = False

    def covers(self, name: str, *, layer: int) -> bool:
        """Say whether it is about a linear map of the encoder.

        Args:
            name: The map's name in the model, such as `bert.encoder.layer.0.attention.self.query`.
            layer: Index of its layer.
        """
        if self.layers is not None and layer not in self.layers:
            return False
        if _ends(name, self.excluded):
            return False
        return self.is_all_linear or (self.modules is not None and _ends(name, self.modules))


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """What a LoRA of PEFT is."""

    target: Target
    rslora: bool
    dora: bool
    rank: int
    alpha: float
    ranks: Mapping[str, int]
    """Ranks of maps that have one of their own, by the end of their names."""
    alphas: Mapping[str, float]
    saved: tuple[str, ...]
    """Layers beside it that were trained whole, a head."""
    task: str | None

    def find_rank(self, name: str) -> int:
        """Give the rank of a map."""
        return next((rank for key, rank in self.ranks.items() if _fits(name, key)), self.rank)

    def find_alpha(self, name: str) -> float:
        """Give the alpha of a map."""
        return next((alpha for key, alpha in self.alphas.items() if _fits(name, key)), self.alpha)


@dataclass(frozen=True, kw_only=True)
class IA3Options:
    """What an (IA)3 of PEFT is."""

    target: Target
    feedforward: Target
    """The maps whose input is multiplied, among the targets."""
    saved: tuple[str, ...]
    task: str | None


def read_lora_options(values: Mapping[str, JsonValue], *, where: str) -> LoraOptions:
    """Read the configuration of a LoRA.

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
    options.expect("bias", "none", why="the base's biases are trained with it, which is another part")
    found = LoraOptions(
        target=_read_target(options),
        rslora=options.flag("use_rslora", default=False),
        dora=options.flag("use_dora", default=False),
        rank=options.whole("r", 8),
        alpha=options.number("lora_alpha", 8),
        ranks=_read_pattern(options, "rank_pattern", lambda inner, key: inner.whole(key)),
        alphas=_read_pattern(options, "alpha_pattern", lambda inner, key: inner.number(key)),
        saved=options.texts("modules_to_save"),
        task=options.text("task_type"),
    )
    options.close()
    return found


def read_ia3_options(values: Mapping[str, JsonValue], *, where: str) -> IA3Options:
    """Read the configuration of an (IA)3.

    Raises:
        DataError: A key is unknown, or asks for what no part does.
    """
    options = Options(values, where=where)
    options.ignore(*ABOUT, "fan_in_fan_out", "init_ia3_weights")
    found = IA3Options(
        target=_read_target(options),
        feedforward=Target(modules=options.texts("feedforward_modules"), excluded=(), layers=None),
        saved=options.texts("modules_to_save"),
        task=options.text("task_type"),
    )
    options.close()
    return found


def _read_target(options: Options) -> Target:
    value = options.take("target_modules")
    modules = None if isinstance(value, str) else options.texts("target_modules")
    layers = options.take("layers_to_transform")
    options.ignore("layers_pattern")
    excluded = options.texts("exclude_modules")
    if isinstance(options.take("exclude_modules"), str):
        raise options.refuse(
            "exclude_modules", excluded[0], why="that is a pattern", expected="a list of names, or null"
        )
    chosen: tuple[int, ...] | None = None
    if isinstance(layers, int) and not isinstance(layers, bool):
        chosen = (layers,)
    elif layers is not None:
        chosen = options.wholes("layers_to_transform") or None
    return Target(modules=modules, excluded=excluded, layers=chosen, is_all_linear=value == "all-linear")


def _read_pattern(options: Options, key: str, read: Callable[[Options, str], Number]) -> dict[str, Number]:
    values = options.mapping(key) or {}
    inner = Options(values, where=f"{options.where}, {key}")
    for name, value in values.items():
        if not PLAIN_PATTERN.fullmatch(name):
            raise inner.refuse(
                name, value, why="that is a pattern", expected="names of layers, or ends of names"
            )
    return {name: read(inner, name) for name in values}


def _ends(name: str, ends: Sequence[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _fits(name: str, key: str) -> bool:
    """Say whether a key of a pattern means a name: all of it behind `^`, else an end of it."""
    plain = key.removeprefix("^").removesuffix("$")
    return name == plain or (not key.startswith("^") and name.endswith(f".{plain}"))
