"""`polygraft train`: one graft from the command line into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polygraft.cli.carry_out import carry_out
from polygraft.cli.options import (
    AnyBaseOption,
    BaseOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    LogOption,
    StoreOption,
)
from polygraft.cli.part_options import PartOption, PartOptionsOption, read_part, read_part_options
from polygraft.cli.reading import (
    FIRST,
    LAST,
    FormatOption,
    LabelColumnOption,
    LabelNamesOption,
    TagColumnOption,
    TextColumnOption,
    TokenColumnOption,
    make_reading,
)
from polygraft.cli.seeds import read_seeds
from polygraft.cli.tracking import TrackerOption
from polygraft.cli.train_options import (
    AccumulateOption,
    BatchTokensOption,
    CacheGibOption,
    CacheOption,
    CheckpointEveryOption,
    CompileOption,
    DevOption,
    DropoutOption,
    EpochsOption,
    FuseOption,
    HeadLayerOption,
    HeadLrFactorOption,
    LrOption,
    NameOption,
    OneSeedOption,
    PatienceOption,
    PrecisionOption,
    RecomputeOption,
    ReductionOption,
    SeedsOption,
    SkipOption,
    StepsOption,
    UnderOption,
    WarmupOption,
)
from polygraft.train.settings import CACHE_GIB, CHECKPOINT_EVERY, TrainSettings

DEFAULT_EPOCHS = 5
DEFAULT_LABELS_LR = 1e-3
DEFAULT_HEAD_LR_FACTOR = 10.0
"""Of heads for labels, as in recipes: the bundled base's hidden states are small."""
TASK_REDUCTION = 16.0

TaggedFile = Annotated[
    Path, typer.Option("--train", metavar="FILE", help="Tagged sentences: CoNLL, a table or a dataset.")
]
LabelledFile = Annotated[
    Path,
    typer.Option(
        "--train", metavar="FILE", help="Texts with labels: label, tab, text a line, a table or a dataset."
    ),
]


