"""From a flow to the steps of a FlowSpec: splits, joins, foreaches, and the few steps that Metaflow needs between them.

Metaflow's rules that shape this: every split ends in one join; a join cannot split, nor start a foreach; a branch, and the inside of a
foreach, begin with one plain step; `end` is no join. Where a step of the user's can take on a part (split, join, make the list of a foreach) it
does; only where none can, a step is added, with the reason beside it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from flowbridge.backends.metaflow.names import Names
from flowbridge.ir.graph import order, regions
from flowbridge.ir.series_parallel import Parallel, Series, series_parallel

if TYPE_CHECKING:
    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.ir.graph import Region
    from flowbridge.ir.series_parallel import Cut, Form

Lanes = int | Literal["each"]
"""At most so many lanes; or one for each item, so that one step of Metaflow's may run several of ours for it."""
CANNOT_SPLIT = "A join of Metaflow's cannot split."


@dataclass(frozen=True)
class Call:
    """One line of a step's body: run the task of a step, or make the list of a map."""

    verb: Literal["task", "items"]
    node: str
    attribute: str = ""
    lanes: Lanes | None = None


@dataclass
class FlowStep:
    """One step of the FlowSpec.

    Attributes:
        name: Of the method.
        node: The step of the user's that it runs; None for one that was added.
        calls: What its body does, in order.
        scope: The maps it is inside of, outermost first.
        joins: It takes ``inputs``.
        next: The steps it leads to.
        foreach: Attribute that holds the list of a foreach.
        parallel: Number of nodes of the gang it leads to.
        lane: It runs the tasks of several items, one after the other (a map with ``parallel=``).
        bundle: The steps whose tasks it runs one after the other, where a target takes one step per map.
        why: Why it was added, or why it waits for more than it needs.
    """

    name: str
    node: StepNode | None = None
    calls: list[Call] = field(default_factory=list)
    scope: tuple[str, ...] = ()
    joins: bool = False
    next: list[FlowStep] = field(default_factory=list)
    foreach: str | None = None
    parallel: int | None = None
    lane: bool = False
    bundle: tuple[StepNode, ...] = ()
    why: str = ""

    @property
    def added(self) -> bool:
        """It stands for no step of the user's."""
        return self.node is None


@dataclass(frozen=True)
class Open:
    """Where the next step is to be hung.

    Attributes:
        ends: The steps that lead to it.
        join: It must be a join.
        entered: Its one predecessor splits already, so the next step must be a plain one.
    """

    ends: tuple[FlowStep, ...]
    join: bool = False
    entered: bool = False


Emission = Generator["Emission", Open, Open]


@dataclass(frozen=True)
class Lowered:
    """The FlowSpec's steps in the order of the file, and the names given to the flow's parameters."""

    steps: tuple[FlowStep, ...]
    parameters: tuple[tuple[str, str], ...]

    @property
    def added(self) -> tuple[FlowStep, ...]:
        """Steps beside `start` and `end` that stand for none of the user's."""
        return tuple(s for s in self.steps if s.added and s.name not in {"start", "end"})


def lower(graph: FlowGraph, *, bundles: bool = False) -> Lowered:
    """Return the steps of the FlowSpec of a flow.

    Args:
        graph: The flow.
        bundles: A foreach may hold one step only (Airflow): all that is inside a map becomes one step.
    """
    return _Lowering(graph, bundles=bundles).run()


