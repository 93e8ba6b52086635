"""The methods that a recipe can compare: what each sets in [train.task] and [train.language]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polygraft.errors import RecipeError, nearest
from polygraft.recipe.variants import MethodTable


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way of making one pretrained model do many tasks."""

    about: str
    """What it does, in a few words."""
    is_over: bool = False
    """Whether tasks are trained over language grafts, which are swapped."""
    is_copy: bool = False
    """Whether it makes a full copy of the base for a task."""
    task: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What it sets in [train.task]."""
    language: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What it sets in [train.language]."""


# The base's weights want small steps; the head learns as fast as with every other method.
WEIGHTS: Mapping[str, Any] = {"lr": 1e-4, "head_lr_factor": 100.0}
WHOLE: Mapping[str, Any] = {**WEIGHTS, "skip_layers": ()}

KINDS: Mapping[str, Kind] = {
    "full": Kind(
        about="every weight is trained, a full copy a task", is_copy=True, task={"method": "full", **WHOLE}
    ),
    "sequential": Kind(
        about="one copy is trained on one task after the other",
        is_copy=True,
        task={"method": "sequential", **WHOLE},
    ),
    "head": Kind(about="the head alone is trained (linear probe)", task={"part": "head", "skip_layers": ()}),
    "bottleneck": Kind(about="a bottleneck a task, over no language graft"),
    "madx": Kind(about="a bottleneck a language and one a task, stacked (MAD-X)", is_over=True),
    "lora": Kind(about="low-rank changes of linear maps", task={"part": "lora"}),
    "ia3": Kind(
        about="scaled keys, values and feed-forward activations ((IA)3)",
        task={"part": "ia3", "lr": 5e-3, "head_lr_factor": 2.0},
    ),
    "bitfit": Kind(about="biases", task={"part": "bitfit"}),
    "prefix": Kind(about="learned keys and values in every layer", task={"part": "prefix"}),
    "prompt": Kind(about="learned embeddings before the text", task={"part": "prompt", "skip_layers": ()}),
    "compacter": Kind(about="bottlenecks of Kronecker products", task={"part": "compacter"}),
    "mam": Kind(about="prefixes and parallel bottlenecks (mix and match)", task={"part": "mam"}),
    "lt-sft": Kind(
        about="a sparse change of the weights a language and one a task, added up",
        is_over=True,
        task={"method": "lt-sft", **WEIGHTS},
        language={"method": "lt-sft", "lr": 1e-4},
    ),
    "imp": Kind(about="the smallest weights pruned, step by step", task={"method": "imp", **WEIGHTS}),
    "piggyback": Kind(
        about="a learned mask over the frozen weights", task={"method": "piggyback", **WEIGHTS}
    ),
    "packnet": Kind(
        about="tasks packed one after the other into one set of weights",
        task={"method": "packnet", **WEIGHTS},
    ),
}
"""By name. The learning rates are starting points; a recipe changes them in [method.NAME.task]."""


def find_kind(name: str, tables: Mapping[str, MethodTable]) -> Kind:
    """Give what a method's name in a recipe stands for.

    Args:
        name: One of `methods`.
        tables: The recipe's `[method.name]`.

    Raises:
        RecipeError: There is no such method.
    """
    kind = tables[name].kind if name in tables else None
    wanted = kind or name
    if wanted not in KINDS:
        said = f"[method.{name}] has kind = '{kind}'" if kind else f"The recipe's methods have '{name}'"
        further = (
            "" if kind else f' Correct the name, or say what it is in [method.{name}] with kind = "...".'
        )
        raise RecipeError(
            f"{said}, which is no method. Methods are {', '.join(KINDS)}.{nearest(wanted, KINDS)}"
            f"{further or ' Correct the name.'}"
        )
    return KINDS[wanted]


def needs_languages(*, methods: Sequence[str], tables: Mapping[str, MethodTable], packs: bool) -> bool:
    """Whether a recipe trains language grafts: every one does that does not compare or pack."""
    if methods:
        return any(find_kind(name, tables).is_over for name in methods)
    return not packs
