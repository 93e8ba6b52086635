"""What a recipe may say: one dataclass a table of the TOML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from polygraft.errors import OptionError, RecipeError
from polygraft.recipe.data import LanguageData, TaskData
from polygraft.recipe.learned import LearnedPart
from polygraft.recipe.methods import BOTTLENECK, Method, PackNet, read_method
from polygraft.recipe.names import check_names, list_grafts
from polygraft.store.manifest import check_name
from polygraft.train.settings import NUM_NEGATIVES, NUM_SEEDS, TrainSettings

OBJECTIVES = ("tokens", "sequence")
DEFAULT_EPOCHS = 5
OF_BOTTLENECKS = ("reduction", "placement", "activation", "semantics")
"""Keys of `[train.task]` that mean nothing for other parts."""


@dataclass(frozen=True, kw_only=True)
class MlmSettings:
    """`[train.mlm]`: the graft `mlm` for a base that has no masked-LM head of its own.

    It is a head with a bottleneck in the upper layers, learned from the text of all languages. It restores what such
    a base needs for guessing pieces, above the language grafts, so that these have only their language to learn.
    """

    steps: int = 1000
    """Updates on the text of all languages together."""
    batch_tokens: int = 2048
    lr: float = 1e-3
    from_layer: int | None = None
    """The first layer with a bottleneck; language grafts stand below it. None is two thirds of the way up."""
    layer: int = -1
    """After how many layers the head reads; -1 is the last."""
    reduction: float = 2
    """Of the bottleneck in the upper layers; 0 trains the head alone, and language grafts stand below it."""
    mask_rate: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        is_fine = self.layer == -1 or self.layer >= 1
        _check("train.mlm.layer", self.layer, is_fine=is_fine, expected="-1 for all, or 1 or more")
        first = self.from_layer
        is_fine = first is None or (first >= 1 and (self.layer == -1 or first < self.layer))
        _check(
            "train.mlm.from_layer",
            first,
            is_fine=is_fine,
            expected="1 or more, and less than train.mlm.layer",
        )
        _check("train.mlm.reduction", self.reduction, is_fine=self.reduction >= 0, expected="0 or more")
        _check_mask_rate("train.mlm", self.mask_rate)

    def plan_training(self, *, seed: int) -> TrainSettings:
        """Say how the loop is to train."""
        return TrainSettings(steps=self.steps, batch_tokens=self.batch_tokens, lr=self.lr, seed=seed)


@dataclass(frozen=True, kw_only=True)
class LanguageSettings:
    """`[train.language]`: one graft a language, by masked language modelling."""

    steps: int = 600
    batch_tokens: int = 2048
    lr: float = 5e-4
    reduction: float = 2
    """Hidden size over width."""
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
    held_out: int = 300
    """Lines kept apart to measure the loss on."""
    warmup: float = 0.06
    """Share of the updates over which the learning rate rises."""
    weight_decay: float = 0.0
    patience: int | None = None
    """Stop after so many held-out losses without a smaller one."""
    method: str = BOTTLENECK
    """What the graft is: a bottleneck, or a sparse change of the base's weights by a method such as `lt-sft`."""
    pruning: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The method's own settings."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        _check(
            "train.language.reduction",
            self.reduction,
            is_fine=self.reduction > 0,
            expected="a number above 0",
        )
        share = self.source_share
        _check(
            "train.language.source_share",
            share,
            is_fine=0 <= share < 1,
            expected="a share from 0 up to (but not) 1",
        )
        _check(
            "train.language.max_length", self.max_length, is_fine=self.max_length >= 8, expected="8 or more"
        )
        _check("train.language.held_out", self.held_out, is_fine=self.held_out >= 1, expected="1 or more")
        _check(
            "train.language.negatives",
            self.negatives,
            is_fine=(self.negatives or 0) >= 0,
            expected="0 or more",
        )
        is_fine = not self.negatives or self.vocabulary == "corpus"
        _check(
            "train.language.negatives",
            self.negatives,
            is_fine=is_fine,
            expected="0 beside vocabulary = 'full', which scores all pieces",
        )
        _check_mask_rate("train.language", self.mask_rate)
        self.find_method()

    def find_method(self) -> Method | None:
        """Give the method that changes weights, or None for bottlenecks."""
        return read_method(self.method, self.pruning, where="train.language", can_pack=False)

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
            lr=self.lr,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
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
    part: LearnedPart = BOTTLENECK
    """What the task learns with: a bottleneck, or `lora`, `ia3` or `bitfit` in its place."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The options of a part that is no bottleneck."""
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
    warmup: float = 0.06
    """Share of the updates over which the learning rate rises."""
    weight_decay: float = 0.0
    patience: int | None = None
    """Stop after so many scores on dev without a better one."""
    accumulate: int = 1
    """Batches an update."""
    cache: Literal["exact", "half", "off"] = "exact"
    """Whether the output of the layers below the task's first bottleneck is kept for later epochs: with the same
    numbers to the bit, in float16, or not."""
    cache_gib: float = 2.0
    """Gigabytes (2**30 bytes) of it in memory; the rest lies in memory-mapped files in the run's folder."""
    method: str = BOTTLENECK
    """What the graft is: a bottleneck, or a sparse change of the base's weights by a method such as `lt-sft`."""
    pruning: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The method's own settings."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        _check(
            "train.task.reduction", self.reduction, is_fine=self.reduction > 0, expected="a number above 0"
        )
        factor = self.head_lr_factor
        _check("train.task.head_lr_factor", factor, is_fine=factor > 0, expected="a number above 0")
        is_fine = 0 <= self.cache_gib < float("inf")
        _check("train.task.cache_gib", self.cache_gib, is_fine=is_fine, expected="0 or more")
        self.find_method()
        self._check_part()

    def _check_part(self) -> None:
        """Refuse what is said of another part than the one that learns."""
        if self.part == BOTTLENECK:
            _check(
                "train.task.options",
                dict(self.options) or None,
                is_fine=not self.options,
                expected="none beside part = 'bottleneck', whose options are keys of the table",
            )
            return
        _check(
            "train.task.method",
            self.method,
            is_fine=self.method == BOTTLENECK,
            expected=f"none beside part = '{self.part}'",
        )
        for of_bottlenecks in dataclasses.fields(self):
            name, value = of_bottlenecks.name, vars(self)[of_bottlenecks.name]
            if name in OF_BOTTLENECKS and value != of_bottlenecks.default:
                expected = f"it with part = 'bottleneck' only, and not with '{self.part}'"
                _check(f"train.task.{name}", value, is_fine=False, expected=expected)

    def find_method(self) -> Method | None:
        """Give the method that changes weights, or None for bottlenecks."""
        return read_method(self.method, self.pruning, where="train.task", can_pack=True)

    @property
    def packs(self) -> bool:
        """Whether tasks are packed one after the other into one set of weights, over no language graft."""
        return self.method == PackNet.kind

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
    mlm: MlmSettings = field(default_factory=MlmSettings)
    language: LanguageSettings = field(default_factory=LanguageSettings)
    task: TaskSettings = field(default_factory=TaskSettings)

    def plan_training(
        self, table: MlmSettings | LanguageSettings | TaskSettings, *, seed: int
    ) -> TrainSettings:
        """Say how the loop is to train the grafts of one of the tables."""
        planned = table.plan_training(seed=seed)
        return replace(planned, precision=self.precision, recompute=self.recompute, compile=self.compile)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole experiment."""

    name: str
    """Names the run's folder."""
    base: str = "bundled"
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    """`fastest` is bfloat16 where the processor has units for it; `int8` is float32 but for frozen forward products."""
    store: Path = Path("store")
    """Where the grafts go."""
    runs: Path = Path("runs")
    """Where the run's folder with results and report goes."""
    seed: int = 0
    languages: Mapping[str, LanguageData]
    tasks: Mapping[str, TaskData]
    train: TrainTables = field(default_factory=TrainTables)
    text: str = ""
    """The recipe as it was written, with what was set on the command line."""

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.runs / self.name

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before an hour of training has gone by."""
        is_fine = 0 <= self.seed < NUM_SEEDS
        _check("seed", self.seed, is_fine=is_fine, expected="0 or more, and less than 2**63")
        tables = {"mlm": self.train.mlm, "language": self.train.language, "task": self.train.task}
        for place, table in tables.items():
            try:
                self.train.plan_training(table, seed=self.seed)
            except OptionError as error:
                error.add_note(f"([train.{place}])")
                raise
        check_name(self.name)
        strength = self.train.language.strength
        is_fine = 0 < strength < float("inf")
        _check("train.language.strength", strength, is_fine=is_fine, expected="a number above 0")
        strength = self.train.task.under_strength
        is_fine = 0 < strength < float("inf")
        _check("train.task.under_strength", strength, is_fine=is_fine, expected="a number above 0")
        for name, language in self.languages.items():
            lines = language.max_lines
            is_fine = lines is None or lines >= 1
            _check(f"language.{name}.max_lines", lines, is_fine=is_fine, expected="1 or more")
        if self.train.task.packs and not self.tasks:
            raise RecipeError(
                "The recipe has train.task.method = 'packnet' and no task, so nothing would be packed. Expected at "
                "least one [task.NAME] with labelled data. Add one."
            )
        check_names(list_grafts(self.languages, self.tasks, is_packed=self.train.task.packs))
        for name, task in self.tasks.items():
            if task.source not in self.languages and not self.train.task.packs:
                known = ", ".join(self.languages) or "none"
                raise RecipeError(
                    f"[task.{name}] has source = '{task.source}', and there is no [language.{task.source}]. Languages "
                    f"of the recipe are: {known}. Add the table with a text file, or correct the source."
                )


def _check(name: str, value: object, *, is_fine: bool, expected: str) -> None:
    if not is_fine:
        raise RecipeError(f"The recipe has {name} = {value}. Expected {expected}. Correct the value.")


def _check_mask_rate(table: str, rate: float) -> None:
    _check(f"{table}.mask_rate", rate, is_fine=0 < rate <= 1, expected="a share above 0 and at most 1")
