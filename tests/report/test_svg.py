from __future__ import annotations

import pytest

from polygraft.report.svg import Scale, choose_ticks, element, thin_out


def test_text_and_attributes_are_escaped():
    drawn = element("text", "<b>&", class_='a"><script>')
    assert drawn == '<text class="a&#34;&gt;&lt;script&gt;">&lt;b&gt;&amp;</text>'


def test_braces_in_a_text_stay_as_they_are():
    assert element("text", "{0} {x}", x=1.0) == '<text x="1">{0} {x}</text>'


def test_a_scale_holds_values_at_its_ends():
    scale = Scale(low=10, high=20, start=100, end=200)
    assert [scale(value) for value in (5, 10, 15, 20, 99)] == [100, 100, 150, 200, 200]


def test_a_scale_without_extent_puts_everything_in_its_middle():
    assert Scale(low=3, high=3, start=0, end=10)(3) == 5


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (4.24, 6.45, [4, 5, 6, 7]),
        (0.06, 1.4, [0, 0.5, 1, 1.5]),
        (0.0, 0.0, [0, 0.05]),
        (0.5, 0.5, [0.5, 0.55]),
        (-3.0, 3.0, [-4, -2, 0, 2, 4]),
    ],
)
def test_ticks_are_round_and_cover_the_values(low: float, high: float, ticks: list[float]):
    assert choose_ticks(low, high, count=3) == ticks


def test_thinning_keeps_the_ends_and_the_extremes():
    curve = [(float(step), 1.0) for step in range(1000)]
    curve[437] = (437.0, 9.0)
    curve[438] = (438.0, -9.0)
    thin = thin_out(curve, most=40)
    assert len(thin) <= 40
    assert thin[0] == (0.0, 1.0)
    assert thin[-1] == (999.0, 1.0)
    assert {(437.0, 9.0), (438.0, -9.0)} <= set(thin)
    assert thin == sorted(thin)


def test_a_short_curve_is_left_alone():
    assert thin_out([(1.0, 2.0)], most=40) == [(1.0, 2.0)]
