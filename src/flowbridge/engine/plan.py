"""What a flow's graph says about scheduling, worked out once: per map (and for the flow itself) who waits for whom.

A *slot* is one thing that can end for an item: a step, a map, or "a step of an inner map, all its items" (a collected slot).
Tasks are never listed here: a plan is as large as the flow, however many items its maps will have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Union

from flowbridge.ir import bindings as b
from flowbridge.ir.control import MapNode
from flowbridge.ir.graph import all_bindings, critical_length, shared_depth
from flowbridge.ir.policies import Retry

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph, StepNode


class Ref(NamedTuple):
    """A slot seen from a child: so many frames up, that slot."""

    up: int
    slot: int


class First(NamedTuple):
    """The first of several that was not skipped."""

    choices: tuple[Term, ...]


class All(NamedTuple):
    """All of several must be there; nothing at all is always there."""

    parts: tuple[Term, ...]


class Per(NamedTuple):
    """A list over the items of a map, each made of several values.

    It is skipped with the map and blocked by any item of `parts`. Of `beside`, values from outside of the map, only the task can tell.
    """

    map: Ref
    parts: tuple[Ref, ...]
    beside: tuple[Ref, ...]


Term = Union[Ref, First, All, Per]  # noqa: UP007  (evaluated at run time, on Python 3.10 too)


@dataclass
class Child:
    """A step or map directly inside a region.

    Attributes:
        number: Of its slot in the plan of its region.
        needs: Slots of the same region that must end before.
        outer: Slots of enclosing regions that must end before.
        value: What decides whether it can run: values that were skipped or failed.
        after: Slots that must not have failed.
        urgency: Sort key of the outermost map (or of itself), then of itself: negative lengths of the longest paths to an end.
    """

    node: StepNode | MapNode
    number: int
    needs: tuple[int, ...] = ()
    outer: tuple[Ref, ...] = ()
    value: All = field(default_factory=lambda: All(()))
    after: tuple[Ref, ...] = ()
    urgency: tuple[int, int] = (0, 0)
    retry: Retry = field(default_factory=Retry)

    @property
    def id(self) -> str:
        """Id of the step or map."""
        return self.node.id

    @property
    def is_map(self) -> bool:
        """It is a map: its task is the expansion."""
        return isinstance(self.node, MapNode)


@dataclass
class Plan:
    """One region: the nodes directly inside a map, or inside the flow itself.

    Attributes:
        map: The map; None for the flow itself.
        children: Steps and maps directly inside; their slots come first, in this order.
        names: Of each slot, the id of the node that it is about.
        users: Of each slot, the children of this region that wait for it.
        inner: Of each slot, who waits for it further inside: numbers of the maps on the way, then of the child.
        lifts: Of each slot, the slot of the enclosing region that collects it.
        through: Of each map among the children, the slots of this region that collect from inside it.
    """

    map: MapNode | None
    children: list[Child] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    users: list[list[int]] = field(default_factory=list)
    inner: list[list[tuple[tuple[int, ...], int]]] = field(default_factory=list)
    lifts: list[int | None] = field(default_factory=list)
    through: dict[int, list[int]] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)

    @property
    def parallel(self) -> int | None:
        """At most so many items at once."""
        return self.map.parallel if self.map is not None else None

    def add(self, name: str) -> int:
        """Make a slot and return its number."""
        number = self.slots[name] = len(self.names)
        self.names.append(name)
        self.users.append([])
        self.inner.append([])
        self.lifts.append(None)
        return number


def make_plans(graph: FlowGraph) -> dict[str | None, Plan]:
    """Return the plan of every region, by the id of its map (None for the flow itself)."""
    return _Planner(graph).plans


class _Planner:
    def __init__(self, graph: FlowGraph) -> None:
        self.graph = graph
        self.nodes: dict[str, StepNode | MapNode] = {**graph.steps_by_id, **graph.maps_by_id}
        self.plans: dict[str | None, Plan] = {None: Plan(None), **{m.id: Plan(m) for m in graph.maps}}
        for node in self.nodes.values():
            self._place(node)
        length = critical_length(graph)
        for node in self.nodes.values():
            self._read(node, length)
        for node in self.nodes.values():
            self._wait(node)

    def _region(self, scope: tuple[str, ...]) -> Plan:
        return self.plans[scope[-1] if scope else None]

    def _place(self, node: StepNode | MapNode) -> None:
        plan = self._region(node.scope)
        retry = Retry() if isinstance(node, MapNode) else node.retry
        plan.children.append(Child(node, plan.add(node.id), retry=retry))

    def _child(self, node: StepNode | MapNode) -> Child:
        plan = self._region(node.scope)
        return plan.children[plan.slots[node.id]]

    def _read(self, node: StepNode | MapNode, length: dict[str, int]) -> None:
        """Note what a node reads and comes after."""
        child = self._child(node)
        parts = [self._term(node, binding) for binding in all_bindings(node)]
        child.value = All(tuple(part for part in parts if part != All(())))
        child.after = tuple(self._ref(node, name) for name in node.after if name not in node.scope)
        outermost = node.scope[0] if node.scope else node.id
        child.urgency = (-length.get(outermost, 0), -length.get(node.id, 0))

    def _wait(self, node: StepNode | MapNode) -> None:
        """Note what a node waits for: what it reads, and what decides whether lists that it reads are skipped as a whole."""
        child, depth = self._child(node), len(node.scope)
        refs: dict[Ref, None] = {}
        for ref in (*_refs(child.value), *child.after):
            refs[ref] = None
            refs.update((Ref(depth - at, slot), None) for at, slot in self._outside(node, ref))
        child.needs = tuple(ref.slot for ref in refs if ref.up == 0)
        child.outer = tuple(ref for ref in refs if ref.up > 0)
        for slot in child.needs:
            self._region(node.scope).users[slot].append(child.number)
        for up, slot in child.outer:
            way = [self._region(node.scope[:i]).slots[node.scope[i]] for i in range(depth - up, depth)]
            self._region(node.scope[: depth - up]).inner[slot].append((tuple(way), child.number))

    def _outside(self, node: StepNode | MapNode, ref: Ref) -> Iterator[tuple[int, int]]:
        """Yield what a collected step reads from outside the maps it is collected over: depth and slot."""
        depth = len(node.scope) - ref.up
        first = self.nodes[self._region(node.scope[:depth]).names[ref.slot]]
        if len(first.scope) == depth:
            return
        seen, waiting = {first.id}, [first]
        while waiting:
            producer = waiting.pop()
            for up, slot in _refs(self._child(producer).value):
                at = len(producer.scope) - up
                if at <= depth:
                    yield at, slot
                    continue
                further = self.nodes[self._region(producer.scope[:at]).names[slot]]
                if further.id not in seen:
                    seen.add(further.id)
                    waiting.append(further)

    # --- what a node reads ---------------------------------------------------------------------------------------------------

    def _term(self, node: StepNode | MapNode, binding: b.Binding) -> Term:
        if isinstance(binding, b.FromStep):
            return self._ref(node, binding.step)
        if isinstance(binding, b.FirstOf):
            return First(tuple(self._term(node, choice) for choice in binding.choices))
        if isinstance(binding, b.ListOf):
            return All(tuple(self._term(node, item) for item in binding.items))
        if isinstance(binding, b.DictOf | b.RecordOf | b.GridOf):
            return All(tuple(self._term(node, item) for _, item in binding.items))
        if isinstance(binding, b.Collected):
            return self._per(node, binding)
        return All(())

    def _per(self, node: StepNode | MapNode, binding: b.Collected) -> Per:
        read = dict.fromkeys(b.steps_in(binding.value))
        inside = [step for step in read if binding.map in self.nodes[step].scope]
        beside = [step for step in read if step not in inside]
        return Per(self._ref(node, binding.map), *(tuple(self._ref(node, step) for step in steps) for steps in (inside, beside)))

    def _ref(self, node: StepNode | MapNode, name: str) -> Ref:
        """Return how a node sees another: as it is where they share all maps of the other, else all of its items."""
        other = self.nodes[name]
        depth = shared_depth(node.scope, other.scope)
        self._collect(other, depth)
        return Ref(len(node.scope) - depth, self._region(other.scope[:depth]).slots[name])

    def _collect(self, other: StepNode | MapNode, depth: int) -> None:
        """Make the slots that collect a node up to the region of that depth, from the inside out."""
        for level in range(len(other.scope) - 1, depth - 1, -1):
            plan = self._region(other.scope[:level])
            if other.id not in plan.slots:
                slot = plan.add(other.id)
                inside = self._region(other.scope[: level + 1])
                inside.lifts[inside.slots[other.id]] = slot
                plan.through.setdefault(plan.slots[other.scope[level]], []).append(slot)


def _refs(term: Term) -> Iterator[Ref]:
    if isinstance(term, Ref):
        yield term
    elif isinstance(term, Per):
        yield from (term.map, *term.parts, *term.beside)
    else:
        for part in term.choices if isinstance(term, First) else term.parts:
            yield from _refs(part)
