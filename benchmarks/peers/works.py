"""What is measured: works, the sides that do each of them, and what polygraft is to reach.

Both environments import this file, so it needs neither polygraft nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

OURS, PEERS, FLOOR = "train_polygraft.py", "train_peers.py", "floor.py"
OUR_ROUTES, PEERS_ROUTES = "route_polygraft.py", "route_peers.py"
RUN_BY_PEERS = (PEERS, PEERS_ROUTES)
"""What the peers' own Python runs."""

NUM_PLANS = (1, 8, 32, 64)
"""How many ways the rows of a batch go."""
ROUTED: dict[str, tuple[str, str]] = {
    "polygraft-routed": (OUR_ROUTES, "one batch, with heads, rows of one plan apart"),
    "adapters-split": (PEERS_ROUTES, "BatchSplit over stacks, without heads, rows of one plan together"),
    "peft-named": (PEERS_ROUTES, "adapter_names, a LoRA of rank 16 a plan, without heads"),
    "polygraft-switched": (OUR_ROUTES, "grafts switched in a loop, a batch for the rows of each plan"),
}
"""The ways to run a batch of rows with plans of their own."""
ROUTED_SIDES = {
    f"{way}-{count}": how
    for count in NUM_PLANS
    for way, how in ROUTED.items()
    if count > 1 or way != "polygraft-switched"
}
"""Each of them with each number of plans; of one plan there is nothing to switch."""

SIDES: dict[str, tuple[str, str]] = {
    "polygraft": (OURS, "its defaults; masked-LM scores the corpus' own pieces and a thousand others"),
    "polygraft-exact": (OURS, "masked-LM scores all pieces, as the peers do"),
    "polygraft-lora": (OURS, "LoRA on query and value, as `peft`"),
    "polygraft-int8": (OURS, "the frozen layers' forward in int8"),
    "polygraft-in-turn": (OURS, "the grafts one after another"),
    "polygraft-uncached": (OURS, "nothing looked up in later epochs; several grafts one after another"),
    "polygraft-at-once": (OURS, "the grafts in one pass"),
    "adapters": (PEERS, "SDPA, no dropout, polygraft's own batches, a plain loop"),
    "adapters-trainer": (PEERS, "AdapterTrainer: SDPA, no dropout, dynamic padding, grouped by length"),
    "adapters-defaults": (
        PEERS,
        "AdapterTrainer as its example script leaves it: eight sentences a batch, not grouped",
    ),
    "adapters-all-layers": (PEERS, "as `adapters`, with an adapter in every layer"),
    "peft": (PEERS, "LoRA on query and value, of the same number of values; the plain loop"),
    "float32": (FLOOR, "a step against its products alone"),
    "bfloat16": (FLOOR, "the same in bfloat16, where the processor has units for it"),
    **ROUTED_SIDES,
}
"""Name: the script that does it, and how. PEFT has no bottleneck and no invertible adapter: LoRA stands in."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One number that polygraft is to reach: the ratio, or for losses and F1 the difference, of two sides' medians."""

    metric: Literal["rate", "memory", "loss", "f1", "share"]
    side: str
    against: tuple[str, ...] = ()
    """The best of these counts; none for a share, which is a ratio already."""
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """One row of the table."""

    name: str
    title: str
    kind: Literal["mlm", "ner", "several", "floor", "routing"]
    sides: tuple[str, ...]
    goals: tuple[Goal, ...]
    base: Literal["bundled", "xlmr"] = "bundled"
    reduction: int = 2
    skip_layers: tuple[int, ...] = ()
    steps: int | None = None
    epochs: int | None = None
    warm: int = 0
    """Steps before the clock starts; 0 where filling a cache is part of the work."""
    batch_tokens: int = 1536
    length: int = 64
    """Tokens of every joined row of text, and the most of a sentence."""
    is_joined: bool = True
    """Whether lines of text stand one after the other in rows of one length, or each in a row of its own."""
    lr: float = 1e-3
    head_lr_factor: float = 1.0
    num_rows: int = 100_000
    """The most rows that are learned from: sentences, or packed rows of text."""
    num_held_out: int = 96
    seed: int = 0


