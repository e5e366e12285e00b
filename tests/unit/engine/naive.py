"""A plain reading of DESIGN's rules, task by task, to hold the scheduler against; and flows made by chance."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from hypothesis import assume
from hypothesis import strategies as st

from flowbridge.ir import bindings as b
from flowbridge.ir.control import And, Compare, Condition, MapNode, Not, Or, Truth
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.graph import all_bindings, regions, shared_depth
from flowbridge.ir.ports import Port

Key = tuple[str, tuple[int, ...]]


class Naive:
    """What must become of every task, given how each one that is launched ends.

    `outcome` tells of a launched task: ``done``, ``skipped`` (its own condition), ``failed`` or ``allowed``; `count` the items of a map.
    """

    def __init__(
        self, graph: FlowGraph, outcome: Callable[[str, tuple[int, ...]], str], count: Callable[[str, tuple[int, ...]], int]
    ) -> None:
        self.graph, self.outcome, self.count = graph, outcome, count
        self.memo: dict[Key, tuple[str, bool]] = {}

    def end(self, node_id: str, index: tuple[int, ...]) -> tuple[str, bool]:
        """Return the state of a task, and whether it was launched."""
        if (node_id, index) not in self.memo:
            self.memo[node_id, index] = self._end(node_id, index)
        return self.memo[node_id, index]

    def _end(self, node_id: str, index: tuple[int, ...]) -> tuple[str, bool]:
        node = self.graph.node(node_id)
        if any(self.seen(node, index, name) == "blocked" for name in node.after if name not in node.scope):
            return "cancelled", False
        statuses = [self.value(node, index, x) for x in all_bindings(node)]
        if "blocked" in statuses:
            return "cancelled", False
        if "absent" in statuses:
            return "skipped", False
        return self.outcome(node_id, index), True

    def value(self, node: StepNode | MapNode, index: tuple[int, ...], binding: b.Binding) -> str:
        """Return present, absent or blocked."""
        if isinstance(binding, b.FromStep):
            return self.seen(node, index, binding.step)
        if isinstance(binding, b.FirstOf):
            found = [self.value(node, index, choice) for choice in binding.choices]
            if "blocked" in found:
                return "blocked"
            return next((f for f in found if f != "absent"), "absent")
        if isinstance(binding, b.ListOf):
            return worst(self.value(node, index, item) for item in binding.items)
        if isinstance(binding, b.Collected):
            return self.per_item(node, index, binding)
        return "present"

    def per_item(self, node: StepNode | MapNode, index: tuple[int, ...], binding: b.Collected) -> str:
        """Of a list made item by item: skipped with the map, blocked with any item of the steps inside."""
        steps = [s for s in b.steps_in(binding.value) if binding.map in self.graph.steps_by_id[s].scope]
        if "blocked" in [self.seen(node, index, s) for s in steps]:
            return "blocked"
        return "absent" if self.seen(node, index, binding.map) == "absent" else "present"

    def seen(self, node: StepNode | MapNode, index: tuple[int, ...], name: str) -> str:
        """Return what a node sees of another: one task, or all of them collected."""
        other = self.graph.node(name)
        depth = shared_depth(node.scope, other.scope)
        return self.collected(name, index[:depth])

    def collected(self, name: str, prefix: tuple[int, ...]) -> str:
        """Return present, absent or blocked of all tasks of a node below a prefix."""
        other = self.graph.node(name)
        if len(prefix) == len(other.scope):
            return self.whole(name, prefix)
        enclosing = other.scope[len(prefix)]
        state = status_of(self.end(enclosing, prefix)[0])
        if state != "present":
            return state
        inside = [self.collected(name, (*prefix, i)) for i in range(self.count(enclosing, prefix))]
        return "blocked" if "blocked" in inside else "present"

    def whole(self, name: str, index: tuple[int, ...]) -> str:
        """Of a step, its task; of a map, everything inside too."""
        status = status_of(self.end(name, index)[0])
        if name in self.graph.steps_by_id or status != "present":
            return status
        children = [n.id for n in (*self.graph.steps, *self.graph.maps) if n.scope and n.scope[-1] == name]
        inside = [self.whole(c, (*index, i)) for c, i in product(children, range(self.count(name, index)))]
        return "blocked" if "blocked" in inside else "present"

    def all_tasks(self) -> dict[Key, tuple[str, bool]]:
        """Return the end of every task there is."""
        for node in (*self.graph.steps, *self.graph.maps):
            self._below(node.id, node.scope, ())
        return self.memo

    def _below(self, node_id: str, scope: tuple[str, ...], prefix: tuple[int, ...]) -> None:
        if len(prefix) == len(scope):
            self.end(node_id, prefix)
            return
        enclosing = scope[len(prefix)]
        if self.end(enclosing, prefix)[0] == "done":
            for i in range(self.count(enclosing, prefix)):
                self._below(node_id, scope, (*prefix, i))


def status_of(state: str) -> str:
    """Return what a state means to whoever needs the task."""
    return {"done": "present", "skipped": "absent", "allowed": "absent", "failed": "blocked", "cancelled": "blocked"}[state]


def worst(statuses: object) -> str:
    """Return blocked before absent before present."""
    found = set(statuses)  # type: ignore[call-overload]
    return next((s for s in ("blocked", "absent") if s in found), "present")


@st.composite
def flows(draw: st.DrawFn, size: int = 12) -> FlowGraph:
    """A flow by chance: maps inside maps, collected lists, first, lists, conditions, order."""
    steps: list[StepNode] = []
    maps: list[MapNode] = []
    for number in range(draw(st.integers(1, size))):
        scope = draw(st.sampled_from([(), *[(*m.scope, m.id) for m in maps]]))
        if draw(st.integers(0, 3)) == 0 and len(scope) < 3:
            maps.append(_a_map(draw, f"m{number}", scope, steps))
        else:
            steps.append(_a_step(draw, f"s{number}", scope, steps))
    graph = FlowGraph(name="f", steps=tuple(steps), maps=tuple(maps))
    assume(all(len(region.children) == len(region.edges) for region in regions(graph).values()))
    return graph


def _reachable(steps: list[StepNode], scope: tuple[str, ...]) -> list[str]:
    """Steps that may be read from a scope without a map waiting for itself.

    A collected step inside a map that encloses nothing of ours is fine as long as it was complete when our outermost unshared map began.
    """
    return [
        s.id for s in steps if s.scope[: len(scope)] == scope[: len(s.scope)] or shared_depth(s.scope, scope) == len(scope) or not scope
    ]


def _binding(draw: st.DrawFn, steps: list[StepNode], scope: tuple[str, ...], depth: int = 0) -> b.Binding:
    near = _reachable(steps, scope)
    kind = draw(st.sampled_from(["step", "step", "step", "constant", "first", "list", "collected"]))
    if kind == "constant" or not near:
        return b.Constant(value=1)
    if kind == "step" or depth:
        return b.FromStep(step=draw(st.sampled_from(near)), output="result")
    maps = [(s.scope[:i], s.scope[i]) for s in steps for i in range(len(s.scope)) if s.scope[:i] == scope[:i] and s.scope[i] not in scope]
    if kind == "collected" and maps:
        outer, name = draw(st.sampled_from(maps))
        return b.Collected(map=name, value=_binding(draw, steps, (*outer, name), 1))
    parts = tuple(_binding(draw, steps, scope, 1) for _ in range(draw(st.integers(1, 3))))
    return b.FirstOf(choices=parts) if kind == "first" else b.ListOf(items=parts)


def _guard(draw: st.DrawFn, steps: list[StepNode], scope: tuple[str, ...]) -> Condition:
    truth = [Truth(value=_binding(draw, steps, scope, 1)) for _ in range(2)]
    kind = draw(st.sampled_from(["truth", "compare", "not", "and", "or"]))
    return {
        "truth": truth[0],
        "compare": Compare(op="<", left=truth[0].value, right=truth[1].value),
        "not": Not(operand=truth[0]),
        "and": And(left=truth[0], right=truth[1]),
        "or": Or(left=truth[0], right=truth[1]),
    }[kind]  # type: ignore[return-value]


def _common(draw: st.DrawFn, steps: list[StepNode], scope: tuple[str, ...]) -> dict[str, object]:
    near = _reachable(steps, scope)
    guards = (_guard(draw, steps, scope),) if draw(st.integers(0, 3)) == 0 else ()
    after = tuple(draw(st.lists(st.sampled_from(near), max_size=2, unique=True))) if near and draw(st.booleans()) else ()
    return {"scope": scope, "guards": guards, "after": after}


def _a_step(draw: st.DrawFn, name: str, scope: tuple[str, ...], steps: list[StepNode]) -> StepNode:
    inputs = tuple((f"x{i}", _binding(draw, steps, scope)) for i in range(draw(st.integers(0, 2))))
    return StepNode(
        id=name,
        name=name,
        code=CodeRef(module="m", qualname="f"),
        inputs=inputs,
        outputs=(Port(name="result"),),
        **_common(draw, steps, scope),
    )  # type: ignore[arg-type]


def _a_map(draw: st.DrawFn, name: str, scope: tuple[str, ...], steps: list[StepNode]) -> MapNode:
    parallel = draw(st.sampled_from([None, None, 1, 2]))
    return MapNode(id=name, sources=(("item", _binding(draw, steps, scope, 1)),), parallel=parallel, **_common(draw, steps, scope))  # type: ignore[arg-type]
