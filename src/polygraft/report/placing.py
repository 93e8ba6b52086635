"""Finds places for the names of points in a plot, so that none hides another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MARKER = 7.0
"""Half the width of what is drawn at a point."""
_GAP = 9.0
_STEPS = 26


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels from the top left."""

    left: float
    top: float
    right: float
    bottom: float

    def grown(self, by: float) -> Box:
        """Give a box that is so many pixels larger on each side."""
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def meets(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def lies_in(self, other: Box) -> bool:
        """Whether all of it is inside another."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    *,
    area: Box,
    bars: Sequence[Box] = (),
) -> list[Box]:
    """Give each point's name a place near it: in the area, on no point and no other name, and on no bar if possible.

    Args:
        points: Where the points are.
        sizes: Width and height of each name.
        area: What the names must stay in.
        bars: What they should rather not cover, such as intervals.
    """
    markers = [Box(x - MARKER, y - MARKER, x + MARKER, y + MARKER) for x, y in points]
    placed: dict[int, Box] = {}
    # Those with the nearest neighbours choose first.
    for number in sorted(range(len(points)), key=lambda each: _crowding(points, each)):
        taken = [*markers, *placed.values()]
        free = [
            box
            for box in _list_places(points[number], sizes[number])
            if box.lies_in(area) and not any(box.meets(other) for other in taken)
        ]
        clear = [box for box in free if not any(box.meets(bar) for bar in bars)]
        # A name far away is worse than one on a bar.
        near = clear[:1] if clear and free.index(clear[0]) < 12 else free[:1]
        placed[number] = (near or [next(_list_places(points[number], sizes[number]))])[0]
    return [placed[number] for number in range(len(points))]


def _crowding(points: Sequence[tuple[float, float]], number: int) -> float:
    x, y = points[number]
    others = [abs(x - a) + abs(y - b) for place, (a, b) in enumerate(points) if place != number]
    return min(others, default=0.0)


def _list_places(point: tuple[float, float], size: tuple[float, float]) -> Iterator[Box]:
    """List the places of a name, the nearest first: right, left, above and below, then further and further away."""
    (x, y), (width, height) = point, size
    for step in range(_STEPS):
        up = step * height / 2
        for shift in (-up, up) if step else (0.0,):
            middle = y + shift
            for left in (x + _GAP, x - _GAP - width):
                yield Box(left, middle - height / 2, left + width, middle + height / 2)
        for top in (y - _GAP - height - up, y + _GAP + up):
            yield Box(x - width / 2, top, x + width / 2, top + height)