BEST = ("adapters", "adapters-trainer", "peft")
SAME_LOSS, SAME_F1 = 0.005, -0.005
"""What counts as no worse, in nats and in F1 (0.5 points), on equal batches; the Trainer's are in another order."""
SAME_PART = (
    Goal(metric="rate", side="polygraft", against=("adapters", "adapters-trainer")),
    Goal(metric="rate", side="polygraft-lora", against=("peft",)),
    Goal(metric="f1", side="polygraft-lora", against=("peft",)),
)
"""Bottlenecks against bottlenecks, and LoRA against LoRA, which takes less arithmetic."""
LOWER_HALF = (0, 1, 2, 3, 4, 5)
LOWEST_NINE = (*LOWER_HALF, 6, 7, 8)


def list_routing_goals() -> tuple[Goal, ...]:
    """List what routed rows are compared with: one plan for all, the better peer, and grafts switched in a loop."""
    goals: list[Goal] = []
    for count in NUM_PLANS:
        peers = (f"adapters-split-{count}", f"peft-named-{count}")
        if count > 1:
            goals += [
                Goal(
                    metric="rate",
                    side=f"{way}-{count}",
                    against=(f"{'polygraft-routed' if way == 'polygraft-switched' else way}-1",),
                    at_least=0.85 if (way, count) == ("polygraft-routed", 32) else None,
                )
                for way in ROUTED
            ]
            switched = (f"polygraft-switched-{count}",)
            goals.append(Goal(metric="rate", side=f"polygraft-routed-{count}", against=switched))
        wanted = 4 if count == 32 else None
        goals.append(Goal(metric="rate", side=f"polygraft-routed-{count}", against=peers, at_least=wanted))
    return tuple(goals)


FIVE_GOALS = (
    Goal(metric="rate", side="polygraft-at-once", against=("polygraft-in-turn",), at_least=2),
    Goal(metric="rate", side="polygraft-at-once", against=("polygraft-uncached",)),
)

