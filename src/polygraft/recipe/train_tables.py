"""What a recipe may say of training: one dataclass a table below `[train]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from polygraft.errors import OptionError
from polygraft.recipe.learned import PartNames, list_kinds, list_names, spread_options, write_names
from polygraft.recipe.methods import BOTTLENECK, Method, PackNet, Sequential, read_method
from polygraft.recipe.tables import check_value
from polygraft.train.settings import CACHE_GIB, CHECKPOINT_EVERY, NUM_NEGATIVES, TrainSettings
from polygraft.types import TextRows

DEFAULT_EPOCHS = 5
OF_BOTTLENECKS = ("reduction", "placement", "activation", "semantics")
"""Keys of `[train.task]` and `[train.language]` that mean nothing for other parts."""


@dataclass(frozen=True, kw_only=True)
class MlmSettings:
    """`[train.mlm]`: the graft `mlm` for a base that has no masked-LM head of its own.

    It is a head with a bottleneck in the upper layers, learned from the text of all languages. It restores what such
    a base needs for guessing pieces, above the language grafts, so that these have only their language to learn.
    """

    steps: int = 1000
    """Updates on the text of all languages together."""
    batch_tokens: int = 2048
    accumulate: int = 1
    """Batches an update."""
    lr: float = 1e-3
    from_layer: int | None = None
    """The first layer with a bottleneck; language grafts stand below it. None is two thirds of the way up."""
    layer: int = -1
    """After how many layers the head reads; -1 is the last."""
    reduction: float = 2
    """Of the bottleneck in the upper layers; 0 trains the head alone, and language grafts stand below it."""
    mask_rate: float = 0.3
    dropout: bool = False
    """Whether the base drops values by chance while the graft is trained, as its configuration says."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        is_fine = self.layer == -1 or self.layer >= 1
        check_value("train.mlm.layer", self.layer, is_fine=is_fine, expected="-1 for all, or 1 or more")
        first = self.from_layer
        is_fine = first is None or (first >= 1 and (self.layer == -1 or first < self.layer))
        check_value(
            "train.mlm.from_layer",
            first,
            is_fine=is_fine,
            expected="1 or more, and less than train.mlm.layer",
        )
        check_value("train.mlm.reduction", self.reduction, is_fine=self.reduction >= 0, expected="0 or more")
        _check_mask_rate("train.mlm", self.mask_rate)

    def plan_training(self, *, seed: int) -> TrainSettings:
        """Say how the loop is to train."""
        return TrainSettings(
            steps=self.steps,
            batch_tokens=self.batch_tokens,
            accumulate=self.accumulate,
            lr=self.lr,
            dropout=self.dropout,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class LanguageSettings:
    """`[train.language]`: one graft a language, by masked language modelling."""

    steps: int = 600
    batch_tokens: int = 2048
    accumulate: int = 1
    """Batches an update."""
    lr: float = 5e-4
    part: PartNames = BOTTLENECK
    """What the language learns with: a bottleneck, or another part or several in its place."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The options of parts that are no bottlenecks."""
    reduction: float = 2
    """Hidden size over width of the bottleneck."""
    invertible: bool = False
    """Whether the embeddings get an invertible part."""
    strength: float = 1.0
    """What the corrections of a trained language graft are multiplied by when tasks are trained and scored. Below 1
    it stays nearer to the base, whose languages are aligned with each other."""
    source_share: float = 0.0
    """Share of the tokens that is text of the tasks' source language instead of the graft's own."""
    mask_rate: float = 0.15
    vocabulary: Literal["corpus", "full"] = "corpus"
    """Pieces that are scored: those of the text and some others (fast), or all (exact)."""
    negatives: int | None = None
    """Pieces that the text does not have and that are scored beside its own, others in every batch; None is 1,024
    beside the vocabulary `corpus`."""
    max_length: int = 128
    """Longest row in tokens; longer lines are cut into several rows."""
    rows: TextRows = "sentences"
    """How the text becomes rows to learn from, also for the graft `mlm`: a line a row, or lines one after the other
    with the tokenizer's separator between them, cut into rows of `max_length`. Held-out text is measured a line a row
    in any case."""
    held_out: int = 300
    """Lines kept apart to measure the loss on."""
    warmup: float = 0.06
    """Share of the updates over which the learning rate rises."""
    weight_decay: float = 0.0
    dropout: bool = False
    """Whether the base drops values by chance while the grafts are trained, as its configuration says."""
    patience: int | None = None
    """Stop after so many held-out losses without a smaller one."""
    method: str = BOTTLENECK
    """What the graft is: a bottleneck, or a sparse change of the base's weights by a method such as `lt-sft`."""
    pruning: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The method's own settings."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_value(
            "train.language.reduction",
            self.reduction,
            is_fine=self.reduction > 0,
            expected="a number above 0",
        )
        share = self.source_share
        check_value(
            "train.language.source_share",
            share,
            is_fine=0 <= share < 1,
            expected="a share from 0 up to (but not) 1",
        )
        check_value(
            "train.language.max_length", self.max_length, is_fine=self.max_length >= 8, expected="8 or more"
        )
        check_value(
            "train.language.held_out", self.held_out, is_fine=self.held_out >= 1, expected="1 or more"
        )
        check_value(
            "train.language.negatives",
            self.negatives,
            is_fine=(self.negatives or 0) >= 0,
            expected="0 or more",
        )
        is_fine = not self.negatives or self.vocabulary == "corpus"
        check_value(
            "train.language.negatives",
            self.negatives,
            is_fine=is_fine,
            expected="0 beside vocabulary = 'full', which scores all pieces",
        )
        _check_mask_rate("train.language", self.mask_rate)
        self.find_method()
        kinds = _check_part(self, table="train.language")
        is_fine = not self.invertible or "invertible" not in kinds
        expected = f"false beside part = {write_names(self.part)}, which has such a part"
        check_value("train.language.invertible", "true", is_fine=is_fine, expected=expected)

    def find_method(self) -> Method | None:
        """Give the method that changes weights, or None for bottlenecks."""
        return read_method(self.method, self.pruning, where="train.language", can_pack=False)

    @property
    def has_strength(self) -> bool:
        """Whether what the graft adds can be multiplied."""
        kinds = list_kinds(self.part, from_text=True)
        lora = spread_options(kinds, self.options).get("lora", {})
        return set(kinds) <= {BOTTLENECK, "lora"} and not lora.get("dora")

    @property
    def num_negatives(self) -> int:
        """How many pieces that the text does not have are scored in each batch."""
        if self.vocabulary == "full":
            return 0
        return NUM_NEGATIVES if self.negatives is None else self.negatives

    def plan_training(self, *, seed: int) -> TrainSettings:
        """Say how the loop is to train."""
        return TrainSettings(
            steps=self.steps,
            batch_tokens=self.batch_tokens,
            accumulate=self.accumulate,
            lr=self.lr,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            patience=self.patience,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """`[train.task]`: one graft a task, on the source language's labels."""

    epochs: int | None = None
    """Passes over the labelled data; 5 if neither this nor `steps` is given."""
    steps: int | None = None
    batch_tokens: int = 2048
    lr: float = 1e-3
    head_lr_factor: float = 10.0
    """What the learning rate of the head is multiplied by: the bundled base's hidden states are small."""
    part: PartNames = BOTTLENECK
    """What the task learns with: a bottleneck, or another part or several in its place."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The options of parts that are no bottlenecks."""
    reduction: float = 16
    skip_layers: tuple[int, ...] = ()
    """Layers without a bottleneck (AdapterDrop); MAD-X 2.0 leaves out the last."""
    placement: Literal["ffn", "attention+ffn", "parallel"] = "ffn"
    """Where the bottleneck stands in a layer: Pfeiffer's, Houlsby's, or parallel to the feed-forward."""
    activation: str = "relu"
    """Name of the activation between its two projections."""
    semantics: Literal["adapterhub", "paper"] = "adapterhub"
    ready_for: Literal["source", "targets"] = "targets"
    """What is under it in training, one choice a batch: the source's language graft alone (MAD-X), or also those
    of all languages that are tested (target-language-ready, Parovic et al. 2023), and none."""
    under_strength: float = 1.0
    """What the corrections of the language grafts are multiplied by while the task is trained over them. With
    languages stored at strength 0.5, 2 trains over the whole grafts and uses the halved ones."""
    source_weight: float = 0.0
    """Weight of the source's language graft in the mean, with the target's own, that stands under the task where a
    target is scored; 0 is the own graft alone."""
    warmup: float = 0.06
    """Share of the updates over which the learning rate rises."""
    weight_decay: float = 0.0
    dropout: bool = False
    """Whether the base drops values by chance while the grafts are trained, as its configuration says; then nothing is
    kept for later epochs."""
    patience: int | None = None
    """Stop after so many scores on dev without a better one."""
    accumulate: int = 1
    """Batches an update."""
    cache: Literal["exact", "half", "off"] = "exact"
    """Whether what stands below the task's first bottleneck is kept for later epochs: with the same numbers to the bit,
    in float16, or not."""
    cache_gib: float = CACHE_GIB
    """Gigabytes (2**30 bytes) of it in memory; the rest lies in memory-mapped files in the run's folder, but for what
    stands below a bottleneck in the lowest layer."""
    method: str = BOTTLENECK
    """What the graft is: a bottleneck, or a sparse change of the base's weights by a method such as `lt-sft`."""
    pruning: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The method's own settings."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_value(
            "train.task.reduction", self.reduction, is_fine=self.reduction > 0, expected="a number above 0"
        )
        factor = self.head_lr_factor
        check_value("train.task.head_lr_factor", factor, is_fine=factor > 0, expected="a number above 0")
        weight = self.source_weight
        is_fine = 0 <= weight < 1
        expected = "a share from 0 up to (but not) 1"
        check_value("train.task.source_weight", weight, is_fine=is_fine, expected=expected)
        is_fine = 0 <= self.cache_gib < float("inf")
        check_value("train.task.cache_gib", self.cache_gib, is_fine=is_fine, expected="0 or more")
        self.find_method()
        _check_part(self, table="train.task")

    def find_method(self) -> Method | None:
        """Give the method that changes weights, or None for bottlenecks."""
        return read_method(self.method, self.pruning, where="train.task", can_pack=True)

    @property
    def packs(self) -> bool:
        """Whether tasks are packed one after the other into one set of weights, over no language graft."""
        return self.method == PackNet.kind

    @property
    def goes_on(self) -> bool:
        """Whether each task begins with what the one before left."""
        return self.method == Sequential.kind

    def plan_training(self, *, seed: int) -> TrainSettings:
        """Say how the loop is to train."""
        return TrainSettings(
            steps=self.steps,
            epochs=DEFAULT_EPOCHS if self.epochs is None and self.steps is None else self.epochs,
            batch_tokens=self.batch_tokens,
            lr=self.lr,
            head_lr_factor=self.head_lr_factor,
            accumulate=self.accumulate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            seed=seed,
            patience=self.patience,
        )


