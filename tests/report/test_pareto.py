from __future__ import annotations

import dataclasses
import random
import xml.etree.ElementTree as ET

import pytest
from tests.report.study import make_study

from polygraft.report.joining import Run
from polygraft.report.methods import MethodGrid, build_method_grids
from polygraft.report.pareto import Point, find_frontier, list_points, plot_pareto
from polygraft.report.placing import MARKER, Box, place_labels
from polygraft.report.plots import NARROW, WIDE
from polygraft.report.spreads import Spread

GRID = build_method_grids([Run(label="study", summary=make_study())])[0]


def point(name: str, num_bytes: float, score: float) -> Point:
    return Point(name=name, num_bytes=num_bytes, spread=Spread(score=score, num_seeds=1), is_copy=False)


def of_class(svg: str, name: str) -> list[ET.Element]:
    return [item for item in ET.fromstring(svg).iter() if name in item.get("class", "").split()]


def draw(grid: MethodGrid = GRID, *, width: int = WIDE) -> str:
    svg = plot_pareto(grid, ident="p", width=width)
    assert svg is not None
    return svg


def test_the_frontier_has_those_that_none_beats_in_both():
    points = [
        point("large", 100, 0.9),
        point("beaten", 50, 0.5),
        point("small", 1, 0.4),
        point("middle", 10, 0.6),
        point("equal size", 10, 0.55),
        point("equal score", 20, 0.6),
    ]
    assert [each.name for each in find_frontier(points)] == ["small", "middle", "large"]
    lowest = [each.name for each in find_frontier(points, lower_is_better=True)]
    assert lowest == ["small"]


@pytest.mark.parametrize("seed", range(20))
def test_the_frontier_is_what_comparing_each_with_each_gives(seed: int):
    chance = random.Random(seed)
    points = [point(str(n), chance.randint(1, 6), chance.randint(1, 6) / 10) for n in range(12)]

    def is_beaten(one: Point) -> bool:
        return any(
            other.num_bytes <= one.num_bytes
            and other.spread.score >= one.spread.score
            and (other.num_bytes, other.spread.score) != (one.num_bytes, one.spread.score)
            for other in points
        )

    expected = {(each.num_bytes, each.spread.score) for each in points if not is_beaten(each)}
    assert {(each.num_bytes, each.spread.score) for each in find_frontier(points)} == expected


def test_every_method_has_a_marker_and_its_name_copies_are_squares():
    svg = draw()
    assert [item.text for item in of_class(svg, "label")] == [row.method for row in GRID.rows]
    shapes = {item.get("d"): 0 for item in of_class(svg, "marker")}
    assert len(of_class(svg, "marker")) == 8
    assert len(shapes) == 2
    assert len([item for item in of_class(svg, "series-0") if "marker" in item.get("class", "")]) == 2


def test_sizes_stand_on_a_scale_of_powers_of_ten():
    svg = draw()
    texts = [item.text for item in of_class(svg, "tick")]
    assert {"10 kB", "100 kB", "1 MB", "10 MB", "100 MB"} <= set(texts)
    places = {item.text: float(item.get("x", "0")) for item in of_class(svg, "tick")}
    assert places["100 kB"] - places["10 kB"] == pytest.approx(places["100 MB"] - places["10 MB"], abs=0.05)


def test_a_better_score_stands_higher_and_what_is_larger_further_right():
    places = {
        row.method: tuple(map(float, (item.get("transform") or "")[10:-1].split()))
        for row, item in zip(GRID.rows, of_class(draw(), "marker"), strict=True)
    }
    assert places["head"][0] < places["ia3"][0] < places["madx"][0] < places["full"][0]
    assert places["madx"][1] < places["ia3"][1] < places["head"][1]


def test_a_reader_who_cannot_see_it_is_told_the_numbers_and_the_frontier():
    root = ET.fromstring(draw(width=NARROW))
    assert root.get("aria-labelledby") == "p-title p-desc"
    assert root[0].text == "Score against stored bytes in ner"
    description = root[1].text or ""
    assert description.startswith("head: 22.4 (± 0.1, 21.4–23.4) for 15.9 kB. ia3: ")
    assert description.endswith("On the frontier: head, ia3, madx.")


def test_a_method_of_unknown_size_or_score_is_left_out():
    rows = list(GRID.rows)
    rows[0] = dataclasses.replace(rows[0], cost=None)
    rows[1] = dataclasses.replace(rows[1], mean=None)
    assert len(list_points(dataclasses.replace(GRID, rows=tuple(rows)))) == 6
    assert plot_pareto(dataclasses.replace(GRID, rows=tuple(rows[:3])), ident="p", width=WIDE) is None


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("seed", range(25))
def test_names_hide_neither_each_other_nor_a_point(width: int, seed: int):
    chance = random.Random(seed)
    area = Box(30, 24, width, 380)
    points = [(chance.uniform(60, width - 30), chance.uniform(40, 370)) for _ in range(12)]
    # Crowds are what happens: adapters of about one size and score.
    points[6:] = [(points[0][0] + 3 * n, points[0][1] + 2 * n) for n in range(6)]
    sizes = [(8.0 * chance.randint(3, 10), 14.0) for _ in points]
    boxes = place_labels(points, sizes, area=area)
    for number, box in enumerate(boxes):
        assert box.lies_in(area)
        assert not any(box.meets(other) for other in boxes[number + 1 :])
        assert not any(box.meets(Box(x - MARKER, y - MARKER, x + MARKER, y + MARKER)) for x, y in points)


def test_a_name_leaves_a_bar_free_where_there_is_room():
    [box] = place_labels([(100, 100)], [(40, 14)], area=Box(0, 0, 300, 200), bars=[Box(100, 98, 300, 102)])
    assert not box.meets(Box(100, 98, 300, 102))
    assert box.right <= 100


def test_scores_that_are_all_one_can_be_drawn():
    rows = tuple(
        dataclasses.replace(row, mean=Spread(score=0.0, deviation=0.0, num_seeds=2)) for row in GRID.rows
    )
    assert len(of_class(draw(dataclasses.replace(GRID, rows=rows), width=NARROW), "marker")) == 8
