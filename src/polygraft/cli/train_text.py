"""`polygraft train mlm` and `train causal`: one graft from plain text into a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

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
from polygraft.cli.reading import FormatOption, TextColumnOption, make_reading
from polygraft.cli.tracking import TrackerOption
from polygraft.cli.train_options import (
    AccumulateOption,
    BatchTokensOption,
    CheckpointEveryOption,
    CompileOption,
    DevOption,
    DropoutOption,
    EpochsOption,
    FromLayerOption,
    HeadLayerOption,
    LrOption,
    NameOption,
    NegativesOption,
    PatienceOption,
    PrecisionOption,
    RecomputeOption,
    ReductionOption,
    RowsOption,
    SeedOption,
    SkipOption,
    StepsOption,
    UnderOption,
    VocabularyOption,
    WarmupOption,
)
from polygraft.train.settings import CHECKPOINT_EVERY, NUM_NEGATIVES, TrainSettings

DEFAULT_STEPS = 600
REDUCTION = 2.0

TextFile = Annotated[
    Path,
    typer.Option(
        "--train", metavar="FILE", help="Plain text, a sentence or paragraph a line, a table or a dataset."
    ),
]
InvertibleOption = Annotated[
    bool, typer.Option("--invertible", help="Add an invertible part to the embeddings (MAD-X).")
]


def _make_command(objective: Literal["mlm", "causal"], *, about: str) -> Callable[..., None]:
    """Make the command that trains a language graft on plain text by an objective; both have the same options."""

    def train_text(
        *,
        name: NameOption,
        train: TextFile,
        dev: DevOption = None,
        under: UnderOption = None,
        steps: StepsOption = None,
        epochs: EpochsOption = None,
        lr: LrOption = 5e-4,
        batch_tokens: BatchTokensOption = 2048,
        accumulate: AccumulateOption = 1,
        warmup: WarmupOption = 0.06,
        dropout: DropoutOption = False,
        patience: PatienceOption = None,
        checkpoint_every: CheckpointEveryOption = CHECKPOINT_EVERY,
        seed: SeedOption = 0,
        part: PartOption = None,
        option: PartOptionsOption = None,
        reduction: ReductionOption = REDUCTION,
        skip_layers: SkipOption = None,
        from_layer: FromLayerOption = None,
        invertible: InvertibleOption = False,
        negatives: NegativesOption = NUM_NEGATIVES,
        vocabulary: VocabularyOption = "corpus",
        rows: RowsOption = "sentences",
        head_layer: HeadLayerOption = None,
        data_format: FormatOption = None,
        text_column: TextColumnOption = None,
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
        settings = TrainSettings(
            steps=DEFAULT_STEPS if steps is None and epochs is None else steps,
            epochs=epochs,
            lr=lr,
            batch_tokens=batch_tokens,
            accumulate=accumulate,
            warmup=warmup,
            dropout=dropout,
            patience=patience,
            checkpoint_every=checkpoint_every,
            seed=seed,
            precision=precision,
            recompute=recompute,
            compile=compile_layers,
        )
        names = read_part(part, from_text=True)
        from polygraft.recipe.order import Order

        order = Order(
            name=name,
            objective=objective,
            train=train,
            dev=dev,
            under=under,
            settings=settings,
            part=names,
            options=read_part_options(option, part=names, reduction=reduction, usual=REDUCTION),
            reduction=reduction,
            skip_layers=tuple(skip_layers or ()),
            from_layer=from_layer,
            invertible=invertible,
            negatives=negatives,
            vocabulary=vocabulary,
            rows=rows,
            head_layer=head_layer,
            reading=make_reading(data_format, text_column=text_column),
        )
        carry_out(
            order,
            base=base,
            store=store,
            device=device,
            dtype=dtype,
            any_base=any_base,
            log=log,
            trackers=tracker or (),
            as_json=as_json,
        )

    train_text.__doc__ = about
    return train_text


train_mlm = _make_command(
    "mlm",
    about="Train a language graft by masked language modelling on plain text, on a base that sees whole rows.",
)
train_causal = _make_command(
    "causal",
    about="Train a language graft by guessing the next piece of plain text, on a base that reads from left to right.",
)
