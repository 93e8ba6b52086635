from __future__ import annotations

import dataclasses

from tests.report.sample import make_summary
from tests.report.study import make_study

from polygraft.report.joining import Run, call_methods, fill_sources, list_differences
from polygraft.report.methods import build_method_grids
from polygraft.report.summary import DataSummary, RunSummary

FIRST = Run(label="a", summary=make_study(("full", "lora")))
OTHER = Run(label="b", summary=make_study(("lora", "ia3")))


def change_tests(summary: RunSummary) -> RunSummary:
    """Give the Hausa test set of NER other sentences."""
    results = tuple(
        dataclasses.replace(result, num_sentences=900, num_gold=1700)
        if (result.task, result.language) == ("ner", "hau")
        else result
        for result in summary.results
    )
    return dataclasses.replace(summary, results=results)


def test_methods_that_two_runs_have_get_the_runs_name_in_front():
    assert call_methods([FIRST, OTHER]) == {
        ("a", "full"): "full",
        ("a", "lora"): "a: lora",
        ("b", "lora"): "b: lora",
        ("b", "ia3"): "ia3",
    }


def test_the_method_of_a_run_that_compares_none_is_called_by_the_run():
    plain = Run(label="plain", summary=make_summary())
    assert call_methods([FIRST, plain])["plain", ""] == "plain"


def test_runs_on_the_same_base_and_tests_stand_in_one_table():
    ner, *_ = build_method_grids([FIRST, OTHER])
    assert [row.method for row in ner.rows] == ["full", "a: lora", "b: lora", "ia3"]
    assert list_differences([FIRST, OTHER]) == ()
    assert ner.rows[1].cells == ner.rows[2].cells
    assert ner.rows[1].cost == ner.rows[2].cost


def test_contests_of_a_run_go_with_it_and_between_runs_there_are_none():
    ner, *_ = build_method_grids([FIRST, OTHER])
    assert ner.find_contest("hau", "full", "a: lora") is not None
    assert ner.find_contest("hau", "b: lora", "ia3") is not None
    assert ner.find_contest("hau", "full", "ia3") is None


def test_other_test_sets_keep_a_task_apart_and_it_is_said_why():
    other = dataclasses.replace(OTHER, summary=change_tests(OTHER.summary))
    assert [grid.title for grid in build_method_grids([FIRST, other])] == [
        "ner (a)",
        "ner (b)",
        "pos",
        "topic",
    ]
    assert list_differences([FIRST, other]) == (
        "‘b’ and ‘a’ are not in one table of ner: the Hausa test set has 1,004 sentences with 1,893 gold items in ‘a’ "
        "and 900 sentences with 1,700 gold items in ‘b’.",
    )


def test_tests_of_as_many_sentences_are_told_apart_by_what_is_in_them():
    data = DataSummary(
        use="test",
        task="ner",
        source="en",
        language="hau",
        file="hau.conll",
        sha256="0" * 64,
        digest="a" * 64,
    )
    same, another = (
        dataclasses.replace(
            run,
            summary=dataclasses.replace(run.summary, data=(dataclasses.replace(data, digest=letter * 64),)),
        )
        for run, letter in ((FIRST, "a"), (OTHER, "b"))
    )
    assert list_differences([same, another]) == (
        "‘b’ and ‘a’ are not in one table of ner: the Hausa test set of ‘a’ (aaaaaaaa) has other data than that of ‘b’ "
        "(bbbbbbbb).",
    )
    assert list_differences([same, OTHER]) == ()


def test_another_base_keeps_all_tasks_apart():
    base = dataclasses.replace(OTHER.summary.base, name="other", fingerprint="0123456789abcdef")
    other = dataclasses.replace(OTHER, summary=dataclasses.replace(OTHER.summary, base=base))
    grids = build_method_grids([FIRST, other])
    assert [grid.title for grid in grids] == [
        "ner (a)",
        "ner (b)",
        "pos (a)",
        "pos (b)",
        "topic (a)",
        "topic (b)",
    ]
    assert list_differences([FIRST, other])[0] == (
        "‘b’ and ‘a’ are not in one table of ner: the base of ‘a’ is multilingual-e5-small (9f31c2d4), that of ‘b’ is "
        "other (01234567)."
    )


def test_a_third_run_joins_the_one_that_it_is_like():
    other = dataclasses.replace(OTHER, summary=change_tests(OTHER.summary))
    third = Run(label="c", summary=change_tests(make_study(("head",))))
    assert [grid.title for grid in build_method_grids([FIRST, other, third])][:2] == ["ner (a)", "ner (b, c)"]


def test_an_older_run_that_does_not_say_its_source_is_given_it():
    plain = fill_sources(Run(label="plain", summary=make_summary()))
    assert {result.source for result in plain.summary.results} == {"en"}
    results = tuple(
        dataclasses.replace(result, num_sentences=made.num_sentences, num_gold=made.num_gold)
        for made in make_study(("lora",)).results
        if (made.task, made.seed) == ("ner", 0)
        for result in plain.summary.results
        if result.language == made.language
    )
    older = dataclasses.replace(plain, summary=dataclasses.replace(plain.summary, results=results))
    ner, *_ = build_method_grids([FIRST, older])
    assert [row.method for row in ner.rows] == ["full", "lora", "plain"]
