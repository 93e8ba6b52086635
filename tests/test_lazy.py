"""Names that are loaded when they are first asked for."""

from __future__ import annotations

import sys

import pytest

from polygraft.lazy import make_lazy


def test_a_name_loads_the_file_that_defines_it_and_no_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    monkeypatch.delitem(sys.modules, "this", raising=False)
    load = make_lazy({"colorsys": ("rgb_to_hls", "rgb_to_yiq"), "this": ("s",)})
    assert "colorsys" not in sys.modules
    assert load("rgb_to_yiq") is vars(sys.modules["colorsys"])["rgb_to_yiq"]
    assert "this" not in sys.modules


def test_a_name_of_the_file_that_is_not_listed_is_an_attribute_error():
    with pytest.raises(AttributeError) as caught:
        make_lazy({"colorsys": ("rgb_to_yiq",)})("yiq_to_rgb")
    assert str(caught.value) == "module 'polygraft' has no attribute 'yiq_to_rgb'"
