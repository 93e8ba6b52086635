"""Tables of a TOML file become dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from polygraft.errors import RecipeError
from polygraft.recipe.tables import read_table, read_value


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3


@dataclass(frozen=True, kw_only=True)
class Outer:
    path: Path
    rate: float = 0.5
    layers: tuple[int, ...] = ()
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)
    files: Mapping[str, Path] = field(default_factory=dict)


def test_a_table_becomes_a_dataclass_with_its_defaults():
    assert read_table(Outer, {"path": "a/b"}, where="x") == Outer(path=Path("a/b"))
    table = {"path": "a", "rate": 1, "layers": [1, 2], "limit": 4, "inner": {"size": 5}, "files": {"en": "f"}}
    found = read_table(Outer, table, where="x")
    assert found == Outer(
        path=Path("a"), rate=1.0, layers=(1, 2), limit=4, inner=Inner(size=5), files={"en": Path("f")}
    )
    assert isinstance(found.rate, float)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({}, "The recipe lacks x.path. [x] needs it. Add it."),
        ({"path": 3}, "The recipe has x.path = 3. Expected a path in quotes. Correct the value."),
        ({"path": "", "rate": "1"}, "The recipe has x.rate = '1'. Expected a number. Correct the value."),
        ({"path": "", "rate": True}, "The recipe has x.rate = True. Expected a number. Correct the value."),
        (
            {"path": "", "layers": [1, "2"]},
            "The recipe has x.layers = '2'. Expected a whole number. Correct the value.",
        ),
        (
            {"path": "", "limit": 1.5},
            "The recipe has x.limit = 1.5. Expected a whole number. Correct the value.",
        ),
        ({"path": "", "files": 3}, "The recipe has x.files = 3. Expected a table. Correct the value."),
        (
            {"path": "", "files": {"en": 3}},
            "The recipe has x.files.en = 3. Expected a path in quotes. Correct the value.",
        ),
        (
            {"path": "", "inner": 3},
            "'x.inner' is 3. Expected a table. Write it as [x.inner] with keys below it.",
        ),
        (
            {"path": "", "inner": {"sise": 3}},
            "The recipe has x.inner.sise, which means nothing. Keys of [x.inner] are size. Did you mean 'size'? "
            "Correct the name.",
        ),
    ],
)
def test_what_does_not_fit_is_said(table: dict[str, Any], sentence: str):
    with pytest.raises(RecipeError) as caught:
        read_table(Outer, table, where="x")
    assert str(caught.value) == sentence


def test_a_choice_is_one_of_its_words():
    hint = Literal["a", "b"]
    assert read_value(hint, "b", where="x.kind") == "b"
    with pytest.raises(RecipeError) as caught:
        read_value(hint, "c", where="x.kind")
    assert str(caught.value) == "The recipe has x.kind = 'c'. Expected one of 'a', 'b'. Correct the value."
