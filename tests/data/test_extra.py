from __future__ import annotations

import pytest

from polygraft.data.extra import need
from polygraft.errors import MissingExtraError


def test_a_package_that_is_there_is_enough():
    need("json", extra="parquet", source="x")


def test_a_package_that_is_not_there_is_told_with_the_command_that_installs_it():
    with pytest.raises(MissingExtraError) as caught:
        need("no_such_package", extra="parquet", source="train.parquet")
    assert str(caught.value) == (
        "train.parquet cannot be read without the package no_such_package, which is not installed. Expected it beside "
        "polygraft. Install it: pip install 'polygraft[parquet]'"
    )