def train_tokens(
    *,
    name: NameOption,
    train: TaggedFile,
    dev: DevOption = None,
    under: UnderOption = None,
    fuse: FuseOption = None,
    steps: StepsOption = None,
    epochs: EpochsOption = None,
    lr: LrOption = DEFAULT_LABELS_LR,
    head_lr_factor: HeadLrFactorOption = DEFAULT_HEAD_LR_FACTOR,
    batch_tokens: BatchTokensOption = 2048,
    accumulate: AccumulateOption = 1,
    warmup: WarmupOption = 0.06,
    dropout: DropoutOption = False,
    patience: PatienceOption = None,
    checkpoint_every: CheckpointEveryOption = CHECKPOINT_EVERY,
    seed: OneSeedOption = None,
    seeds: SeedsOption = None,
    part: PartOption = None,
    option: PartOptionsOption = None,
    reduction: ReductionOption = TASK_REDUCTION,
    skip_layers: SkipOption = None,
    head_layer: HeadLayerOption = None,
    data_format: FormatOption = None,
    token_column: TokenColumnOption = FIRST,
    tag_column: TagColumnOption = LAST,
    label_names: LabelNamesOption = None,
    cache: CacheOption = "exact",
    cache_gib: CacheGibOption = CACHE_GIB,
    base: BaseOption,
    store: StoreOption,
    device: DeviceOption,
    dtype: DtypeOption,
    any_base: AnyBaseOption = False,
    precision: PrecisionOption = None,
    recompute: RecomputeOption = False,
    compile_layers: CompileOption = False,
    log: LogOption = None,
    tracker: TrackerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a task graft that tags every word."""
    settings = TrainSettings(
        steps=steps,
        epochs=DEFAULT_EPOCHS if steps is None and epochs is None else epochs,
        lr=lr,
        head_lr_factor=head_lr_factor,
        batch_tokens=batch_tokens,
        accumulate=accumulate,
        warmup=warmup,
        dropout=dropout,
        patience=patience,
        checkpoint_every=checkpoint_every,
        seed=seed or 0,
        precision=precision,
        recompute=recompute,
        compile=compile_layers,
    )
    names = read_part(part, from_text=False)
    from polygraft.recipe.order import Order

    order = Order(
        name=name,
        objective="tokens",
        train=train,
        dev=dev,
        under=under,
        fuse=tuple(fuse or ()),
        settings=settings,
        part=names,
        options=read_part_options(option, part=names, reduction=reduction, usual=TASK_REDUCTION),
        reduction=reduction,
        skip_layers=tuple(skip_layers or ()),
        head_layer=head_layer,
        reading=make_reading(
            data_format, token_column=token_column, tag_column=tag_column, label_names=label_names
        ),
        cache=cache,
        cache_gib=cache_gib,
    )
    carry_out(
        order,
        seeds=read_seeds(seeds, seed=seed),
        base=base,
        store=store,
        device=device,
        dtype=dtype,
        any_base=any_base,
        log=log,
        trackers=tracker or (),
        as_json=as_json,
    )


def train_sequence(
    *,
    name: NameOption,
    train: LabelledFile,
    dev: DevOption = None,
    under: UnderOption = None,
    fuse: FuseOption = None,
    steps: StepsOption = None,
    epochs: EpochsOption = None,
    lr: LrOption = DEFAULT_LABELS_LR,
    head_lr_factor: HeadLrFactorOption = DEFAULT_HEAD_LR_FACTOR,
    batch_tokens: BatchTokensOption = 2048,
    accumulate: AccumulateOption = 1,
    warmup: WarmupOption = 0.06,
    dropout: DropoutOption = False,
    patience: PatienceOption = None,
    checkpoint_every: CheckpointEveryOption = CHECKPOINT_EVERY,
    seed: OneSeedOption = None,
    seeds: SeedsOption = None,
    part: PartOption = None,
    option: PartOptionsOption = None,
    reduction: ReductionOption = TASK_REDUCTION,
    skip_layers: SkipOption = None,
    head_layer: HeadLayerOption = None,
    data_format: FormatOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    label_names: LabelNamesOption = None,
    cache: CacheOption = "exact",
    cache_gib: CacheGibOption = CACHE_GIB,
    base: BaseOption,
    store: StoreOption,
    device: DeviceOption,
    dtype: DtypeOption,
    any_base: AnyBaseOption = False,
    precision: PrecisionOption = None,
    recompute: RecomputeOption = False,
    compile_layers: CompileOption = False,
    log: LogOption = None,
    tracker: TrackerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a task graft that gives each text one label."""
    settings = TrainSettings(
        steps=steps,
        epochs=DEFAULT_EPOCHS if steps is None and epochs is None else epochs,
        lr=lr,
        head_lr_factor=head_lr_factor,
        batch_tokens=batch_tokens,
        accumulate=accumulate,
        warmup=warmup,
        dropout=dropout,
        patience=patience,
        checkpoint_every=checkpoint_every,
        seed=seed or 0,
        precision=precision,
        recompute=recompute,
        compile=compile_layers,
    )
    names = read_part(part, from_text=False)
    from polygraft.recipe.order import Order

    order = Order(
        name=name,
        objective="sequence",
        train=train,
        dev=dev,
        under=under,
        fuse=tuple(fuse or ()),
        settings=settings,
        part=names,
        options=read_part_options(option, part=names, reduction=reduction, usual=TASK_REDUCTION),
        reduction=reduction,
        skip_layers=tuple(skip_layers or ()),
        head_layer=head_layer,
        reading=make_reading(
            data_format, text_column=text_column, label_column=label_column, label_names=label_names
        ),
        cache=cache,
        cache_gib=cache_gib,
    )
    carry_out(
        order,
        seeds=read_seeds(seeds, seed=seed),
        base=base,
        store=store,
        device=device,
        dtype=dtype,
        any_base=any_base,
        log=log,
        trackers=tracker or (),
        as_json=as_json,
    )
