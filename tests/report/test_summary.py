from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from tests.report.sample import make_summary
from tests.report.study import make_study

from polygraft.errors import DataError
from polygraft.report.summary import summary_from_json, summary_to_json


def changed(**changes: object) -> str:
    return json.dumps({**json.loads(summary_to_json(make_summary())), **changes})


def test_a_summary_comes_back_from_json_as_it_went():
    summary = make_summary()
    assert summary_from_json(summary_to_json(summary)) == summary


def test_a_run_that_diverged_can_be_written_and_read():
    summary = make_summary()
    graft = dataclasses.replace(summary.grafts[0], curve=({"step": 1.0, "loss": math.nan, "dev": math.inf},))
    text = summary_to_json(dataclasses.replace(summary, grafts=(graft,)))
    point = summary_from_json(text).grafts[0].curve[0]
    assert '"NaN"' in text
    assert math.isnan(point["loss"])
    assert point["dev"] == math.inf


def test_an_unknown_key_is_named_with_the_nearest_known_one():
    with pytest.raises(DataError) as caught:
        summary_from_json(changed(comand="x"))
    assert str(caught.value) == (
        "summary has the key 'comand', which is not known here. Did you mean 'command'? Known keys "
        "are schema, name, created, recipe_text, command, base, grafts, results, rechecks, means, gains, overlaps, "
        "contests, text_losses, examples, versions, machine, seconds, predicted_seconds, num_sittings, notes, steps, "
        "data. Take the key out, or use the polygraft that wrote it."
    )


def test_a_missing_key_is_named():
    value: dict[str, Any] = json.loads(summary_to_json(make_summary()))
    del value["base"]["family"]
    with pytest.raises(DataError) as caught:
        summary_from_json(json.dumps(value))
    assert str(caught.value) == (
        "summary.base lacks the key 'family'. Its keys should be name, fingerprint, num_parameters, "
        "num_bytes, family. Write the file again with `polygraft run`."
    )


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"seconds": "long"}, "summary.seconds is 'long', where a number was expected."),
        ({"seconds": True}, "summary.seconds is True, where a number was expected."),
        ({"notes": ["a", 3]}, "summary.notes[1] is 3, where a text was expected."),
        ({"notes": "a"}, "summary.notes is 'a', where a list was expected."),
        ({"machine": {"threads": [1]}}, "summary.machine.threads is [1], where a text or"),
        ({"grafts": [7]}, "summary.grafts[0] is 7, where an object was expected."),
    ],
)
def test_a_wrong_type_is_named_with_its_place(changes: dict[str, object], begins: str):
    with pytest.raises(DataError) as caught:
        summary_from_json(changed(**changes))
    assert str(caught.value).startswith(begins)


def test_another_schema_is_refused():
    with pytest.raises(DataError) as caught:
        summary_from_json(changed(schema=1))
    assert str(caught.value) == (
        "The run summary has schema 1; this polygraft reads schemas 2 to 5. "
        "Read it with the polygraft that wrote it, or run the recipe again."
    )


def test_text_that_is_no_json_is_refused_with_its_place():
    with pytest.raises(DataError) as caught:
        summary_from_json('{"name": }')
    assert str(caught.value) == (
        "The run summary is not JSON: Expecting value at line 1, column 10. "
        "It should be the results.json of a run. Write it again with `polygraft run`."
    )


def test_a_summary_of_before_padding_was_measured_is_read_and_becomes_one_of_today():
    value: dict[str, Any] = json.loads(summary_to_json(make_summary()))
    new = (
        "peak_memory_above_start_bytes",
        "padding",
        "looked_up",
        "cache_memory_bytes",
        "cache_file_bytes",
    )
    for graft in value["grafts"]:
        for key in new:
            del graft[key]
    found = summary_from_json(json.dumps({**value, "schema": 2}))
    assert found.schema == 5
    assert {vars(graft)[key] for graft in found.grafts for key in new} == {None}
    assert found.grafts[0].peak_memory_bytes == 2_310_000_000


def test_a_comparison_comes_back_from_json_as_it_went():
    study = make_study(("sequential", "madx"))
    assert summary_from_json(summary_to_json(study)) == study


def test_a_summary_of_before_methods_were_compared_is_read():
    value: dict[str, Any] = json.loads(summary_to_json(make_summary()))
    del value["rechecks"], value["contests"], value["means"]
    new = {
        "grafts": ("task", "method", "seed", "is_copy", "after"),
        "results": ("method", "source", "after", "predictions"),
        "examples": ("task", "source", "method", "metric", "is_text"),
    }
    for rows, keys in new.items():
        for row in value[rows]:
            for key in keys:
                del row[key]
    assert summary_from_json(json.dumps({**value, "schema": 3})) == make_summary()


def test_a_summary_of_before_means_had_intervals_is_read():
    value: dict[str, Any] = json.loads(summary_to_json(make_summary()))
    del value["means"]
    for row in value["examples"]:
        del row["metric"], row["is_text"]
    assert summary_from_json(json.dumps({**value, "schema": 4})) == make_summary()
