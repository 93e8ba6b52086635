"""What the grafts of a recipe are called; test_read.py has names that are refused in whole recipes."""

from __future__ import annotations

import pytest

from polygraft.errors import RecipeError
from polygraft.recipe.names import check_names, list_grafts


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