@dataclass(frozen=True, kw_only=True)
class TrainTables:
    """`[train]`: how all steps are trained."""

    precision: Literal["bfloat16", "float16"] | None = None
    """Number format of the products of training; none is the base's."""
    recompute: bool = False
    """Whether layers are run again for the gradients, to need less memory."""
    compile: bool = False
    """Whether PyTorch compiles the base's layers first."""
    checkpoint_every: int = CHECKPOINT_EVERY
    """Updates between checkpoints."""
    mlm: MlmSettings = field(default_factory=MlmSettings)
    language: LanguageSettings = field(default_factory=LanguageSettings)
    task: TaskSettings = field(default_factory=TaskSettings)

    def __post_init__(self) -> None:
        """Refuse a strength that cannot be meant."""
        strengths = {
            "train.language.strength": self.language.strength,
            "train.task.under_strength": self.task.under_strength,
        }
        for name, strength in strengths.items():
            is_fine = 0 < strength < float("inf")
            check_value(name, strength, is_fine=is_fine, expected="a number above 0")
            is_fine = strength == 1 or self.language.has_strength
            expected = (
                f"1 beside train.language.part = {write_names(self.language.part)}: only what bottlenecks and LoRA "
                "without DoRA add can be multiplied"
            )
            check_value(name, strength, is_fine=is_fine, expected=expected)

    def plan_training(
        self, table: MlmSettings | LanguageSettings | TaskSettings, *, seed: int
    ) -> TrainSettings:
        """Say how the loop is to train the grafts of one of the tables."""
        planned = table.plan_training(seed=seed)
        return replace(
            planned,
            precision=self.precision,
            recompute=self.recompute,
            compile=self.compile,
            checkpoint_every=self.checkpoint_every,
        )


