from __future__ import annotations

import dataclasses
import statistics

from tests.report.sample import make_gain, make_graft, make_result, make_summary
from tests.report.study import SEEDS, TARGETS, make_study, score_of

from polygraft.report.scores import build_grids
from polygraft.report.tables import cost_table, gain_table, storage_table, transfer_table

SUMMARY = make_summary()


def test_the_transfer_table_marks_the_best_of_each_language():
    table = transfer_table(build_grids(SUMMARY)[0], ident="t")
    best = {row[0].text: [table.columns[i] for i, cell in enumerate(row) if cell.best] for row in table.rows}
    assert best == {
        "English": ["source", "target"],
        "Quechua": ["source"],
        "Hausa": ["target"],
        "Swahili": ["target"],
        "Yoruba": ["task alone"],
    }


def test_the_transfer_table_has_intervals_and_the_targets_gain():
    table = transfer_table(build_grids(SUMMARY)[0], ident="t")
    quechua = table.rows[1]
    assert [(cell.text, cell.note) for cell in quechua] == [
        ("Quechua", "qu"),
        ("30.7", "26.6–34.8"),
        ("33.2", "29.0–37.4"),
        ("27.4", "23.5–31.3"),
        ("−5.8", "against source, may be chance"),
        ("310", None),
        ("402", None),
    ]


def test_several_seeds_are_a_mean_with_its_deviation_and_its_own_interval():
    study = make_study(("madx",))
    grid = build_grids(study)[0]
    scores = [score_of("madx", "ner", "hau", "target", seed) for seed in SEEDS]
    mean, off = 100 * statistics.fmean(scores), 100 * statistics.stdev(scores)
    table = transfer_table(grid, ident="t")
    place = table.columns.index("target")
    cell = {row[0].text: row for row in table.rows}["Hausa"][place]
    assert (cell.text, cell.note) == (
        f"{mean:.1f}",
        f"± {off:.1f}\n{mean - 2.1:.1f}–{mean + 2:.1f}\n3 seeds",
    )
    by_seed = [
        statistics.fmean(score_of("madx", "ner", language, "target", seed) for language in TARGETS)
        for seed in SEEDS
    ]
    over = 100 * statistics.fmean(by_seed)
    assert table.foot is not None
    assert table.foot[place].note == (
        f"± {100 * statistics.stdev(by_seed):.1f}\n{over - 1.05:.1f}–{over + 1:.1f}"
    )
    older = transfer_table(build_grids(dataclasses.replace(study, means=()))[0], ident="t")
    low, high = 100 * min(scores) - 2.4, 100 * max(scores) + 2.3
    assert older.rows[2][place].note == f"± {off:.1f}\n{low:.1f}–{high:.1f} at widest\n3 seeds"


def test_gains_are_shown_with_their_intervals_and_bold_where_they_are_above_zero():
    gains = (
        make_gain("hau", "task alone", gain=0.087, half=0.02),
        make_gain("hau", "source", gain=0.062, half=0.07),
        make_gain("yor", "source", gain=-0.003, half=0.002),
    )
    table = gain_table(build_grids(dataclasses.replace(SUMMARY, gains=gains))[0], ident="g")
    assert table is not None
    assert table.columns == ("Language", "Over task alone", "Over source")
    assert [[(cell.text, cell.note, cell.best) for cell in row[1:]] for row in table.rows] == [
        [("+8.7", "+6.7 to +10.7", True), ("+6.2", "−0.8 to +13.2", False)],
        [("–", None, False), ("−0.3", "−0.5 to −0.1", False)],
    ]
    assert gain_table(build_grids(SUMMARY)[0], ident="g") is None


def test_the_last_row_is_the_mean_of_the_targets_without_the_source():
    foot = transfer_table(build_grids(SUMMARY)[0], ident="t").foot
    assert foot is not None
    assert [cell.text for cell in foot[:4]] == ["Mean of the targets", "38.1", "39.4", "39.7"]


def test_a_mean_over_a_gap_is_not_given():
    results = (
        make_result("hau", "source", score=0.4, half=None),
        make_result("hau", "target", score=0.5, half=None),
        make_result("yor", "source", score=0.2, half=None),
    )
    table = transfer_table(build_grids(dataclasses.replace(SUMMARY, results=results))[0], ident="t")
    assert table.foot is not None
    assert [cell.text for cell in table.foot[1:3]] == ["30.0", "–"]
    assert [cell.text for cell in table.rows[1]] == ["Yoruba", "20.0", "–", "–", "1,004", "1,893"]


def test_every_row_is_as_long_as_the_head():
    table = transfer_table(build_grids(SUMMARY)[0], ident="t")
    cost = cost_table(SUMMARY.grafts, base=SUMMARY.base)
    for each in (table, cost):
        lengths = {len(row) for row in (*each.rows, each.foot or each.columns)}
        assert lengths == {len(each.columns)} == {len(each.numeric)}


def test_the_cost_table_gives_each_share_of_a_full_copy_and_the_sum():
    table = cost_table(SUMMARY.grafts, base=SUMMARY.base)
    assert table.foot is not None
    assert [cell.text for cell in table.rows[-2]] == [
        "ner",
        "bottleneck, head",
        "301,833",
        "1.21 MB",
        "0.26 %",
        "450",
        "10 min 55 s",
        "1,410",
        "7.1 %",
        "80 %",
        "2.31 GB",
    ]
    assert [cell.note for cell in table.rows[-2][-3:]] == [None, "175 MB kept", "640 MB above the start"]
    assert table.rows[0][-2].text == "–"
    assert [cell.text for cell in table.foot[2:5]] == ["6,682,666", "26.7 MB", "5.7 %"]


def test_n_tasks_as_grafts_are_compared_with_n_full_copies():
    table = storage_table(SUMMARY.grafts, base=SUMMARY.base)
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["1", "496 MB", "471 MB", "105 %"],
        ["2", "497 MB", "941 MB", "53 %"],
        ["10", "507 MB", "4.71 GB", "11 %"],
        ["100", "616 MB", "47.1 GB", "1.3 %"],
    ]
    each = SUMMARY.grafts[-1].num_bytes
    shared = sum(graft.num_bytes for graft in SUMMARY.grafts[:-2])
    assert table.rows[2][1].value == SUMMARY.base.num_bytes + shared + 10 * each


def test_without_a_task_graft_there_is_nothing_to_compare():
    assert storage_table((make_graft("en", role="language"),), base=SUMMARY.base) is None


def test_a_base_of_unknown_size_gives_dashes():
    base = dataclasses.replace(SUMMARY.base, num_bytes=0, num_parameters=0)
    assert cost_table(SUMMARY.grafts, base=base).rows[0][4].text == "–"
    assert storage_table(SUMMARY.grafts, base=base) is None


def test_what_an_older_run_did_not_measure_is_left_open():
    graft = dataclasses.replace(
        make_graft("ner", role="task"), padding=None, looked_up=None, peak_memory_above_start_bytes=None
    )
    [row] = cost_table([graft], base=SUMMARY.base).rows
    assert [(cell.text, cell.note) for cell in row[-3:]] == [("–", None), ("–", None), ("2.31 GB", None)]
