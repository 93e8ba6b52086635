from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ET

import pytest
from tests.report.sample import make_graft

from polygraft.report.levels import plot_levels

LEVELS = (
    {"sparsity": 0.0, "score": 0.828},
    {"sparsity": 0.5, "score": 0.826, "when_cut": 0.066},
    {"sparsity": 0.9, "score": 0.33, "when_cut": 0.005},
)


def draw(levels: tuple[dict[str, float], ...], *, role: str = "task") -> ET.Element | None:
    drawn = plot_levels(dataclasses.replace(make_graft("ner", role=role), levels=levels), ident="p")
    return None if drawn is None else ET.fromstring(drawn)


def test_scores_are_drawn_against_the_share_that_is_pruned():
    root = draw(LEVELS)
    assert root is not None
    lines = [
        [point.split(",") for point in (line.get("points") or "").split()] for line in root.iter("polyline")
    ]
    # 0 % is at 36, 100 % at 260 pixels; a score of 0 at 178, of 100 at 18.
    assert [float(x) for x, _ in lines[0]] == [36.0, 148.0, 237.6]
    assert [float(y) for _, y in lines[0]] == pytest.approx([45.5, 45.8, 125.2], abs=0.06)
    assert [float(y) for _, y in lines[1]] == pytest.approx([45.5, 167.4, 177.2], abs=0.06)
    assert root[1].text == (
        "Retrained: 82.8 at 0 %, 82.6 at 50 %, 33.0 at 90 %. When cut: 82.8 at 0 %, 6.6 at 50 %, 0.5 at 90 %."
    )


def test_losses_have_a_scale_of_their_own():
    root = draw(({"sparsity": 0.5, "score": 7.5}, {"sparsity": 0.9, "score": 8.25}), role="language")
    assert root is not None
    texts = [text.text for text in root.iter("text")]
    assert texts[:6] == ["held-out loss", "7.4", "7.6", "7.8", "8", "8.2"]


@pytest.mark.parametrize(
    "levels", [(), LEVELS[:1], ({"sparsity": 0.1}, {"sparsity": 0.2, "score": math.nan})]
)
def test_fewer_than_two_levels_give_no_picture(levels: tuple[dict[str, float], ...]):
    assert draw(levels) is None
