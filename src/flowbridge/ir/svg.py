"""A flow as an SVG picture: layers from top to bottom, maps and inlined flows as boxes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from flowbridge.ir.describe import describe
from flowbridge.ir.layout import LINE, PAD, Placed, arrange, leaf
from flowbridge.ir.nesting import Box, Edge, edges, nest

if TYPE_CHECKING:
    from flowbridge.ir.control import Condition
    from flowbridge.ir.flow import FlowGraph

_STYLE = """
.flowbridge text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1b2733; }
.flowbridge .title { fill: #5b6b7b; }
.flowbridge .step { fill: #eaf2fb; stroke: #4a7fb5; }
.flowbridge .guarded { stroke-dasharray: 5 3; }
.flowbridge .map { fill: #f3f8ef; stroke: #6f9e4d; }
.flowbridge .group { fill: #f7f7f9; stroke: #a9b2bd; }
.flowbridge .edge { fill: none; stroke: #5b6b7b; stroke-width: 1.2; }
.flowbridge .order, .flowbridge .condition { stroke-dasharray: 4 3; }
"""
_SHOWN = 48
Spot = tuple[Placed, float, float]
Point = tuple[float, float]


def svg(flow: FlowGraph) -> str:
    """Return a flow as an SVG picture, complete in itself."""
    found = edges(flow)
    root = nest(flow)
    owners = _owners(root)
    placed = _place(flow, root, found, owners)
    spots = {p.key: (p, x, y) for p, x, y in _spread(placed, 0.0, 0.0)}
    body = [*_boxes(flow, placed), *(_line(edge, spots, _lane(edge, spots, owners)) for edge in found)]
    size = f'width="{placed.width:.0f}" height="{placed.height:.0f}" viewBox="0 0 {placed.width:.0f} {placed.height:.0f}"'
    marker = '<marker id="flowbridge-tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8Z" fill="#5b6b7b"/></marker>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="flowbridge" {size} role="img" aria-label="{escape(flow.name)}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", f"<defs>{marker}</defs>", *body, "</svg>"]) + "\n"


def _owners(box: Box, path: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Return for every step and box the keys of the boxes from the outermost to itself."""
    found = {step_id: (*path, step_id) for step_id in box.steps}
    for inner in box.boxes.values():
        found[inner.key] = (*path, inner.key)
        found.update(_owners(inner, (*path, inner.key)))
    return found


def _place(flow: FlowGraph, box: Box, found: list[Edge], owners: dict[str, tuple[str, ...]]) -> Placed:
    inside = [leaf(step_id, _lines(step_id.rpartition(".")[2], flow.steps_by_id[step_id].guards)) for step_id in box.steps]
    inside += [_place(flow, inner, found, owners) for inner in box.boxes.values()]
    keys = {p.key for p in inside}
    lifted = {pair for edge in found if (pair := _lift(owners[edge.source], owners[edge.target])) and keys.issuperset(pair)}
    guards = flow.maps_by_id[box.map].guards if box.map else ()
    return arrange(box.key, _lines(box.title, guards), inside, sorted(lifted))


def _lift(source: tuple[str, ...], target: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the two neighbours, side by side in one box, that an edge goes between; None where one end is around the other."""
    return next(((s, t) for s, t in zip(source, target, strict=False) if s != t), None)


def _lines(title: str, guards: tuple[Condition, ...]) -> tuple[str, ...]:
    lines = (title, *(f"when {describe(guard)}" for guard in guards))
    return tuple(line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..." for line in lines)


def _spread(placed: Placed, x: float, y: float) -> Iterator[tuple[Placed, float, float]]:
    """Yield everything with its place in the whole picture."""
    yield placed, x + placed.x, y + placed.y
    for inner in placed.inside:
        yield from _spread(inner, x + placed.x, y + placed.y)


def _boxes(flow: FlowGraph, root: Placed) -> Iterator[str]:
    for placed, x, y in _spread(root, 0.0, 0.0):
        step, mapped = flow.steps_by_id.get(placed.key), flow.maps_by_id.get(placed.key)
        kind = "step" if step else "map" if mapped else "group"
        node = step or mapped
        classes = f"{kind} guarded" if node and node.guards else kind
        frame = f'<rect class="{classes}" x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{placed.width - 1:.1f}" height="{placed.height - 1:.1f}" rx="6"/>'
        yield f"<g><title>{escape(placed.key or flow.name)}</title>{frame}{''.join(_texts(placed, x, y, kind))}</g>"


def _texts(placed: Placed, x: float, y: float, kind: str) -> Iterator[str]:
    for i, line in enumerate(placed.lines):
        at = f'y="{y + PAD / 2 + LINE * (i + 0.75):.1f}"'
        if kind == "step":
            yield f'<text x="{x + placed.width / 2:.1f}" {at} text-anchor="middle">{escape(line)}</text>'
        else:
            yield f'<text class="title" x="{x + PAD:.1f}" {at}>{escape(line)}</text>'


def _lane(edge: Edge, spots: dict[str, Spot], owners: dict[str, tuple[str, ...]]) -> list[Point]:
    """Return the upper and lower ends of the free places that an edge goes through."""
    source, target = owners[edge.source], owners[edge.target]
    pair = _lift(source, target)
    if pair is None:
        return []
    depth = source.index(pair[0])
    box, x, y = spots[source[depth - 1] if depth else ""]
    free = box.lanes.get(pair, [])
    return [(x + f.x + f.width / 2, y + f.y + end) for f in free for end in (0.0, f.height)]


def _line(edge: Edge, spots: dict[str, Spot], lane: list[Point]) -> str:
    (source, x1, y1), (target, x2, y2) = spots[edge.source], spots[edge.target]
    points = [(x1 + source.width / 2, y1 + source.height), *lane, (x2 + target.width / 2, y2)]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (xa, ya), (xb, yb) in itertools.pairwise(points):
        bend = (yb - ya) / 2 if yb > ya else 12.0
        path += f"C{xa:.1f} {ya + bend:.1f} {xb:.1f} {yb - bend:.1f} {xb:.1f} {yb:.1f}"
    return f'<path class="edge {edge.kind}" d="{path}" marker-end="url(#flowbridge-tip)"/>'