WORKS: tuple[Work, ...] = (
    Work(
        name="mlm-bundled",
        title="language graft, masked-LM, bundled base, all layers, batches of 24 x 64",
        kind="mlm",
        sides=("polygraft", "polygraft-exact", "polygraft-int8", *BEST),
        goals=(
            Goal(metric="rate", side="polygraft", against=BEST, at_least=7),
            Goal(metric="memory", side="polygraft", against=BEST, at_most=1 / 6),
            Goal(metric="loss", side="polygraft", against=("adapters",), at_most=SAME_LOSS),
            Goal(metric="rate", side="polygraft-exact", against=BEST),
            Goal(metric="loss", side="polygraft-exact", against=("adapters",), at_most=SAME_LOSS),
            Goal(metric="rate", side="polygraft-int8", against=("polygraft",), at_least=1.3),
            Goal(metric="loss", side="polygraft-int8", against=("polygraft",)),
        ),
        steps=24,
        warm=2,
    ),
    Work(
        name="mlm-xlmr",
        title="language graft, masked-LM, random base of XLM-R base's shape, batches of 24 x 64",
        kind="mlm",
        base="xlmr",
        sides=("polygraft", "polygraft-exact", *BEST),
        goals=(
            Goal(metric="rate", side="polygraft", against=BEST, at_least=4),
            Goal(metric="memory", side="polygraft", against=BEST),
            Goal(metric="rate", side="polygraft-exact", against=BEST),
        ),
        steps=8,
        warm=2,
        num_held_out=24,
    ),
    Work(
        name="mlm-sentences",
        title="language graft, masked-LM, bundled base, all layers, a line a row, up to 128 tokens",
        kind="mlm",
        sides=("polygraft", "polygraft-exact", "polygraft-int8", *BEST),
        goals=(
            Goal(metric="rate", side="polygraft", against=BEST),
            Goal(metric="memory", side="polygraft", against=BEST),
            Goal(metric="loss", side="polygraft", against=("adapters",), at_most=SAME_LOSS),
            Goal(metric="rate", side="polygraft-exact", against=BEST),
            Goal(metric="loss", side="polygraft-exact", against=("adapters",), at_most=SAME_LOSS),
            Goal(metric="rate", side="polygraft-int8", against=("polygraft",)),
        ),
        steps=24,
        warm=2,
        length=128,
        is_joined=False,
    ),
    Work(
        name="ner-all",
        title="task graft, NER, all layers",
        kind="ner",
        sides=(
            "polygraft",
            "polygraft-uncached",
            "polygraft-int8",
            "polygraft-lora",
            *BEST,
            "adapters-defaults",
        ),
        goals=(
            Goal(metric="rate", side="polygraft", against=BEST, at_least=1.15),
            Goal(metric="rate", side="polygraft", against=("adapters-defaults",), at_least=1.5),
            *SAME_PART,
            Goal(metric="f1", side="polygraft", against=("adapters",), at_least=SAME_F1),
            Goal(metric="rate", side="polygraft", against=("polygraft-uncached",)),
            Goal(metric="rate", side="polygraft-int8", against=("polygraft",), at_least=1.3),
            Goal(metric="f1", side="polygraft-int8", against=("polygraft",), at_least=SAME_F1),
        ),
        reduction=16,
        epochs=3,
        batch_tokens=1024,
        length=128,
        head_lr_factor=10,
        num_rows=600,
        num_held_out=300,
    ),
    Work(
        name="ner-upper",
        title="task graft, NER, lowest half of the layers skipped, 10 epochs",
        kind="ner",
        sides=("polygraft", "polygraft-uncached", "polygraft-lora", *BEST, "adapters-all-layers"),
        goals=(
            Goal(metric="rate", side="polygraft", against=BEST, at_least=1.4),
            Goal(metric="rate", side="polygraft", against=("adapters-all-layers",), at_least=2),
            *SAME_PART,
            Goal(metric="f1", side="polygraft", against=("adapters",), at_least=SAME_F1),
            Goal(metric="rate", side="polygraft", against=("polygraft-uncached",)),
        ),
        reduction=16,
        skip_layers=LOWER_HALF,
        epochs=10,
        batch_tokens=1024,
        length=128,
        head_lr_factor=10,
        num_rows=300,
        num_held_out=300,
    ),
    Work(
        name="ner-five",
        title="five task grafts, NER, five seeds, lowest half of the layers skipped",
        kind="several",
        sides=("polygraft-in-turn", "polygraft-uncached", "polygraft-at-once"),
        goals=FIVE_GOALS,
        reduction=16,
        skip_layers=LOWER_HALF,
        epochs=3,
        batch_tokens=1024,
        length=128,
        head_lr_factor=10,
        num_rows=300,
        num_held_out=300,
    ),
    Work(
        name="ner-five-deep",
        title="five task grafts, NER, five seeds, lowest nine of the layers skipped",
        kind="several",
        sides=("polygraft-in-turn", "polygraft-uncached", "polygraft-at-once"),
        goals=FIVE_GOALS,
        reduction=16,
        skip_layers=LOWEST_NINE,
        epochs=3,
        batch_tokens=1024,
        length=128,
        head_lr_factor=10,
        num_rows=300,
        num_held_out=300,
    ),
    Work(
        name="floor",
        title="share of the arithmetic floor that a masked-LM step reaches, bundled base",
        kind="floor",
        sides=("float32", "bfloat16"),
        goals=(Goal(metric="share", side="float32", at_least=0.7), Goal(metric="share", side="bfloat16")),
        steps=22,
        warm=2,
    ),
    Work(
        name="routing",
        title="64 rows of 32 tokens that go 1, 8, 32 and 64 ways through a language and a task, bundled base",
        kind="routing",
        sides=tuple(ROUTED_SIDES),
        goals=list_routing_goals(),
        steps=3,
        warm=1,
        num_rows=64,
        length=32,
    ),
)

NUM_GRAFTS = 5
"""How many grafts the work `several` trains."""


def read_work(fields: Mapping[str, Any]) -> Work:
    """Take a work as JSON has it; its sides and goals are the driver's own business."""
    return Work(**{**fields, "skip_layers": tuple(fields["skip_layers"]), "sides": (), "goals": ()})


def shrink(work: Work) -> Work:
    """Give the same work in a size that only shows that it runs."""
    return replace(
        work,
        steps=None if work.steps is None else 1 if work.kind == "routing" else 3,
        epochs=None if work.epochs is None else 2,
        warm=min(work.warm, 1),
        batch_tokens=256,
        length=4 if work.kind == "routing" else work.length,
        num_rows=min(work.num_rows, 60 if work.epochs else 2000),
        num_held_out=min(work.num_held_out, 24),
    )
