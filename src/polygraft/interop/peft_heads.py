"""Heads beside what PEFT trained: the layers that a configuration calls `modules_to_save`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.errors import DataError
from polygraft.interop.heads import HeadTensors, read_plain_head
from polygraft.parts.head import Head

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

OBJECTIVES: Mapping[str, str] = {"TOKEN_CLS": "tokens", "SEQ_CLS": "sequence"}
"""What a model of a task type scores."""
NO_TASK = "FEATURE_EXTRACTION"
"""What PEFT calls the task of a bare encoder."""


def read_saved_head(
    base: Base,
    rest: Mapping[str, Tensor],
    *,
    saved: Sequence[str],
    task: str | None,
    labels: Sequence[str] | None,
    where: str,
    expected: str,
) -> HeadTensors | None:
    """Read the head beside a LoRA or the like; None where a folder has none.

    Args:
        base: The base.
        rest: The tensors that are not of the encoder, by their names in the model.
        saved: The layers that the configuration names.
        task: Its task type.
        labels: Names of the labels, in order, or None.
        where: What the messages call the folder.
        expected: What other tensors the folder may have, for a message.

    Raises:
        DataError: A tensor is not named, or they are no head, or one for another task.
    """
    unasked = [key for key in rest if not set(key.split(".")[:2]) & set(saved)]
    if unasked:
        raise DataError(
            f"{where} has a tensor '{unasked[0]}' that its configuration does not name. Expected {expected}, and those "
            f"of modules_to_save: {', '.join(dict.fromkeys(saved)) or 'none'}. Import it on the base that it was "
            "trained on."
        )
    if not rest:
        if labels is not None:
            raise DataError(
                f"{where} has no head, and the {len(labels)} labels {', '.join(labels)} were given. Expected labels "
                "for a folder with a head only. Leave the labels out."
            )
        return None
    head = read_plain_head(base, rest, labels=labels, where=where)
    wanted = OBJECTIVES.get(task or "", head.part.objective)
    if head.part.objective != wanted:
        raise DataError(
            f"{where} was trained as {task} and has a head for '{head.part.objective}', {', '.join(rest)}. Expected "
            f"one for '{wanted}' that is whole: a layer in front of it, or the pooler, was not saved with it. Import "
            "it from a folder with all layers of its head."
        )
    return head


def name_task(graft: Graft) -> str:
    """Give the task type of the model that a graft makes of its base."""
    scored = [part.objective for part in graft.parts if isinstance(part, Head)]
    return next((task for task, objective in OBJECTIVES.items() if objective in scored), NO_TASK)


def list_saved(base: Base, head: Mapping[str, Tensor]) -> list[str]:
    """List the layers of a head, each once: a pooler stands in the encoder."""
    names = [name.removeprefix(f"{base.model.base_model_prefix}.").partition(".")[0] for name in head]
    return list(dict.fromkeys(names))
