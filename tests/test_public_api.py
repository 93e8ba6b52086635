"""The fence around the public names: adding or removing one is done on purpose."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

import polygraft

PUBLIC = [
    "IA3",
    "Attachment",
    "Base",
    "BitFit",
    "Bottleneck",
    "Fusion",
    "Graft",
    "Head",
    "Invertible",
    "Lora",
    "PolygraftError",
    "Prefix",
    "Store",
    "average",
    "fuse",
    "language_graft",
    "load_base",
    "load_recipe",
    "make_graft",
    "merge",
    "parallel",
    "parse_plan",
    "predict_tags",
    "predict_texts",
    "route",
    "run_recipe",
    "score_tags",
    "stack",
    "task_graft",
]


def test_the_public_names_are_these():
    assert polygraft.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_loads_and_has_a_docstring(name: str):
    found = getattr(polygraft, name)
    assert found.__name__ == name
    assert found is vars(import_module(found.__module__))[name]
    assert found.__doc__


def test_every_public_name_can_be_imported_at_once():
    names: dict[str, object] = {}
    exec("from polygraft import *", names)
    assert sorted(names.keys() - {"__builtins__"}) == sorted(PUBLIC)


def test_no_public_name_is_that_of_a_folder_or_file():
    # Importing it would put it in the name's place.
    names = {path.stem for path in Path(str(polygraft.__file__)).parent.iterdir()}
    assert sorted(names & set(PUBLIC)) == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError) as caught:
        _ = polygraft.grafts  # pyright: ignore[reportAttributeAccessIssue]
    assert str(caught.value) == "module 'polygraft' has no attribute 'grafts'"
