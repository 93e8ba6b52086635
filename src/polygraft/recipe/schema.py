"""What a recipe may say of a whole experiment and its data; `train_tables.py` has what it may say of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from polygraft.errors import OptionError, RecipeError
from polygraft.recipe.controls import check_controls
from polygraft.recipe.data import LanguageData, TaskData
from polygraft.recipe.kinds import needs_languages
from polygraft.recipe.methods import COPIES
from polygraft.recipe.names import DEFAULT, check_names, check_run_name, check_tasks, list_grafts
from polygraft.recipe.tables import check_value
from polygraft.recipe.train_tables import TrainTables
from polygraft.recipe.variants import MethodTable, Variant
from polygraft.train.settings import NUM_SEEDS


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
    seeds: tuple[int, ...] = ()
    """Several seeds, each trained; none is `seed` alone."""
    share_languages: bool = True
    """Whether all seeds use the language grafts of the first one."""
    forgetting: bool = False
    """Whether after each task all earlier ones are scored again."""
    controls: tuple[str, ...] = ()
    """What else is scored in place of the test language's own graft; none is nothing else."""
    text_losses: bool = False
    """Whether the loss of every language's text is measured, of the base and with each language graft."""
    methods: tuple[str, ...] = ()
    """Methods that are compared; none is what `[train]` says."""
    method: Mapping[str, MethodTable] = field(default_factory=dict[str, MethodTable])
    variant: Variant = DEFAULT
    """Which method and seed this is, of a recipe that compares."""
    languages: Mapping[str, LanguageData]
    tasks: Mapping[str, TaskData]
    train: TrainTables = field(default_factory=TrainTables)
    text: str = ""
    """The recipe as it was written, with what was set on the command line."""

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.runs / self.name

    @property
    def text_seed(self) -> int:
        """Where the random choices of masked-LM heads and language grafts come from."""
        return self.seed if self.variant.text_seed is None else self.variant.text_seed

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before an hour of training has gone by."""
        is_fine = 0 <= self.seed < NUM_SEEDS
        check_value("seed", self.seed, is_fine=is_fine, expected="0 or more, and less than 2**63")
        tables = {"mlm": self.train.mlm, "language": self.train.language, "task": self.train.task}
        for place, table in tables.items():
            try:
                self.train.plan_training(table, seed=self.seed)
            except OptionError as error:
                error.add_note(f"([train.{place}])")
                raise
        check_run_name(self.name)
        for name, language in self.languages.items():
            lines = language.max_lines
            is_fine = lines is None or lines >= 1
            check_value(f"language.{name}.max_lines", lines, is_fine=is_fine, expected="1 or more")
        if self.train.task.packs and not self.tasks:
            raise RecipeError(
                "The recipe has train.task.method = 'packnet' and no task, so nothing would be packed. Expected at "
                "least one [task.NAME] with labelled data. Add one."
            )
        if self.train.task.method in COPIES and not self.variant.is_copy:
            raise RecipeError(
                f"The recipe has train.task.method = '{self.train.task.method}', which makes no graft but a copy of "
                f'the base. Expected it among `methods`. Write methods = ["{self.train.task.method}"].'
            )
        packs, variant = self.train.task.packs, self.variant
        check_controls(self.controls)
        check_tasks(self.tasks)
        check_names(list_grafts(self.languages, self.tasks, variant=variant, is_packed=packs))
        is_over = needs_languages(methods=self.methods, tables=self.method, packs=packs)
        if not variant.is_over or not is_over:
            return
        for name, task in self.tasks.items():
            if task.source not in self.languages:
                known = ", ".join(self.languages) or "none"
                raise RecipeError(
                    f"[task.{name}] has source = '{task.source}', and there is no [language.{task.source}]. Languages "
                    f"of the recipe are: {known}. Add the table with a text file, or correct the source."
                )
