"""`polygraft prune`: a graft that changes or prunes the base's own weights."""

from __future__ import annotations

from polygraft.cli.carry_out import carry_out_method
from polygraft.cli.options import (
    AnyBaseOption,
    BaseOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    LogOption,
    StoreOption,
    TagColumnOption,
    TokenColumnOption,
)
from polygraft.cli.prune_options import (
    STRUCTURED,
    ChoiceOption,
    CompactOption,
    CriterionOption,
    DensityOption,
    InitOption,
    L1Option,
    LevelsOption,
    MethodArgument,
    ObjectiveOption,
    PenaltyOption,
    RetrainOption,
    RewindOption,
    ScheduleOption,
    ScopeOption,
    ScoreBatchesOption,
    ScoreLrOption,
    SkipWeightsOption,
    SparsitiesOption,
    SparsityOption,
    ThresholdOption,
    TrainFileOption,
    UnitsOption,
    ValuesOption,
    WeightsOption,
    make_method,
)
from polygraft.cli.tracking import TrackerOption
from polygraft.cli.train_options import (
    AccumulateOption,
    BatchTokensOption,
    DevOption,
    EpochsOption,
    HeadLayerOption,
    HeadLrFactorOption,
    LrOption,
    NameOption,
    NegativesOption,
    PatienceOption,
    PrecisionOption,
    RecomputeOption,
    SeedOption,
    StepsOption,
    UnderOption,
    VocabularyOption,
    WarmupOption,
    WeightDecayOption,
)
from polygraft.errors import OptionError
from polygraft.train.settings import NUM_NEGATIVES, TrainSettings

DEFAULT_EPOCHS = 5
DEFAULT_LR = 2e-4
DEFAULT_HEAD_LR_FACTOR = 50.0
"""Heads learn at the rate that they have beside bottlenecks: weights of the base learn at a fiftieth of it."""


def prune(
    *,
    method: MethodArgument,
    name: NameOption,
    objective: ObjectiveOption = "tokens",
    train: TrainFileOption,
    dev: DevOption = None,
    under: UnderOption = None,
    weights: WeightsOption = None,
    skip_layers: SkipWeightsOption = None,
    values: ValuesOption = None,
    sparsity: SparsityOption = None,
    scope: ScopeOption = None,
    levels: LevelsOption = None,
    schedule: ScheduleOption = None,
    sparsities: SparsitiesOption = None,
    criterion: CriterionOption = None,
    score_batches: ScoreBatchesOption = None,
    rewind: RewindOption = None,
    retrain: RetrainOption = None,
    density: DensityOption = None,
    l1: L1Option = None,
    choice: ChoiceOption = None,
    units: UnitsOption = None,
    compact: CompactOption = None,
    init: InitOption = None,
    threshold: ThresholdOption = None,
    score_lr_factor: ScoreLrOption = None,
    penalty: PenaltyOption = None,
    steps: StepsOption = None,
    epochs: EpochsOption = None,
    lr: LrOption = DEFAULT_LR,
    head_lr_factor: HeadLrFactorOption = DEFAULT_HEAD_LR_FACTOR,
    batch_tokens: BatchTokensOption = 2048,
    accumulate: AccumulateOption = 1,
    warmup: WarmupOption = 0.06,
    weight_decay: WeightDecayOption = 0.0,
    patience: PatienceOption = None,
    seed: SeedOption = 0,
    negatives: NegativesOption = NUM_NEGATIVES,
    vocabulary: VocabularyOption = "corpus",
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
    log: LogOption = None,
    tracker: TrackerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a graft by pruning or sparsely changing the base's own weights.

    METHOD is imp (iterative magnitude pruning), lt-sft (sparse fine-tuning), piggyback (a learned binary mask),
    packnet (another task in the weights that are free), movement (movement pruning), or structured (whole heads or
    neurons). Each phase of a method takes --epochs or --steps.
    """
    settings = TrainSettings(
        steps=steps,
        epochs=DEFAULT_EPOCHS if steps is None and epochs is None else epochs,
        lr=lr,
        head_lr_factor=head_lr_factor,
        batch_tokens=batch_tokens,
        accumulate=accumulate,
        warmup=warmup,
        weight_decay=weight_decay,
        patience=patience,
        seed=seed,
        precision=precision,
        recompute=recompute,
    )
    given = {
        "weights": None if weights is None else tuple(weights),
        "dtype": values,
        "sparsity": sparsity,
        "scope": scope,
        "levels": levels,
        "schedule": schedule,
        "sparsities": sparsities,
        "criterion": criterion,
        "num_batches": score_batches,
        "rewind": rewind,
        "retrain": retrain,
        "density": density,
        "l1": l1,
        "choice": choice,
        "units": units,
        "init": init,
        "threshold": threshold,
        "score_lr_factor": score_lr_factor,
        "penalty": penalty,
    }
    chosen = make_method(method, given)
    if compact is not None and method != STRUCTURED:
        raise OptionError(
            f"The method '{method}' has no --compact: it removes single weights, and a base without them would be as "
            "large. Expected structured. Leave --compact out."
        )
    from polygraft.recipe.order import Order
    from polygraft.recipe.single_sparse import SparseOrder

    order = Order(
        name=name,
        objective=objective,
        train=train,
        dev=dev,
        under=under,
        settings=settings,
        reduction=0,
        skip_layers=tuple(skip_layers or ()),
        negatives=negatives,
        vocabulary=vocabulary,
        head_layer=head_layer,
        token_column=token_column,
        tag_column=tag_column,
        cache="off",
    )
    carry_out_method(
        SparseOrder(order=order, method=chosen),
        base=base,
        store=store,
        device=device,
        dtype=dtype,
        any_base=any_base,
        log=log,
        trackers=tracker or (),
        compact=compact,
        as_json=as_json,
    )
