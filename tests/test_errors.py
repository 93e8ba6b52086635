"""The tree of errors that is drawn at the top of its file is the one that the classes make."""

from __future__ import annotations

import re

import pytest

from polygraft import errors
from polygraft.errors import DataError, NotInStoreError, PolygraftError, StoreError, nearest

ROW = re.compile(r"^(?:[│├└─ ]*)(\w+Error)\s+(?:exit 1, HTTP )?(\d+)", re.MULTILINE)


def descend(kind: type[PolygraftError]) -> list[type[PolygraftError]]:
    return [kind, *(lower for child in kind.__subclasses__() for lower in descend(child))]


def test_the_drawing_shows_every_class_with_its_status():
    own = {kind for kind in descend(PolygraftError) if kind.__module__ == "polygraft.errors"}
    drawn = {name: int(status) for name, status in ROW.findall(str(errors.__doc__))}
    assert drawn == {kind.__name__: kind.http_status for kind in own}


def test_every_error_ends_the_command_with_1():
    assert {kind.exit_code for kind in descend(PolygraftError)} == {1}


def test_what_is_not_in_the_store_is_an_error_of_the_store():
    with pytest.raises(StoreError):
        raise NotInStoreError("It is not there.")


def test_a_note_follows_the_sentence():
    error = DataError("The file is empty.")
    error.add_note("(train.conll)")
    assert str(error) == "The file is empty. (train.conll)"


def test_the_nearest_name_is_asked_about_and_a_far_one_is_not():
    assert nearest("nre", ["ner", "pos"]) == " Did you mean 'ner'?"
    assert nearest("topic", ["ner", "pos"]) == ""
    assert nearest("ner", []) == ""
