"""What tells one training of a recipe from its others: a recipe that compares has one for each method and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class MethodTable:
    """`[method.name]`: a method that is compared, where it is not what its name says alone."""

    kind: str | None = None
    """Which method; None is the table's name."""
    task: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Keys of `[train.task]` that are other for this method."""
    language: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Keys of `[train.language]` that are."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One method with one seed.

    The default is that of a recipe that compares nothing: a task graft alone and one over language grafts.
    """

    method: str = ""
    """The recipe's name of it; empty where nothing is compared."""
    label: str = ""
    """What the names of its steps begin with; empty where there is one variant."""
    is_alone: bool = True
    """Whether each task is trained without language grafts."""
    is_over: bool = True
    """Whether each task is trained over language grafts."""
    is_copy: bool = False
    """Whether what comes out is a full copy of the base, which stays in the run's folder."""
    text_seed: int | None = None
    """Where the random choices of masked-LM heads and language grafts come from; None is the recipe's seed."""
    shared: str = ""
    """Ending of the name of the masked-LM head, which methods share."""
    language: str = ""
    """Ending of the names of language grafts."""
    task: str = ""
    """Ending of the names of task grafts."""

    def name_mlm(self) -> str:
        """Give the name of the masked-LM head's graft."""
        return f"mlm{self.shared}"

    def name_language(self, language: str) -> str:
        """Give the name of a language's graft."""
        return f"{language}{self.language}"

    def name_task(self, task: str) -> str:
        """Give the name of a task's graft over language grafts, or of its only one."""
        return f"{task}{self.task}"

    def name_alone(self, task: str) -> str:
        """Give the name of a task's graft without language grafts."""
        return f"{task}-alone{self.task}" if self.is_over else self.name_task(task)

    def name_step(self, name: str) -> str:
        """Give the name of a step."""
        return f"{self.label}.{name}" if self.label else name