def _check_mask_rate(table: str, rate: float) -> None:
    check_value(f"{table}.mask_rate", rate, is_fine=0 < rate <= 1, expected="a share above 0 and at most 1")


def _check_part(settings: LanguageSettings | TaskSettings, *, table: str) -> tuple[str, ...]:
    """Refuse what is said of other parts than those that learn, and give their kinds."""
    part, options = settings.part, settings.options
    try:
        kinds = list_kinds(part, from_text=isinstance(settings, LanguageSettings))
        given = spread_options(kinds, {} if part == BOTTLENECK else options)
    except OptionError as error:
        error.add_note(f"([{table}])")
        raise
    if part == BOTTLENECK:
        expected = "none beside part = 'bottleneck', whose options are keys of the table"
        check_value(f"{table}.options", dict(options) or None, is_fine=not options, expected=expected)
        return kinds
    is_fine, expected = settings.method == BOTTLENECK, f"none beside part = {write_names(part)}"
    check_value(f"{table}.method", settings.method, is_fine=is_fine, expected=expected)
    has_bottleneck = BOTTLENECK in list_names(part)
    for key in (each for each in fields(settings) if each.name in OF_BOTTLENECKS):
        value = vars(settings)[key.name]
        expected = f"it with part = 'bottleneck' only, and not with {write_names(part)}"
        is_fine = has_bottleneck or value == key.default
        check_value(f"{table}.{key.name}", value, is_fine=is_fine, expected=expected)
        again = given.get(BOTTLENECK, {}).get(key.name)
        expected = f"it as {table}.{key.name}"
        is_fine = not has_bottleneck or again is None
        check_value(f"{table}.options.{BOTTLENECK}.{key.name}", again, is_fine=is_fine, expected=expected)
    return kinds
