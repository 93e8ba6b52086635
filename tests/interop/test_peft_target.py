"""Which layers a configuration of PEFT is about, and patterns that are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from polygraft.errors import DataError
from polygraft.interop.options import Options
from polygraft.interop.peft_patterns import MOST_CHARACTERS, MOST_REPEATS, compile_end, compile_pattern
from polygraft.interop.peft_target import read_target

PLACES = ("attention.self.query", "attention.self.key", "attention.output.dense", "output.dense")
NAMES = [f"bert.encoder.layer.{layer}.{place}" for layer in range(12) for place in PLACES]


def find(saved: tuple[str, ...] = (), **values: Any) -> list[str]:
    target = read_target(Options(values, where="c.json"), num_layers=12, saved=saved)
    return [name for name in NAMES if target.covers(name)]


def matching(pattern: str) -> list[str]:
    return [name for name in NAMES if re.fullmatch(pattern, name)]


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        ({"target_modules": ["query"]}, ".*query"),
        ({"target_modules": ["self.key", "uery"]}, ".*key"),
        ({"target_modules": ["output.dense"]}, r".*output\.dense"),
        ({"target_modules": "all-linear"}, ".*"),
        ({"target_modules": "All-Linear", "exclude_modules": ["dense"]}, ".*(query|key)"),
        ({"target_modules": r".*\.1\..*(query|key)"}, r".*layer\.1\..*(query|key)"),
        # The whole name, not some of it.
        ({"target_modules": "layer"}, "none"),
        ({"target_modules": ["query"], "exclude_modules": r".*layer\.\d\..*"}, r".*layer\.1[01].*query"),
        ({"target_modules": ["query"], "layers_to_transform": [1, 11]}, r".*layer\.(1|11)\..*query"),
        ({"target_modules": ["query"], "layers_to_transform": 1}, r".*layer\.1\..*query"),
        ({"target_modules": ["query"], "layers_to_transform": []}, ".*query"),
        (
            {"target_modules": ["query"], "layers_to_transform": [2], "layers_pattern": "layer"},
            r".*layer\.2\..*query",
        ),
        (
            {"target_modules": ["query"], "layers_to_transform": [2], "layers_pattern": ["h", "l.yer"]},
            r".*layer\.2\..*query",
        ),
        ({"target_modules": ["query"], "layers_to_transform": [2], "layers_pattern": "block"}, "none"),
        # A name that is given whole counts whatever its layer is.
        (
            {"target_modules": ["query", NAMES[1]], "layers_to_transform": [2]},
            r".*layer\.(2\..*query|0\..*key)",
        ),
    ],
)
def test_the_layers_are_those_that_peft_finds(values: dict[str, Any], pattern: str):
    assert find(**values) == matching(pattern)


def test_what_was_trained_whole_has_nothing_beside_it():
    assert find(saved=("attention",), target_modules="all-linear") == matching(r".*\d\.output\.dense")
    assert find(saved=("atten",), target_modules="all-linear") == NAMES


@pytest.mark.parametrize(
    ("key", "name", "fits"),
    [
        ("query", "a.layer.1.query", True),
        ("query", "a.layer.1.myquery", False),
        ("^query", "a.query", False),
        ("^a.query", "a.query", True),
        (r"layer\.[12]\..*(query|key)", "a.layer.2.self.key", True),
        (r"layer\.[12]\..*(query|key)", "a.layer.12.self.key", False),
        ("query|key", "a.key", True),
        ("query$", "a.query", True),
    ],
)
def test_a_key_of_a_pattern_means_a_name_or_an_end_of_one(key: str, name: str, fits: bool):
    assert bool(compile_end(key, where="x").match(name)) is fits


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+",
        "(.*a)*b",
        "(?:x(y*)z)+",
        "((a{2,}))*",
        r"(\w+\.)+",
        "([ab)]*)+",
        "(a*){20}",
    ],
)
def test_what_repeats_what_repeats_is_refused(text: str):
    with pytest.raises(DataError) as caught:
        compile_pattern(text, where="c.json, rank_pattern")
    assert str(caught.value) == (
        f"c.json, rank_pattern has the pattern '{text}', which repeats what repeats without an end, so that a match "
        "can take for ever. Expected repetitions beside each other. Write the names of the layers as a list instead."
    )


@pytest.mark.parametrize(
    "text",
    [
        r".*\.layers\.\d+\..*(q_proj|v_proj)",
        r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|o_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:mlp))",
        r"(a+)?(b)+\(c*\)+[(]+",
        "(layer){2}",
    ],
)
def test_patterns_as_people_write_them_are_taken(text: str):
    assert compile_pattern(text, where="x").pattern == text


def test_what_is_no_pattern_is_refused():
    with pytest.raises(DataError) as caught:
        compile_pattern("(query", where="c.json, target_modules")
    assert str(caught.value) == (
        "c.json, target_modules has the pattern '(query', which is no regular expression: missing ), unterminated "
        "subpattern at position 0. Expected one as Python reads it. Correct it, or write the names of the layers as a "
        "list."
    )


@pytest.mark.parametrize(("text", "count"), [("a" * (MOST_CHARACTERS + 1), 0), (".*" * 13, 13)])
def test_a_pattern_that_is_too_long_is_refused(text: str, count: int):
    with pytest.raises(DataError) as caught:
        compile_pattern(text, where="x")
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    assert str(caught.value) == (
        f"x has the pattern '{shown}', which has {len(text)} characters and {count} open repetitions. Expected at most "
        f"{MOST_CHARACTERS} and {MOST_REPEATS}. Write the names of the layers as a list instead."
    )
