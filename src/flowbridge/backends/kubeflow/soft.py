"""Which tasks must not fail in the eyes of the server, because it would leave out more than depends on them.

A failed task makes its loop fail, and whatever waits for the loop is left out, also what does not need the failed task. Where
that would happen, the task ends well for the server and failed in the records; its dependents see it there and end cancelled, and
a last task fails the run. Whether a map is still expanded does not count: nobody sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.ir.graph import dependencies, order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.ir.graph import Region

Masks = dict[str, int]


def soft_nodes(graph: FlowGraph, regions: Mapping[str | None, Region]) -> frozenset[str]:
    """Return the steps and maps whose failure the server must not see."""
    if not graph.maps:
        return frozenset()
    nodes = _nodes(graph)
    bits = {node.id: 1 << i for i, node in enumerate(nodes)}
    steps = sum(bits[step.id] for step in graph.steps)
    truly = _descendants(graph, bits)
    whole = _whole(graph, bits)
    reach = {child: mask for region in regions.values() for child, mask in _reach(region, whole).items()}
    soft = set()
    for node in nodes:
        omitted = reach[node.id] | whole[node.id]
        for outer in node.scope:
            omitted |= reach[outer]
        if omitted & steps & ~(truly[node.id] | bits[node.id]):
            soft.add(node.id)
    return frozenset(soft)


def _nodes(graph: FlowGraph) -> list[StepNode | MapNode]:
    return [*graph.steps, *graph.maps]


def _descendants(graph: FlowGraph, bits: Masks) -> Masks:
    """Return for each node a mask of all that depends on it, by data or order, directly or not."""
    users: dict[str, list[str]] = {node_id: [] for node_id in bits}
    for node in _nodes(graph):
        for needed in dependencies(node):
            users[needed].append(node.id)
    masks: Masks = {}
    for node_id in reversed(order(graph)):
        masks[node_id] = 0
        for user in users[node_id]:
            masks[node_id] |= bits[user] | masks[user]
    return masks


def _whole(graph: FlowGraph, bits: Masks) -> Masks:
    """Return for each node a mask of itself and, for a map, of all inside it."""
    masks = dict(bits)
    for node in _nodes(graph):
        for outer in node.scope:
            masks[outer] |= bits[node.id]
    return masks


def _reach(region: Region, whole: Masks) -> Masks:
    """Return for each child of a region a mask of all that the server leaves out after it has failed."""
    users: dict[str, list[str]] = {child: [] for child in region.children}
    for child, needs in region.edges:
        for needed in needs:
            users[needed].append(child)
    masks: Masks = {}
    for child in reversed(region.children):
        masks[child] = 0
        for user in users[child]:
            masks[child] |= whole[user] | masks[user]
    return masks
