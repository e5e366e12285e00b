"""The map index as it passes through Metaflow: a number for each map, with two signs beside the numbers.

Metaflow refuses a foreach over nothing, so an empty map goes over one element that stands for none (`EMPTY`). A map with `parallel=` goes over
lanes, ``"2/8"`` being the third of eight; a lane takes every eighth item, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

EMPTY = -1


def is_empty(place: Sequence[int | str]) -> bool:
    """Say whether a place is inside a map that has no items."""
    return EMPTY in place


def is_lane(part: int | str) -> bool:
    """Say whether a part of a place stands for a lane."""
    return isinstance(part, str)


def lane_of(part: str) -> tuple[int, int]:
    """Return the number of a lane and the number of lanes."""
    number, count = part.split("/")
    return int(number), int(count)


def lanes(items: int, most: int) -> list[int | str]:
    """Return the lanes of so many items."""
    count = min(items, most)
    return [f"{i}/{count}" for i in range(count)]
