from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ET

import pytest
from tests.report.sample import make_curve, make_graft

from polygraft.report.curves import MOST_POINTS, plot_curve, read_points
from polygraft.report.summary import GraftSummary


def draw(curve: list[dict[str, float]], *, role: str = "task") -> ET.Element:
    graft: GraftSummary = dataclasses.replace(make_graft("g", role=role), curve=tuple(curve))
    drawn = plot_curve(graft, ident="c")
    assert drawn is not None
    return ET.fromstring(drawn)


def num_points(root: ET.Element) -> list[int]:
    return [len(item.get("points", "").split()) for item in root.iter("polyline")]


def test_a_task_graft_has_a_panel_for_loss_and_one_for_the_dev_score():
    root = draw(make_curve(num_points=45, start=1.4, end=0.06, dev=(0.4, 0.828)))
    assert num_points(root) == [45, 5]
    assert "The dev score goes from 65.6 at step 90 to 82.5 at step 450." in (root[1].text or "")


def test_a_language_grafts_dev_loss_stands_beside_its_loss():
    root = draw(make_curve(num_points=45, start=6.4, end=4.2, dev=(6.0, 4.5)), role="language")
    assert "The dev loss goes from" in (root[1].text or "")
    assert [text.text for text in root.iter("text") if text.get("class") == "axis"] == ["loss", "steps"]


def test_long_curves_are_thinned_out():
    assert num_points(draw(make_curve(num_points=5000, start=6, end=4, dev=None)))[0] <= MOST_POINTS


@pytest.mark.parametrize(
    "point", [{"step": 1.0, "loss": 2.0}, {"step": 0.0, "loss": 0.0}, {"step": 5.0, "dev": 0.4}]
)
def test_a_curve_of_one_point_is_drawn_as_a_dot(point: dict[str, float]):
    root = draw([point])
    assert len(list(root.iter("circle"))) == 1
    assert "nan" not in ET.tostring(root, encoding="unicode")


@pytest.mark.parametrize("curve", [[], [{"step": 1.0}], [{"step": 1.0, "loss": math.nan}]])
def test_nothing_to_draw_gives_no_picture(curve: list[dict[str, float]]):
    assert (
        plot_curve(dataclasses.replace(make_graft("g", role="task"), curve=tuple(curve)), ident="c") is None
    )


def test_points_are_sorted_and_those_that_are_no_numbers_left_out():
    curve = [
        {"step": 3.0, "loss": 1.0},
        {"step": 1.0, "loss": 2.0},
        {"step": 2.0, "loss": math.inf},
        {"loss": 1.0},
    ]
    assert read_points(curve, key="loss") == [(1.0, 2.0), (3.0, 1.0)]
