"""Where the boxes of a picture go: layers from top to bottom, boxes inside boxes laid out first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

CHAR = 7.2
LINE = 17.0
PAD = 14.0
GAP_X = 24.0
GAP_Y = 38.0
LANE = 8.0
MOST_LANES = 3000


@dataclass
class Placed:
    """A rectangle with text, and what is inside.

    Attributes:
        key: Id of a step, or key of a box.
        lines: Its text.
        x: Left edge, inside the box around it.
        y: Upper edge, inside the box around it.
        inside: What stands in it; empty for steps.
        lanes: For edges over several layers, the free places that they go through, from top to bottom, inside this box.
    """

    key: str
    lines: tuple[str, ...]
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    inside: list[Placed] = field(default_factory=list)
    lanes: dict[tuple[str, str], list[Placed]] = field(default_factory=dict)


def text_width(lines: Iterable[str]) -> float:
    """Return about how wide some lines are."""
    return max((len(line) for line in lines), default=0) * CHAR


def leaf(key: str, lines: tuple[str, ...]) -> Placed:
    """Return the rectangle of a step."""
    return Placed(key, lines, width=text_width(lines) + 2 * PAD, height=len(lines) * LINE + PAD)


def arrange(key: str, lines: tuple[str, ...], inside: list[Placed], edges: Iterable[tuple[str, str]]) -> Placed:
    """Return a box around rectangles, which are put into layers so that edges go down."""
    pairs = list(edges)
    depth = _depths([p.key for p in inside], pairs)
    long = [pair for pair in pairs if depth[pair[1]] - depth[pair[0]] > 1]
    too_many = sum(depth[target] - depth[source] for source, target in long) > MOST_LANES
    lanes = {} if too_many else {pair: _lane(pair, depth) for pair in long}
    by_key = {p.key: p for p in (*inside, *(free for lane in lanes.values() for free in lane))}
    depth.update({free.key: depth[pair[0]] + 1 + i for pair, lane in lanes.items() for i, free in enumerate(lane)})
    rows = _rows(list(by_key), depth, [hop for pair in pairs for hop in _hops(pair, lanes.get(pair, []))])
    head = len(lines) * LINE + PAD / 2
    widths = [sum(by_key[k].width for k in row) + GAP_X * (len(row) - 1) for row in rows]
    width = max([*widths, text_width(lines)], default=0.0)
    y = head + PAD / 2
    for row, row_width in zip(rows, widths, strict=True):
        x = PAD + (width - row_width) / 2
        for name in row:
            by_key[name].x, by_key[name].y = x, y
            x += by_key[name].width + GAP_X
        tallest = max(by_key[k].height for k in row)
        for name in row:
            by_key[name].height = by_key[name].height or tallest
        y += tallest + GAP_Y
    height = y - GAP_Y + PAD if rows else head + PAD
    return Placed(key, lines, width=width + 2 * PAD, height=height, inside=inside, lanes=lanes)


def _lane(pair: tuple[str, str], depth: Mapping[str, int]) -> list[Placed]:
    """Return a free place in every layer that an edge goes over."""
    return [Placed(f"{pair[0]} to {pair[1]} {i}", (), width=LANE) for i in range(depth[pair[0]] + 1, depth[pair[1]])]


def _hops(pair: tuple[str, str], lane: list[Placed]) -> list[tuple[str, str]]:
    """Return an edge as edges from layer to layer."""
    stops = [pair[0], *(free.key for free in lane), pair[1]]
    return list(itertools.pairwise(stops))


def _rows(keys: list[str], depth: Mapping[str, int], edges: list[tuple[str, str]]) -> list[list[str]]:
    """Return the layers: each key below all it needs, and near the middle of what it hangs on."""
    needs: dict[str, list[str]] = {k: [] for k in keys}
    users: dict[str, list[str]] = {k: [] for k in keys}
    for source, target in edges:
        needs[target].append(source)
        users[source].append(target)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for key in keys:
        rows[depth[key]].append(key)
    for _ in range(3):
        _sort(rows, lambda key: needs[key])
        _sort(rows[::-1], lambda key: users[key])
    return rows


def _depths(keys: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Return the layer of each key: below all that it needs."""
    depth = dict.fromkeys(keys, 0)
    waiting = dict.fromkeys(keys, 0)
    users: dict[str, list[str]] = {k: [] for k in keys}
    for source, target in edges:
        users[source].append(target)
        waiting[target] += 1
    ready = [k for k in keys if not waiting[k]]
    while ready:
        key = ready.pop()
        for user in users[key]:
            depth[user] = max(depth[user], depth[key] + 1)
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    return depth


def _sort(rows: list[list[str]], neighbours: Callable[[str], list[str]]) -> None:
    """Order each row by the middle of its neighbours' places."""
    place: dict[str, float] = {}
    for row in rows:
        middle = {key: _middle([place[n] for n in neighbours(key) if n in place], i / max(len(row), 1)) for i, key in enumerate(row)}
        row.sort(key=middle.__getitem__)
        place.update({key: (i + 0.5) / len(row) for i, key in enumerate(row)})


def _middle(places: list[float], otherwise: float) -> float:
    return sum(places) / len(places) if places else otherwise