class _Lowering:
    """The state of one lowering: names given out and steps made."""

    def __init__(self, graph: FlowGraph, *, bundles: bool) -> None:
        self.graph = graph
        self.bundles = bundles
        self.regions = regions(graph)
        self.order = order(graph)
        self.names = Names()
        self.step_names = {s.id: self.names.step(s.id) for s in graph.steps}
        self.parameters = tuple((p.name, self.names.attribute(p.name)) for p in graph.parameters)
        self.lists = {m.id: self.names.step(m.id) for m in graph.maps}
        self.steps: list[FlowStep] = []
        self.counters = {"join": 0, "split": 0}

    def run(self) -> Lowered:
        start = self.add(FlowStep("start"))
        opened = _trampoline(self.region(self.regions[None], Open((start,)), ()))
        end = FlowStep("end")
        if opened.join:
            opened = Open((self.join(opened, (), "Metaflow's `end` cannot be a join."),))
        self.hang(opened, end)
        self.add(end)
        return Lowered(tuple(self.steps), self.parameters)

    # --- shapes --------------------------------------------------------------------------------------------------------------

    def region(self, region: Region, opened: Open, scope: tuple[str, ...]) -> Emission:
        """Hang everything directly inside a map, or the flow itself."""
        form = series_parallel(dict(region.edges))
        return (yield self.form(form, opened, scope)) if form is not None else opened

    def form(self, form: Form, opened: Open, scope: tuple[str, ...], cut: Cut | None = None) -> Emission:
        """Hang one part of a series-parallel form."""
        if isinstance(form, Series):
            return (yield self.series(form, opened, scope))
        if isinstance(form, Parallel):
            return (yield self.branches(form, opened, scope, cut))
        node = self.graph.node(form)
        if form in self.graph.maps_by_id:
            return (yield self.map(self.graph.maps_by_id[form], opened, scope, cut))
        return self.step(self.graph.steps_by_id[node.id], opened, cut)

    def series(self, form: Series, opened: Open, scope: tuple[str, ...]) -> Emission:
        """Hang one part after the other."""
        cuts = {c.at: c for c in form.cuts}
        for position, part in enumerate(form.parts):
            opened = yield self.form(part, opened, scope, cuts.get(position))
        return opened

    def branches(self, form: Parallel, opened: Open, scope: tuple[str, ...], cut: Cut | None) -> Emission:
        """Split, hang each branch, and leave their ends to be joined."""
        splitter = self.splitter(opened, scope, cut)
        ends: list[FlowStep] = []
        for branch in form.branches:
            tail = yield self.form(branch, Open((splitter,), entered=True), scope)
            ends.extend((self.join(tail, scope, "Each branch ends in one step."),) if tail.join else tail.ends)
        return Open(tuple(ends), join=True)

    def map(self, node: MapNode, opened: Open, scope: tuple[str, ...], cut: Cut | None) -> Emission:
        """Hang a foreach over the items of a map."""
        inside = (*scope, node.id)
        region = self.regions[node.id]
        if not region.children:
            return self.planner(node, opened, scope, cut, plain=True)
        bundled = self.bundles and wants_bundle(self.graph, node)
        splitter = self.planner(node, opened, scope, cut, each=bundled).ends[0]
        entry = Open((splitter,), entered=True)
        if bundled:
            return Open(self.hang(entry, self.bundle(node)).ends, join=True)
        if node.parallel is not None:
            return Open(self.lane(node, entry).ends, join=True)
        tail = yield self.region(region, entry, inside)
        return Open((self.join(tail, inside, "Each item ends in one step."),) if tail.join else tail.ends, join=True)

    def bundle(self, node: MapNode) -> FlowStep:
        """Make the one step that runs all tasks inside a map, for one item or for the items of a lane."""
        made = FlowStep(self.names.step(f"{node.id}_tasks"), scope=(*node.scope, node.id), lane=True)
        inside = [n for n in self.order if node.id in self.graph.node(n).scope]
        made.calls = [Call("task" if n in self.graph.steps_by_id else "items", n) for n in inside]
        made.bundle = tuple(self.graph.steps_by_id[n] for n in inside if n in self.graph.steps_by_id)
        made.why = f"Airflow takes one step per map, so all that is inside of {node.id} runs here."
        return self.add(made)

    def lane(self, node: MapNode, opened: Open) -> Open:
        """Hang everything inside a map with `parallel=` as a chain: each lane takes its items through it one by one."""
        for inner in (n for n in self.order if node.id in self.graph.node(n).scope):
            if inner in self.graph.steps_by_id:
                opened = self.step(self.graph.steps_by_id[inner], opened, None, lane=True)
                continue
            if opened.entered:
                entry = FlowStep(self.names.step(f"{node.id}_lane"), scope=(*node.scope, node.id), lane=True)
                entry.why = f"The items of {inner} are counted first."
                opened = self.hang(opened, self.add(entry))
            opened.ends[0].calls.append(Call("items", inner))
        return opened

    def planner(
        self, node: MapNode, opened: Open, scope: tuple[str, ...], cut: Cut | None, *, plain: bool = False, each: bool = False
    ) -> Open:
        """Let a step make the list of a map: the one before it where it can, else one of its own."""
        last = opened.ends[0]
        if opened.join or opened.entered or last.joins or plain:
            if opened.join and not plain:
                opened = Open((self.join(opened, scope, "A join of Metaflow's cannot start a foreach.", cut),))
            last = self.add(FlowStep(self.names.step(f"{node.id}_items"), scope=scope))
            last.why = _cut_reason(cut) or f"Makes the list that {node.id} goes over."
            opened = self.hang(opened, last)
        attribute = "" if plain else self.lists[node.id]
        last.calls.append(Call("items", node.id, attribute, node.parallel or ("each" if each else None)))
        if not plain:
            last.foreach = attribute
        return Open((last,))

    # --- steps ---------------------------------------------------------------------------------------------------------------

    def step(self, node: StepNode, opened: Open, cut: Cut | None, *, lane: bool = False) -> Open:
        """Hang a step of the user's; a gang is split to, and joined."""
        made = FlowStep(self.step_names[node.id], node, [Call("task", node.id)], node.scope, lane=lane, why=_cut_reason(cut))
        if node.nodes > 1 and not lane:
            splitter = self.splitter(opened, node.scope, cut)
            splitter.parallel = node.nodes
            return Open(self.hang(Open((splitter,)), self.add(made)).ends, join=True)
        return self.hang(opened, self.add(made))

    def splitter(self, opened: Open, scope: tuple[str, ...], cut: Cut | None) -> FlowStep:
        """Return a step that may split: the last one where it can, else one of its own."""
        if opened.join:
            opened = Open((self.join(opened, scope, CANNOT_SPLIT, cut),))
        last = opened.ends[0]
        if not opened.entered and not last.joins:
            return last
        why = CANNOT_SPLIT if last.joins else "A branch, or an item, begins with one step."
        self.counters["split"] += 1
        made = FlowStep(self.names.step(f"split_{self.counters['split']}"), scope=scope, why=why)
        self.hang(opened, self.add(made))
        return made

    def join(self, opened: Open, scope: tuple[str, ...], why: str, cut: Cut | None = None) -> FlowStep:
        """Add a step that only joins."""
        self.counters["join"] += 1
        made = FlowStep(self.names.step(f"join_{self.counters['join']}"), scope=scope, why=_cut_reason(cut) or why)
        self.hang(opened, self.add(made))
        return made

    def hang(self, opened: Open, step: FlowStep) -> Open:
        """Lead all open ends to a step."""
        step.joins = opened.join
        for end in opened.ends:
            end.next.append(step)
        return Open((step,))

    def add(self, step: FlowStep) -> FlowStep:
        """Put a step into the file."""
        self.steps.append(step)
        return step


def wants_bundle(graph: FlowGraph, node: MapNode) -> bool:
    """Say whether there is more inside a map than one step."""
    steps = sum(node.id in s.scope for s in graph.steps)
    return steps > 1 or any(node.id in m.scope for m in graph.maps)


def _cut_reason(cut: Cut | None) -> str:
    """Say which wait was added."""
    if cut is None:
        return ""
    return f"{cut.late} does not need {cut.early}, but no nesting of splits and joins says so: here it waits for {cut.early} too."


def _trampoline(emission: Emission) -> Open:
    """Run generators that wait for each other, without recursion: flows nest thousands deep."""
    stack: list[Emission] = [emission]
    value: Open | None = None
    while stack:
        try:
            called = next(stack[-1]) if value is None else stack[-1].send(value)
        except StopIteration as done:
            stack.pop()
            value = done.value
        else:
            stack.append(called)
            value = None
    if value is None:
        raise AssertionError("an emission always returns where it left off")
    return value


def depth_of(steps: Sequence[FlowStep]) -> int:
    """Return how many foreaches are nested at most, gangs not counted."""
    return max((len(s.scope) for s in steps), default=0)
