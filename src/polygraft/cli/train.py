"""`polygraft train`: one graft from the command line into a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.cli.console import say, write_json
from polygraft.cli.grafts import show_manifest, summarise
from polygraft.cli.interrupt import stop_on_signals
from polygraft.cli.loading import open_base
from polygraft.cli.options import (
    AnyBaseOption,
    BaseOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    StoreOption,
    TagColumnOption,
    TokenColumnOption,
)
from polygraft.cli.progress import make_display
from polygraft.cli.tracking import TrackerOption, check_before, track_order
from polygraft.cli.train_options import (
    BatchTokensOption,
    CompileOption,
    DevOption,
    EpochsOption,
    FromLayerOption,
    HeadLayerOption,
    HeadLrFactorOption,
    LrOption,
    NameOption,
    NegativesOption,
    PatienceOption,
    PrecisionOption,
    RecomputeOption,
    ReductionOption,
    SeedOption,
    SkipOption,
    StepsOption,
    UnderOption,
    WarmupOption,
)
from polygraft.settings import load_launch
from polygraft.train.settings import TrainSettings

if TYPE_CHECKING:
    from polygraft.recipe.single import Order
    from polygraft.store.manifest import Manifest

DEFAULT_STEPS = 600
DEFAULT_EPOCHS = 5
DEFAULT_LABELS_LR = 1e-3
DEFAULT_HEAD_LR_FACTOR = 10.0
"""Of heads for labels, as in recipes: the bundled base's hidden states are small."""

TextFile = Annotated[
    Path, typer.Option("--train", metavar="FILE", help="Plain text, a sentence or paragraph a line.")
]
TaggedFile = Annotated[Path, typer.Option("--train", metavar="FILE", help="Tagged sentences, CoNLL.")]
LabelledFile = Annotated[
    Path, typer.Option("--train", metavar="FILE", help="Texts with labels: label, tab, text a line.")
]
InvertibleOption = Annotated[
    bool, typer.Option("--invertible", help="Add an invertible part to the embeddings (MAD-X).")
]


