from __future__ import annotations

import dataclasses

from tests.report.sample import make_summary

from polygraft.report.cells import Cell
from polygraft.report.details import graft_table, result_table, type_table

SUMMARY = make_summary()


def test_every_result_has_a_row_with_its_plan():
    table = result_table(SUMMARY.results)
    assert len(table.rows) == 15
    assert table.rows[5][3].text == "stack(qu, ner)"
    assert {len(row) for row in table.rows} == {len(table.columns)} == {len(table.numeric)}


def test_a_precision_that_is_absent_is_a_dash():
    result = dataclasses.replace(SUMMARY.results[0], precision=None)
    assert result_table([result]).rows[0][7].text == "–"


def test_macro_f1_and_perplexity_have_columns_where_a_result_has_them():
    first, second, *_ = SUMMARY.results
    table = result_table(
        [dataclasses.replace(first, macro_f1=0.625), dataclasses.replace(second, perplexity=1234.56)]
    )
    assert table.columns[8:11] == ("Recall", "Macro-F1", "Perplexity")
    assert [[cell.text for cell in row[9:11]] for row in table.rows] == [["62.5", "–"], ["–", "1,234.6"]]
    assert {len(row) for row in table.rows} == {len(table.columns)} == {len(table.numeric)}
    assert not {"Macro-F1", "Perplexity"} & set(result_table([first]).columns)


def test_scores_by_type_stand_beside_how_many_there_were():
    table = type_table("ner", results=SUMMARY.results, ident="t")
    assert table is not None
    assert table.columns == ("Language", "Condition", "LOC", "ORG", "PER")
    assert [(cell.text, cell.note) for cell in table.rows[5][2:]] == [
        ("33.4", "171"),
        ("22.4", "92"),
        ("29.4", "139"),
    ]


def test_without_scores_by_type_there_is_no_such_table():
    results = [dataclasses.replace(result, by_type={}) for result in SUMMARY.results]
    assert type_table("ner", results=results, ident="t") is None


def test_grafts_are_listed_with_version_and_digest():
    row = graft_table(SUMMARY.grafts).rows[-2]
    assert [cell.text for cell in row[:5]] == ["ner", "2", "English", "stack(en, ner)", "dev_f1 0.828"]
    assert row[5].text == SUMMARY.grafts[-2].sha256


def test_a_value_that_is_no_number_does_not_take_part_in_sorting():
    assert Cell(text="x", value=float("nan")).key is None
    assert Cell(text="x", value=0.5).key == "0.5"
