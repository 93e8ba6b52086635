"""Finds out before an hour of training what would fail after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from polygraft.attach.attach import attach
from polygraft.attach.dropout import check_dropout
from polygraft.attach.graft import make_graft
from polygraft.attach.plan import stack_names
from polygraft.errors import OptionError, PolygraftError, RecipeError
from polygraft.evaluate.run import find_max_length
from polygraft.recipe.bench import find_shapes
from polygraft.recipe.control_grafts import check_last
from polygraft.recipe.corpus import find_labels
from polygraft.recipe.grafts import list_language_parts, list_mlm_parts, list_task_parts
from polygraft.recipe.methods import PackNet
from polygraft.recipe.packing import count_packed

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.parts.part import Part
    from polygraft.recipe.corpus import Corpus
    from polygraft.recipe.data import TaskData
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop


def check_recipe(recipe: Recipe, base: Base, corpus: Corpus) -> None:
    """Read every labelled file, and make every graft once, untrained; see that tasks that are packed find room.

    Raises:
        DataError: A file cannot be read as what it should be.
        OptionError: A part asks for what the base does not have, dropout does, or a task would find no free weight.
    """
    _check_dropout(recipe, base)
    if recipe.train.task.packs:
        _check_room(recipe, base)
    elif base.head is None:
        _check_parts(base, "[train.mlm]", "mlm", lambda: list_mlm_parts(recipe, base))
    if recipe.languages and recipe.train.task.packs:
        corpus.notify(
            f"The tasks are packed into one set of weights and stand over no language: the recipe's languages, "
            f"{', '.join(recipe.languages)}, get no grafts."
        )
    language: Graft | None = None
    if recipe.languages and not recipe.train.task.packs:
        name, place = next(iter(recipe.languages)), "[train.language]"
        language = _check_parts(base, place, name, lambda: list_language_parts(recipe, base))
        _check_length(recipe, base, num_taken=language.num_taken)
        check_last(recipe, base)
    for name, task in recipe.tasks.items():
        labels = _check_files(name, task, corpus)
        place = f"[train.task], for the labels of {task.train}"

        def list_parts(task: TaskData = task, labels: Sequence[str] = labels) -> Sequence[Part]:
            return list_task_parts(recipe, task, labels)

        _check_parts(base, place, name, list_parts, below=language)


def check_places(workshop: Workshop, jobs: Sequence[Job]) -> None:
    """See that the store and the run's folder can be made and written, and that the store takes the names.

    Raises:
        StoreError: The store cannot be changed, or holds a name that differs in capital letters only.
        RecipeError: The run's folder cannot be written.
    """
    workshop.store.prepare([job.graft for job in jobs if job.graft is not None])
    folder = workshop.recipe.folder
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
        # A run that is stopped while it is planned leaves nothing.
        for each in made:
            each.rmdir()
    except OSError as error:
        raise RecipeError(
            f"The run's folder {folder} cannot be written: {error.strerror or error}. Expected a folder with room that "
            "may be written. Change `runs`, or make room."
        ) from error


def _check_parts(
    base: Base,
    place: str,
    name: str,
    list_parts: Callable[[], Sequence[Part]],
    *,
    below: Graft | None = None,
) -> Graft:
    """Make a graft once, untrained, and put it in force alone and over the one that it is to stand on."""
    try:
        graft = make_graft(base, name, list_parts())
        for members in ([graft], *([] if below is None else [[below, graft]])):
            find_max_length(base, num_taken=sum(each.num_taken for each in members))
            attach(base, stack_names([each.name for each in members]), grafts=members).remove()
    except PolygraftError as error:
        error.add_note(f"({place})")
        raise
    return graft


def _check_length(recipe: Recipe, base: Base, *, num_taken: int) -> None:
    """Refuse rows of text that are too long for a base once a language's prompt stands before them."""
    places, length = base.num_positions, recipe.train.language.max_length
    if num_taken and places is not None and min(length, find_max_length(base)) + num_taken > places:
        raise RecipeError(
            f"The recipe has train.language.max_length = {length} and puts a prompt of {num_taken} before each row, "
            f"and the base '{base.name}' has {places} positions. Expected rows of at most {places - num_taken}. Lower "
            "it, or take a shorter prompt. ([train.language])"
        )


def _check_room(recipe: Recipe, base: Base) -> None:
    """Count what every task that is packed will take: that depends on no training."""
    settings = recipe.train.task
    method = settings.find_method()
    assert isinstance(method, PackNet)
    try:
        count_packed(method, find_shapes(base, method, skip_layers=settings.skip_layers), list(recipe.tasks))
    except PolygraftError as error:
        error.add_note("([train.task.pruning])")
        raise


def _check_dropout(recipe: Recipe, base: Base) -> None:
    """Refuse dropout in a table where the base has none."""
    tables = {"mlm": recipe.train.mlm, "language": recipe.train.language, "task": recipe.train.task}
    for name, table in tables.items():
        if table.dropout:
            try:
                check_dropout(base)
            except OptionError as error:
                error.add_note(f"([train.{name}])")
                raise


def _check_files(name: str, task: TaskData, corpus: Corpus) -> tuple[str, ...]:
    """Read the files of a task, and give the labels of its training file."""
    if not task.test:
        raise RecipeError(
            f"[task.{name}] has no test file, so nothing would be scored. Expected one for at least one language. Add "
            f'test.{task.source} = "FILE".'
        )
    for path in (task.dev, *task.test.values()):
        corpus.read_examples(task, path)
    return find_labels(corpus.read_examples(task, task.train), source=task.train)
