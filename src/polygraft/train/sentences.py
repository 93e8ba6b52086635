"""What a training tells its user in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polygraft.train.settings import TrainSettings


def say_stopped(name: str, *, step: int, total: int, is_saved: bool) -> str:
    """Say that the training of a graft was stopped after a step, and whether it can go on."""
    stopped = f"Training of '{name}' was stopped after step {step} of {total}"
    if not is_saved:
        return f"{stopped}, and nothing of it was saved. Train with checkpoints to go on later."
    return f"{stopped}, and all of it is saved. Give the same command again to go on."


def say_nothing_right(name: str, *, num_steps: int, settings: TrainSettings) -> str:
    """Say that a graft has learned nothing that held-out data shows, and what may help."""
    return (
        f"The best dev score of '{name}' is 0: after {num_steps} steps none of the held-out "
        "entities or labels is right. Expected a score above 0. Train for more steps (more epochs, or a "
        f"smaller --batch-tokens than {settings.batch_tokens}), with a higher learning rate (--lr, it is "
        f"{settings.lr:g}), or with a head that learns faster (--head-lr-factor, it is "
        f"{settings.head_lr_factor:g}); in a recipe these are keys of [train.task]."
    )
