from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

from tests.report.sample import make_result, make_summary

from polygraft.report.plots import NARROW, heat_range, plot_heat_map, plot_intervals, series_of
from polygraft.report.scores import Grid, build_grids

GRID = build_grids(make_summary())[0]


def of_class(svg: str, name: str) -> list[ET.Element]:
    return [item for item in ET.fromstring(svg).iter() if name in item.get("class", "").split()]


def grid_of(*results: object) -> Grid:
    return build_grids(dataclasses.replace(make_summary(), results=results))[0]


def test_every_score_has_a_marker_and_three_lines_of_interval():
    svg = plot_intervals(GRID, ident="a")
    assert len(of_class(svg, "marker")) == 15
    assert len(of_class(svg, "interval")) == 45


def test_the_best_of_each_language_is_filled():
    filled = [
        item
        for item in of_class(plot_intervals(GRID, ident="a"), "marker")
        if "best" in item.get("class", "")
    ]
    assert len(filled) == 6  # English has two equal ones.


def test_a_better_score_stands_further_right():
    grid = grid_of(
        make_result("hau", "source", score=0.3, half=None), make_result("hau", "target", score=0.5, half=None)
    )
    places = [item.get("transform", "") for item in of_class(plot_intervals(grid, ident="a"), "marker")]
    assert [float(place[10:].split()[0]) for place in places] == sorted(
        float(p[10:].split()[0]) for p in places
    )


def test_a_score_without_an_interval_is_a_marker_alone():
    svg = plot_intervals(grid_of(make_result("hau", "target", score=0.3, half=None)), ident="a")
    assert len(of_class(svg, "marker")) == 1
    assert of_class(svg, "interval") == []


def test_a_score_that_is_no_number_has_no_marker():
    svg = plot_intervals(grid_of(make_result("hau", "target", score=float("nan"), half=None)), ident="a")
    assert of_class(svg, "marker") == []
    assert "not a number" in svg


def test_a_picture_has_a_title_and_a_description_with_the_numbers():
    root = ET.fromstring(plot_intervals(GRID, ident="a", width=NARROW))
    assert root.get("aria-labelledby") == "a-title a-desc"
    assert root[0].text == "Scores of ner with 95 % intervals"
    assert "Yoruba: task alone 26.3 (23.6–29.0), source 25.1 (22.5–27.7)" in (root[1].text or "")


def test_every_known_condition_has_its_own_shape():
    shapes = {item.get("d") for item in of_class(plot_intervals(GRID, ident="a"), "marker")}
    assert len(shapes) == 3


def test_a_condition_keeps_its_colour_whatever_stands_beside_it():
    assert (
        series_of("target", conditions=["target"]) == series_of("target", conditions=["none", "target"]) == 3
    )
    assert series_of("mixed", conditions=["target", "wrong", "mixed"]) == 5


def test_the_heat_map_has_a_cell_for_every_pair_and_a_dash_where_nothing_was_measured():
    grid = grid_of(
        make_result("hau", "target", score=0.5, half=0.02), make_result("yor", "source", score=0.2, half=None)
    )
    svg = plot_heat_map(grid, ident="a")
    assert len(of_class(svg, "warmth")) == 4
    assert svg.count("–</text>") == 2
    assert svg.count("not measured") == 2


def test_the_heat_maps_colour_spans_the_target_languages():
    assert heat_range(GRID) == (0.2, 0.6)


def test_a_lower_loss_has_the_stronger_colour():
    results = [make_result(c, "target", score=s, half=None) for c, s in (("hau", 4.0), ("yor", 5.0))]
    svg = plot_heat_map(grid_of(*(dataclasses.replace(r, metric="loss") for r in results)), ident="a")
    strong, weak = (float(item.get("fill-opacity", "0")) for item in of_class(svg, "warmth"))
    assert strong > weak


def test_many_languages_make_the_heat_map_wider():
    results = [make_result(f"l{n}", "target", score=n / 40, half=None) for n in range(30)]
    width = float(ET.fromstring(plot_heat_map(grid_of(*results), ident="a", width=NARROW)).get("width", "0"))
    assert width == 84 + 30 * 48


def test_a_name_that_is_too_long_is_cut_in_the_plot_and_whole_in_the_description():
    name = "the graft of another language"
    svg = plot_intervals(grid_of(make_result("hau", name, score=0.3, half=None)), ident="a", width=NARROW)
    assert [item.text for item in of_class(svg, "label")] == ["the graft o\u2026"]
    assert name in (ET.fromstring(svg)[1].text or "")