def train_mlm(
    *,
    name: NameOption,
    train: TextFile,
    dev: DevOption = None,
    under: UnderOption = None,
    steps: StepsOption = None,
    epochs: EpochsOption = None,
    lr: LrOption = 5e-4,
    batch_tokens: BatchTokensOption = 2048,
    warmup: WarmupOption = 0.06,
    patience: PatienceOption = None,
    seed: SeedOption = 0,
    reduction: ReductionOption = 2,
    skip_layers: SkipOption = None,
    from_layer: FromLayerOption = None,
    invertible: InvertibleOption = False,
    negatives: NegativesOption = 0,
    head_layer: HeadLayerOption = None,
    base: BaseOption,
    store: StoreOption,
    device: DeviceOption,
    dtype: DtypeOption,
    any_base: AnyBaseOption = False,
    precision: PrecisionOption = None,
    recompute: RecomputeOption = False,
    compile_layers: CompileOption = False,
    tracker: TrackerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a language graft by masked language modelling on plain text."""
    settings = TrainSettings(
        steps=DEFAULT_STEPS if steps is None and epochs is None else steps,
        epochs=epochs,
        lr=lr,
        batch_tokens=batch_tokens,
        warmup=warmup,
        patience=patience,
        seed=seed,
        precision=precision,
        recompute=recompute,
        compile=compile_layers,
    )
    from polygraft.recipe.single import Order

    order = Order(
        name=name,
        objective="mlm",
        train=train,
        dev=dev,
        under=under,
        settings=settings,
        reduction=reduction,
        skip_layers=tuple(skip_layers or ()),
        from_layer=from_layer,
        invertible=invertible,
        negatives=negatives,
        head_layer=head_layer,
    )
    _train(
        order,
        base=base,
        store=store,
        device=device,
        dtype=dtype,
        any_base=any_base,
        trackers=tracker or (),
        as_json=as_json,
    )


def train_tokens(
    *,
    name: NameOption,
    train: TaggedFile,
    dev: DevOption = None,
    under: UnderOption = None,
    steps: StepsOption = None,
    epochs: EpochsOption = None,
    lr: LrOption = DEFAULT_LABELS_LR,
    head_lr_factor: HeadLrFactorOption = DEFAULT_HEAD_LR_FACTOR,
    batch_tokens: BatchTokensOption = 2048,
    warmup: WarmupOption = 0.06,
    patience: PatienceOption = None,
    seed: SeedOption = 0,
    reduction: ReductionOption = 16,
    skip_layers: SkipOption = None,
    head_layer: HeadLayerOption = None,
    token_column: TokenColumnOption = 0,
    tag_column: TagColumnOption = -1,
    base: BaseOption,
    store: StoreOption,
    device: DeviceOption,
    dtype: DtypeOption,
    any_base: AnyBaseOption = False,
    precision: PrecisionOption = None,
    recompute: RecomputeOption = False,
    compile_layers: CompileOption = False,
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
        warmup=warmup,
        patience=patience,
        seed=seed,
        precision=precision,
        recompute=recompute,
        compile=compile_layers,
    )
    from polygraft.recipe.single import Order

    order = Order(
        name=name,
        objective="tokens",
        train=train,
        dev=dev,
        under=under,
        settings=settings,
        reduction=reduction,
        skip_layers=tuple(skip_layers or ()),
        head_layer=head_layer,
        token_column=token_column,
        tag_column=tag_column,
    )
    _train(
        order,
        base=base,
        store=store,
        device=device,
        dtype=dtype,
        any_base=any_base,
        trackers=tracker or (),
        as_json=as_json,
    )


def train_sequence(
    *,
    name: NameOption,
    train: LabelledFile,
    dev: DevOption = None,
    under: UnderOption = None,
    steps: StepsOption = None,
    epochs: EpochsOption = None,
    lr: LrOption = DEFAULT_LABELS_LR,
    head_lr_factor: HeadLrFactorOption = DEFAULT_HEAD_LR_FACTOR,
    batch_tokens: BatchTokensOption = 2048,
    warmup: WarmupOption = 0.06,
    patience: PatienceOption = None,
    seed: SeedOption = 0,
    reduction: ReductionOption = 16,
    skip_layers: SkipOption = None,
    head_layer: HeadLayerOption = None,
    base: BaseOption,
    store: StoreOption,
    device: DeviceOption,
    dtype: DtypeOption,
    any_base: AnyBaseOption = False,
    precision: PrecisionOption = None,
    recompute: RecomputeOption = False,
    compile_layers: CompileOption = False,
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
        warmup=warmup,
        patience=patience,
        seed=seed,
        precision=precision,
        recompute=recompute,
        compile=compile_layers,
    )
    from polygraft.recipe.single import Order

    order = Order(
        name=name,
        objective="sequence",
        train=train,
        dev=dev,
        under=under,
        settings=settings,
        reduction=reduction,
        skip_layers=tuple(skip_layers or ()),
        head_layer=head_layer,
    )
    _train(
        order,
        base=base,
        store=store,
        device=device,
        dtype=dtype,
        any_base=any_base,
        trackers=tracker or (),
        as_json=as_json,
    )


def _train(
    order: Order,
    *,
    base: str,
    store: Path,
    device: str,
    dtype: str,
    any_base: bool,
    trackers: Sequence[str],
    as_json: bool,
) -> None:
    """Train a graft with its progress on standard error, and show what it became."""
    from polygraft.recipe.single import train_graft
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store

    check_before(trackers)
    loaded = open_base(base, device=device, dtype=dtype)
    stored: Manifest | None = None
    num_steps = 0
    with stop_on_signals() as should_stop, make_display() as display, track_order(order, trackers) as tracker:
        display.begin(f"Training '{order.name}' ({order.objective}) on {order.train} ...", name=order.name)
        for item in train_graft(
            loaded,
            order,
            store=Store(store),
            any_base=any_base,
            should_stop=should_stop,
            notify=display.note,
        ):
            if isinstance(item, Manifest):
                stored = item
            else:
                num_steps = item.number
                display.advance(item)
                tracker.log(item, run=order.name)
    assert stored is not None
    if not load_launch().is_first:
        return
    if num_steps == 0:
        say(f"This very graft was trained before: it is version {stored.version} of '{stored.name}'.")
    if as_json:
        write_json(summarise(stored))
    else:
        show_manifest(stored)
