"""How a graft is trained."""

from __future__ import annotations

from dataclasses import dataclass

from polygraft.errors import OptionError, nearest

NUM_SEEDS = 2**63
"""Seeds are below this: PyTorch's generators take no more."""
NUM_NEGATIVES = 1024
"""How many pieces that a text does not have are scored beside its own, unless the user says otherwise."""
CHECKPOINT_EVERY = 200
"""Updates between checkpoints, unless the user says otherwise."""
CACHE_GIB = 2.0
"""Gigabytes (2**30 bytes) of what frozen layers give that are kept in memory, unless the user says otherwise."""
PRECISIONS = ("bfloat16", "float16")
"""Number formats that products may be computed in, where it is not the base's own."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Steps, learning rate and the rest, with the defaults of MAD-X where it names them."""

    steps: int | None = None
    """Number of updates; give this or `epochs`."""
    epochs: int | None = None
    """Passes over the data; give this or `steps`."""
    batch_tokens: int = 2048
    """Most tokens in a batch, padding included; a row that is longer is a batch alone."""
    accumulate: int = 1
    """Batches an update: their gradients are summed, and the mean is over all their targets."""
    precision: str | None = None
    """Number format of the products of a training pass, "bfloat16" or "float16" (autocast); None leaves them in the
    base's. The graft's values and their updates keep their own format."""
    recompute: bool = False
    """Whether what each layer of the base computes is computed again for the gradients, instead of being kept: less
    memory, about a third more time, the same numbers."""
    compile: bool = False
    """Whether PyTorch compiles the base's layers first: minutes at the beginning, and numbers that differ in the last
    digits."""
    dropout: bool = False
    """Whether the base drops values by chance in the passes of training, as its configuration says. What frozen layers
    give is another thing each time then, and is not kept for later epochs."""
    lr: float = 1e-4
    """Peak learning rate of AdamW."""
    head_lr_factor: float = 1.0
    """What the learning rate of the head is multiplied by. A new head on hidden states of small size (0.25 a value on
    the bundled base) has to grow further than the bottlenecks under it."""
    warmup: float = 0.06
    """Share of the steps over which the learning rate rises from 0; it falls linearly to 0 afterwards."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay of the graft's values."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 leaves it as it is."""
    seed: int = 0
    """Where every random choice comes from."""
    evaluate_every: int | None = None
    """Steps between scores on held-out data; None scores ten times a run."""
    patience: int | None = None
    """Stop after so many held-out scores without a better one; None never stops early."""
    checkpoint_every: int = CHECKPOINT_EVERY
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if (self.steps is None) == (self.epochs is None):
            raise OptionError(
                f"Training has steps={self.steps} and epochs={self.epochs}. Expected one of the two. "
                "Give a number of steps or a number of epochs."
            )
        least = {
            "steps": 1,
            "epochs": 1,
            "batch_tokens": 8,
            "accumulate": 1,
            "evaluate_every": 1,
            "patience": 1,
            "checkpoint_every": 1,
        }
        for name, bound in least.items():
            value = vars(self)[name]
            if value is not None and value < bound:
                raise OptionError(
                    f"Training has {name}={value}. Expected {bound} or more. Give a larger number."
                )
        if self.precision is not None and self.precision not in PRECISIONS:
            raise OptionError(
                f"Training has precision='{self.precision}'. Expected {' or '.join(PRECISIONS)}, or none for the "
                f"base's own number format.{nearest(self.precision, PRECISIONS)} Correct the name."
            )
        if not 0 < self.head_lr_factor < 1e6:
            raise OptionError(
                f"Training has head_lr_factor={self.head_lr_factor}. Expected a number above 0 and below 1,000,000, "
                "such as 10. Correct the number."
            )
        if not 0 <= self.seed < NUM_SEEDS:
            raise OptionError(
                f"Training has seed={self.seed}. Expected 0 or more, and less than 2**63. Give another number."
            )
        if not (0 < self.lr < 1e6 and self.weight_decay >= 0 and self.clip >= 0 and 0 <= self.warmup < 1):
            raise OptionError(
                f"Training has lr={self.lr}, weight_decay={self.weight_decay}, clip={self.clip}, "
                f"warmup={self.warmup}. Expected lr above 0 and below 1,000,000, weight_decay and clip not below "
                "0, and warmup from 0 up to (but not) 1. Correct the number."
            )


def compute_lr(settings: TrainSettings, *, step: int, total: int) -> float:
    """Give the learning rate of a step, counted from 0: a linear rise, then a linear fall to 0.

    Example:
        >>> settings = TrainSettings(steps=10, lr=1.0, warmup=0.2)
        >>> [compute_lr(settings, step=step, total=10) for step in (0, 1, 2, 9)]
        [0.5, 1.0, 1.0, 0.125]
    """
    rise = round(settings.warmup * total)
    if step < rise:
        return settings.lr * (step + 1) / rise
    return settings.lr * (total - step) / (total - rise)
