"""Pictures of gains on text."""

from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ET

import pytest
from tests.report.texts import OWN, make_loss, make_losses

from polygraft.report.loss_plots import Points, plot_gain_map, plot_points
from polygraft.report.losses import list_points
from polygraft.report.plots import NARROW, WIDE


def of_class(svg: str, name: str) -> list[ET.Element]:
    return [item for item in ET.fromstring(svg).iter() if name in item.get("class", "").split()]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_gain_has_a_cell_in_the_colour_of_its_sign(width: int):
    svg = plot_gain_map(make_losses(), ident="a", width=width)
    warm, cold = of_class(svg, "warmth"), of_class(svg, "cold")
    # Three own grafts and Hausa's on Yoruba help; the other eleven and Yoruba's own do not.
    assert (len(warm), len(cold)) == (4, 12)
    shades = [float(item.get("fill-opacity", "0")) for item in warm]
    assert max(shades) == 0.62
    # In the order of the grafts: English, Quechua, Hausa on its own text and on Yoruba; a gain of 0.75 is the most.
    wanted = [0.04 + 0.58 * gain / 0.75 for gain in (0.125, 0.75, 0.5, 0.25)]
    assert shades == pytest.approx(wanted, abs=0.006)


def test_a_languages_own_graft_has_a_frame():
    framed = [
        item
        for item in of_class(plot_gain_map(make_losses(), ident="a", width=WIDE), "best")
        if item.tag.endswith("rect")
    ]
    assert len(framed) == 4


def test_a_gain_that_was_not_measured_is_a_dash():
    losses = make_losses()
    some = dataclasses.replace(losses, losses=losses.losses[:-1])
    assert "not measured" in plot_gain_map(some, ident="a", width=WIDE)


def test_a_larger_gain_stands_higher_and_a_longer_text_further_right():
    svg = plot_points(list_points(make_losses(), axis="text tokens"), ident="a", width=WIDE)
    circles = of_class(svg, "marker")
    heights = dict(zip(OWN, (float(item.get("cy", "0")) for item in circles), strict=True))
    places = dict(zip(OWN, (float(item.get("cx", "0")) for item in circles), strict=True))
    assert sorted(heights, key=lambda language: heights[language]) == ["qu", "hau", "en", "yor"]
    assert sorted(places, key=lambda language: places[language]) == ["qu", "hau", "yor", "en"]
    # 900,000 and 20,000 lie between the marks 10,000 and 1,000,000, a power of ten half of the axis.
    width = WIDE - 72 - 48
    assert places["qu"] == pytest.approx(48 + width * (math.log10(20_000) - 4) / 2, abs=0.01)


def test_a_gain_on_one_side_of_zero_is_filled():
    rows = tuple(
        (float(n), make_loss("qu", "qu", gain=gain)) for n, gain in enumerate((0.5, 0.01, -0.5), start=1)
    )
    points = Points(axis="tokens per word", is_log=False, rows=rows)
    filled = [
        "best" in item.get("class", "")
        for item in of_class(plot_points(points, ident="a", width=NARROW), "marker")
    ]
    assert filled == [True, False, True]


def test_a_plot_without_points_and_one_of_no_numbers_can_be_drawn():
    empty = Points(axis="text tokens", is_log=True, rows=())
    assert of_class(plot_points(empty, ident="a", width=WIDE), "marker") == []
    broken = Points(axis="text tokens", is_log=True, rows=((5.0, make_loss("qu", "qu", gain=math.nan)),))
    assert of_class(plot_points(broken, ident="a", width=WIDE), "marker") == []
