"""Which tasks a run has: the flow's nodes times the items of the maps around them, known from the maps' own records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from flowbridge.ir.graph import order

if TYPE_CHECKING:
    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.records.models import Index, TaskRecord

Lookup = Callable[[str, "Index"], "TaskRecord | None"]


def units_of(node: MapNode, record: TaskRecord | None) -> int:
    """Return how often what is inside a map is launched: once per item, or once per batch; 0 where the map did not expand."""
    if record is None or record.count is None or record.state not in {"done", "cached"}:
        return 0
    return -(-record.count // node.batch) if node.batch else record.count


def indices(graph: FlowGraph, scope: tuple[str, ...], lookup: Lookup, prefix: Index = ()) -> Iterator[Index]:
    """Yield the index of every task inside some nested maps, in order.

    Args:
        graph: The flow.
        scope: Maps still to go through, outermost first.
        lookup: Returns the final record of a map's expansion.
        prefix: Indices of the maps already gone through.
    """
    if not scope:
        yield prefix
        return
    for position in range(units_of(graph.maps_by_id[scope[0]], lookup(scope[0], prefix))):
        yield from indices(graph, scope[1:], lookup, (*prefix, position))


def tasks_of(graph: FlowGraph, lookup: Lookup) -> Iterator[tuple[StepNode | MapNode, Index]]:
    """Yield every task of a run, expansions of maps included, each after those it depends on."""
    for node_id in order(graph):
        node = graph.node(node_id)
        for index in indices(graph, node.scope, lookup):
            yield node, index
