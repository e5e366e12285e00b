"""The boxes of a picture: which steps stand in which maps and inlined flows, and the edges between what stands side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowbridge.ir.bindings import Collected, FromItem, FromStep, walk
from flowbridge.ir.control import MapNode, bindings_of
from flowbridge.ir.describe import describe_binding
from flowbridge.ir.graph import all_bindings

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph, StepNode


@dataclass(frozen=True)
class Edge:
    """One step waits for another.

    Attributes:
        source: Id of a step or map.
        target: Id of a step or map.
        kind: ``data``, ``order`` (`after`) or ``condition``.
    """

    source: str
    target: str
    kind: str


@dataclass
class Box:
    """A map, an inlined flow, or the flow itself.

    Attributes:
        key: Unique in the flow.
        title: What to write on it.
        map: Id of the map, if it is one.
        steps: Ids of the steps directly inside.
        boxes: The boxes directly inside, by key.
    """

    key: str
    title: str
    map: str | None = None
    steps: list[str] = field(default_factory=list)
    boxes: dict[str, Box] = field(default_factory=dict)


def nest(flow: FlowGraph) -> Box:
    """Return the flow as a box with everything in it."""
    root = Box("", flow.name)
    for mapped in flow.maps:
        _box(root, [*_path(flow, mapped.scope, mapped.group), _of_map(mapped)])
    for step in flow.steps:
        _box(root, _path(flow, step.scope, step.group)).steps.append(step.id)
    return root


def _box(root: Box, path: list[Box]) -> Box:
    for box in path:
        root = root.boxes.setdefault(box.key, box)
    return root


def _of_map(mapped: MapNode) -> Box:
    over = ", ".join(f"{name} in {describe_binding(source)}" for name, source in mapped.sources)
    return Box(mapped.id, f"{mapped.id.removesuffix('-map')}: each {over}", mapped.id)


def _path(flow: FlowGraph, scope: tuple[str, ...], group: tuple[str, ...]) -> list[Box]:
    """Return the boxes around a node, outermost first. A mapped flow is one box, though it is both map and group."""
    found: list[Box] = []
    entered = 0
    for map_id in scope:
        mapped = flow.maps_by_id[map_id]
        found.extend(Box(".".join(group[: i + 1]), group[i]) for i in range(entered, len(mapped.group)))
        entered = len(mapped.group)
        found.append(_of_map(mapped))
        if map_id == ".".join(group[: entered + 1]) + "-map":
            entered += 1
    found.extend(Box(".".join(group[: i + 1]), group[i]) for i in range(entered, len(group)))
    return found


def edges(flow: FlowGraph) -> list[Edge]:
    """Return who waits for whom, each pair once; what stands inside a map does not wait for the map by an edge of its own."""
    found: dict[tuple[str, str], Edge] = {}
    for node in flow.nodes:
        for source, kind in _needs(node):
            if source not in node.scope:
                found.setdefault((source, node.id), Edge(source, node.id, kind))
    return list(found.values())


def _needs(node: StepNode | MapNode) -> list[tuple[str, str]]:
    guarding = [part for guard in node.guards for binding in bindings_of(guard) for part in walk(binding)]
    found: list[tuple[str, str]] = []
    for part in (part for binding in all_bindings(node) for part in walk(binding)):
        kind = "condition" if any(part is other for other in guarding) else "data"
        if isinstance(part, FromStep):
            found.append((part.step, kind))
        elif isinstance(part, FromItem | Collected):
            found.append((part.map, kind))
    found.sort(key=lambda need: need[1] == "condition")
    return found + [(needed, "order") for needed in node.after]
