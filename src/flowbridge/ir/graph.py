"""Questions about the shape of a flow: who depends on whom, in which order, inside which map. networkx is used here only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowbridge.ir.base import FrozenModel
from flowbridge.ir.bindings import Collected, FromItem, FromStep, walk
from flowbridge.ir.control import MapNode, bindings_of

if TYPE_CHECKING:
    import networkx as nx

    from flowbridge.ir.bindings import Binding
    from flowbridge.ir.flow import FlowGraph, StepNode


class Region(FrozenModel):
    """The nodes directly inside one map (or the flow itself), as backends with nested loops need them.

    Attributes:
        map: Id of the map; None for the flow itself.
        children: Ids of steps and of maps directly inside, in topological order.
        edges: For each child, the children of this region that must end before it starts. An edge from a map means: the whole map.
    """

    map: str | None
    children: tuple[str, ...]
    edges: tuple[tuple[str, tuple[str, ...]], ...]


def all_bindings(node: StepNode | MapNode) -> Iterator[Binding]:
    """Yield every binding a node reads: inputs or sources, and those of its guards."""
    for _, binding in node.sources if isinstance(node, MapNode) else node.inputs:
        yield binding
    for guard in node.guards:
        yield from bindings_of(guard)


def dependencies(node: StepNode | MapNode) -> tuple[str, ...]:
    """Return the ids of the steps and maps that a node waits for, data and order, each once.

    A node inside a map depends on that map (its expansion); a node that collects a mapped step depends on that step and,
    through :func:`region_edges`, on the whole map.
    """
    found: dict[str, None] = dict.fromkeys(node.scope[-1:])
    for binding in all_bindings(node):
        for part in walk(binding):
            if isinstance(part, FromStep):
                found[part.step] = None
            elif isinstance(part, FromItem | Collected):
                found[part.map] = None
    found.update(dict.fromkeys(node.after))
    return tuple(found)


def shared_depth(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    """Return how many leading maps two scopes share."""
    depth = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        depth += 1
    return depth


def region_of(flow: FlowGraph, map_id: str | None) -> Region:
    """Return the children of a map (or of the flow) and the order between them."""
    return regions(flow)[map_id]


def regions(flow: FlowGraph) -> dict[str | None, Region]:
    """Return every region of a flow, by the id of its map (None for the flow itself)."""
    nodes = flow.nodes
    children: dict[str | None, dict[str, dict[str, None]]] = {
        None: {},
        **{m.id: {} for m in flow.maps},
    }
    for node in nodes:
        children[node.scope[-1] if node.scope else None][node.id] = {}
    for node in nodes:
        for needed in dependencies(node):
            if needed not in node.scope:
                _add_edge(children, node, flow.node(needed))
    return {
        map_id: Region(
            map=map_id,
            children=_topological({n: tuple(d) for n, d in inside.items()}),
            edges=tuple((n, tuple(d)) for n, d in inside.items()),
        )
        for map_id, inside in children.items()
    }


def _add_edge(
    children: dict[str | None, dict[str, dict[str, None]]],
    node: StepNode | MapNode,
    needed: StepNode | MapNode,
) -> None:
    """Lift a dependency to the innermost region that holds both ends."""
    depth = shared_depth((*node.scope, node.id), (*needed.scope, needed.id))
    ends = [(*n.scope, n.id)[depth] for n in (node, needed)]
    region = node.scope[depth - 1] if depth else None
    children[region][ends[0]][ends[1]] = None


def _topological(edges: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the nodes, each after those it needs, otherwise in the given order; nodes of a cycle are left out."""
    done: dict[str, None] = {}
    waiting = {n: set(d) for n, d in edges.items()}
    users: dict[str, list[str]] = {n: [] for n in edges}
    for node, needs in edges.items():
        for needed in set(needs):
            users[needed].append(node)
    rank = {n: i for i, n in enumerate(edges)}
    import heapq  # noqa: PLC0415  (only here)

    ready = [rank[n] for n, d in waiting.items() if not d]
    heapq.heapify(ready)
    names = list(edges)
    while ready:
        node = names[heapq.heappop(ready)]
        done[node] = None
        for user in users[node]:
            waiting[user].discard(node)
            if not waiting[user]:
                heapq.heappush(ready, rank[user])
    return tuple(done)


def order(flow: FlowGraph) -> tuple[str, ...]:
    """Return all step and map ids, each after everything it depends on; shorter than the flow where there is a cycle."""
    nodes = flow.nodes
    return _topological({n.id: dependencies(n) for n in nodes})


def to_networkx(flow: FlowGraph) -> nx.DiGraph[str]:
    """Return the flow as a networkx graph, an edge from each node to those that wait for it."""
    import networkx as nx  # noqa: PLC0415  (kept out of the import of the package)

    graph: nx.DiGraph[str] = nx.DiGraph()
    for node in flow.nodes:
        graph.add_node(node.id)
        graph.add_edges_from((needed, node.id) for needed in dependencies(node))
    return graph


def cycles(flow: FlowGraph) -> list[list[str]]:
    """Return the groups of nodes that wait for each other, each as a list of ids; empty for a DAG."""
    import networkx as nx  # noqa: PLC0415

    graph = to_networkx(flow)
    groups = [sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1]
    return groups + [[n] for n in nx.nodes_with_selfloops(graph)]


def ancestors(flow: FlowGraph, node_id: str) -> frozenset[str]:
    """Return every step and map that a node waits for, directly or not."""
    import networkx as nx  # noqa: PLC0415

    return frozenset(nx.ancestors(to_networkx(flow), node_id))


def critical_length(flow: FlowGraph) -> dict[str, int]:
    """Return for each node the number of nodes on the longest path from it to an end: the urgent ones have the greatest."""
    users: dict[str, list[str]] = {}
    nodes = {n.id: n for n in flow.nodes}
    for node in nodes.values():
        for needed in dependencies(node):
            users.setdefault(needed, []).append(node.id)
    length: dict[str, int] = {}
    for node_id in reversed(order(flow)):
        length[node_id] = 1 + max((length.get(u, 0) for u in users.get(node_id, ())), default=0)
    return length
