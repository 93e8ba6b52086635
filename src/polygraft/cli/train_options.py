"""Options that the `polygraft train` commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from polygraft.types import TextRows

NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="What plans call the graft.")]
DevOption = Annotated[
    Path | None,
    typer.Option("--dev", metavar="FILE", help="Held-out data; the values that score best on it are kept."),
]
UnderOption = Annotated[
    str | None,
    typer.Option("--under", metavar="PLAN", help="Frozen grafts below the new one, as in 'stack(en)'."),
]
FuseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fuse",
        metavar="PLAN",
        help="Learn to mix frozen grafts (AdapterFusion) instead of a bottleneck; give it once a graft.",
    ),
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", min=1, metavar="N", help="Number of updates; this or --epochs.")
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", min=1, metavar="N", help="Passes over the data; this or --steps.")
]
LrOption = Annotated[float, typer.Option("--lr", metavar="X", help="Peak learning rate of AdamW.")]
HeadLrFactorOption = Annotated[
    float,
    typer.Option(
        "--head-lr-factor", metavar="X", help="What the learning rate of the head is multiplied by."
    ),
]
BatchTokensOption = Annotated[
    int,
    typer.Option(
        "--batch-tokens",
        metavar="N",
        help="Most tokens in a batch, padding included; a longer row is a batch alone.",
    ),
]
WarmupOption = Annotated[
    float, typer.Option("--warmup", metavar="X", help="Share of the steps over which the rate rises.")
]
WeightDecayOption = Annotated[
    float, typer.Option("--weight-decay", min=0, metavar="X", help="AdamW's decoupled weight decay.")
]
PatienceOption = Annotated[
    int | None,
    typer.Option("--patience", min=1, metavar="N", help="Stop after N dev scores without a better one."),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, metavar="N", help="Where random choices come from.")
]
OneSeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        metavar="N",
        show_default="0",
        help="Where random choices come from; this or --seeds.",
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="N,N,...",
        help="Train a graft for each seed in one pass: NAME-s0, NAME-s1 and so on.",
    ),
]
AccumulateOption = Annotated[
    int,
    typer.Option("--accumulate", min=1, metavar="N", help="Batches an update; their gradients are summed."),
]
CheckpointEveryOption = Annotated[
    int,
    typer.Option(
        "--checkpoint-every",
        min=1,
        metavar="N",
        help="Updates between checkpoints, from which a training that was stopped goes on.",
    ),
]
CacheOption = Annotated[
    Literal["exact", "half", "off"],
    typer.Option(
        "--cache",
        help="Keep what layers below the graft give for later epochs: to the bit, in float16, or not.",
    ),
]
CacheGibOption = Annotated[
    float,
    typer.Option(
        "--cache-gib",
        metavar="X",
        help="Gigabytes of that in memory, for all processes of a machine; the rest lies in files in the store.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="Number format of the products in training, bfloat16 or float16; the base's if not given.",
    ),
]
RecomputeOption = Annotated[
    bool,
    typer.Option("--recompute", help="Run layers again for the gradients: less memory, more time."),
]
CompileOption = Annotated[
    bool,
    typer.Option("--compile", help="Let PyTorch compile the base's layers first: minutes, for faster steps."),
]
DropoutOption = Annotated[
    bool,
    typer.Option(
        "--dropout", help="Let the base drop values by chance in training, as its configuration says."
    ),
]
ReductionOption = Annotated[
    float, typer.Option("--reduction", metavar="X", help="Hidden size over the bottleneck's width.")
]
SkipOption = Annotated[
    list[int] | None,
    typer.Option(
        "--skip-layer", metavar="N", help="A layer without a bottleneck; may be given several times."
    ),
]
FromLayerOption = Annotated[
    int | None,
    typer.Option(
        "--from-layer",
        min=0,
        metavar="N",
        help="The first layer with a bottleneck, counted from 0; all layers below go without.",
    ),
]
NegativesOption = Annotated[
    int,
    typer.Option(
        "--negatives",
        min=0,
        metavar="N",
        help="Pieces that the text does not have and that are scored beside its own, others in every batch.",
    ),
]
VocabularyOption = Annotated[
    Literal["corpus", "full"],
    typer.Option(
        "--vocabulary",
        help="Pieces that are scored: the text's own and the negatives (fast), or all of them (exact).",
    ),
]
RowsOption = Annotated[
    TextRows,
    typer.Option(
        "--rows",
        help="How the text becomes rows: a line a row, or lines one after the other, cut into full rows.",
    ),
]
HeadLayerOption = Annotated[
    int | None,
    typer.Option(
        "--head-layer",
        metavar="N",
        help="After how many layers the head reads. mlm, causal: train a head with the graft, for a base without one.",
    ),
]
