"""What the grafts of a recipe are called; test_read.py has names that are refused in whole recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from polygraft.errors import RecipeError
from polygraft.recipe.data import TaskData
from polygraft.recipe.names import check_names, check_run_name, check_tasks, list_grafts
from polygraft.store.fields import shown


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_language_may_be_called_as_a_task_where_it_makes_no_graft(is_packed: bool):
    grafts = list_grafts(["qu"], ["ner", "QU"], is_packed=is_packed)
    if is_packed:
        check_names(grafts)
        return
    with pytest.raises(RecipeError) as caught:
        check_names(grafts)
    assert str(caught.value) == (
        "[task.QU] would make a graft called 'QU', and so would another step. Rename the table."
    )


def test_packed_tasks_of_one_name_are_refused():
    with pytest.raises(RecipeError) as caught:
        check_names(list_grafts([], ["ner", "NER"], is_packed=True))
    assert str(caught.value) == (
        "[task.NER] would make a graft called 'NER', and so would another step. Rename the table."
    )


def make_task(source: str, *, task: str = "") -> TaskData:
    return TaskData(source=source, task=task, train=Path("train"), dev=Path("dev"), test={})


def test_two_tasks_that_results_would_not_tell_apart_are_refused():
    with pytest.raises(RecipeError) as caught:
        check_tasks({"ner": make_task("en"), "more": make_task("en", task="ner")})
    assert str(caught.value) == (
        "[task.ner] and [task.more] are both called 'ner' in results and learn from 'en', so that their scores could "
        "not be told apart. Expected another name or another source for each. Give one of them another `task`."
    )
    check_tasks({"ner": make_task("en"), "more": make_task("qu", task="ner"), "pos": make_task("en")})


@pytest.mark.parametrize("name", ["mi receta ñ", "", "a..b", "a/b", "x" * 65])
def test_what_cannot_name_a_runs_folder_is_said_of_the_run(name: str):
    with pytest.raises(RecipeError) as caught:
        check_run_name(name)
    assert str(caught.value) == (
        f"{shown(name)} cannot be a run's name, which is the recipe's key `name`, or the name of its file where it has "
        "none. Expected 1 to 64 of the characters A-Z a-z 0-9 _ . -, with a letter or digit first and no two dots in a "
        'row. Write name = "..." at the top of the recipe, or rename the file.'
    )
