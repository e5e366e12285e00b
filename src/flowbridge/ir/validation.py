"""All checks over a flow as data, whether it was just built or read from a store. They collect every problem."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowbridge.errors import FlowError, suggest
from flowbridge.ir import bindings as b
from flowbridge.ir.control import MapNode, bindings_of
from flowbridge.ir.graph import cycles, order, regions
from flowbridge.ir.versions import SCHEMA_VERSION

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph, StepNode

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_STEP_ID = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")
_MAP_ID = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]*(-[A-Za-z0-9_]+)*$")
_PLACEHOLDER = re.compile(r"\{(inputs|outputs)\.([^}]*)\}")
WHOLE = "*"


def validate(flow: FlowGraph) -> None:
    """Raise for a flow that cannot be run.

    Raises:
        FlowError: Something is wrong with it; lists every problem.
    """
    found = problems(flow)
    if found:
        raise FlowError(found, flow.name)


def problems(flow: FlowGraph) -> list[str]:
    """Return everything that is wrong with a flow, one sentence each, with the step, the argument and the way out."""
    if flow.schema_version > SCHEMA_VERSION:
        return [
            f"it is written in version {flow.schema_version} of the format, and this flowbridge reads up to {SCHEMA_VERSION}. Install a newer flowbridge."
        ]
    found = [*_names(flow), *_shapes(flow), *_References(flow).problems(), *_maps(flow)]
    if not any(True for _ in _dangling(flow)):
        found += _circles(flow)
    return list(dict.fromkeys(found))


def _names(flow: FlowGraph) -> Iterator[str]:
    if not re.match(r"^[A-Za-z_][A-Za-z0-9_-]*$", flow.name):
        yield f"{flow.name!r} cannot be the name of a flow: use letters, digits, '_' and '-', and begin with a letter."
    ids = [n.id for n in flow.nodes]
    for node_id, count in Counter(ids).items():
        if count > 1:
            yield f"{count} steps or maps have the id {node_id!r}. Give each an id of its own."
    for step in flow.steps:
        if not _STEP_ID.match(step.id):
            yield f"{step.id!r} cannot be the id of a step: use letters, digits and '_', and '.' after names of groups."
    for mapped in flow.maps:
        if not _MAP_ID.match(mapped.id):
            yield f"{mapped.id!r} cannot be the id of a map: use letters, digits, '_', '.' and '-'."
    for name, count in Counter(p.name for p in flow.parameters).items():
        if count > 1 or not _NAME.match(name):
            yield f"parameter {name!r} " + (f"stands {count} times in the flow." if count > 1 else "is no name.")


def _shapes(flow: FlowGraph) -> Iterator[str]:
    for step in flow.steps:
        yield from _step_shape(step)
    counts = {"none": flow.result, "single": len(flow.result) != 1, "tuple": not flow.result, "fields": not flow.result}
    if counts[flow.result_kind]:
        yield f"the flow's result is {flow.result_kind!r}, and it has {len(flow.result)} values."


def _step_shape(step: StepNode) -> Iterator[str]:
    if (step.code is None) == (step.container is None):
        yield f"step {step.id!r} must have either code or a container, and has {'neither' if step.code is None else 'both'}."
    ports = [p.name for p in step.outputs]
    fits = {"none": not ports, "single": len(ports) == 1, "tuple": bool(ports), "fields": bool(ports)}[step.output_kind]
    if not fits:
        yield f"step {step.id!r} returns {step.output_kind!r} and has {len(ports)} outputs."
    for what, names in (("output", ports), ("argument", [n for n, _ in step.inputs])):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"step {step.id!r} has {count} {what}s called {name!r}. Give each a name of its own."
    if step.container is not None:
        yield from _placeholders(step)


def _placeholders(step: StepNode) -> Iterator[str]:
    known = {"inputs": {n for n, _ in step.inputs}, "outputs": {p.name for p in step.outputs}}
    for part in step.container.command if step.container else ():
        for kind, name in _PLACEHOLDER.findall(part):
            if name not in known[kind]:
                yield f"step {step.id!r}: {{{kind}.{name}}} in the command names nothing among its {kind}.{suggest(name, known[kind])}"


def _maps(flow: FlowGraph) -> Iterator[str]:
    inside: dict[str, list[str]] = {m.id: [] for m in flow.maps}
    for node in flow.nodes:
        for map_id in node.scope:
            inside.get(map_id, []).append(node.id)
    for mapped in flow.maps:
        name = mapped.id.removesuffix("-map")
        if not mapped.sources:
            yield f"map over {name!r}: .map(...) without each(...). Say what to go through, such as x=each(xs); for one call, leave out .map."
        if not inside[mapped.id]:
            yield f"map over {name!r}: there is no step inside. Call a step in the mapped flow."
        elif mapped.batch is not None and len(inside[mapped.id]) > 1:
            yield f"map over {name!r}: batch= is for maps over one step, and {len(inside[mapped.id])} steps or maps are inside. Leave it out, or map over a step."
        yield from _sources(mapped, name)


def _sources(mapped: MapNode, name: str) -> Iterator[str]:
    lengths: dict[str, int] = {}
    for field, source in mapped.sources:
        if isinstance(source, b.ListOf):
            lengths[field] = len(source.items)
        elif isinstance(source, b.Constant) and isinstance(source.value, list):
            lengths[field] = len(source.value)
        elif isinstance(source, b.Constant) and source.value is not None:
            yield f"map over {name!r}: each(...) of {field!r} goes through {source.value!r}, which is no list. Give a list."
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{field!r} has {length}" for field, length in lengths.items())
        yield (
            f"map over {name!r}: lists in several each(...) are taken item by item and must be of one length: {told}. "
            f"Make them equal; for every combination use each(grid(...))."
        )


class _References:
    """Looks at whether everything that is named exists, and can be seen from where it is used."""

    def __init__(self, flow: FlowGraph) -> None:
        self.flow = flow
        self.parameters = {p.name for p in flow.parameters}

    def problems(self) -> Iterator[str]:
        for node in self.flow.nodes:
            where = f"map over {node.id.removesuffix('-map')!r}" if isinstance(node, MapNode) else f"step {node.id!r}"
            yield from self.scope(node, where)
            yield from self.after(node, where)
            for name, binding in node.sources if isinstance(node, MapNode) else node.inputs:
                yield from self.binding(binding, node.scope, f"{where}, argument {name!r}")
            for guard in node.guards:
                for binding in bindings_of(guard):
                    yield from self.binding(binding, node.scope, f"{where}, condition")
        for name, binding in self.flow.result:
            yield from self.binding(binding, (), f"the flow's result {name!r}")

    def scope(self, node: StepNode | MapNode, where: str) -> Iterator[str]:
        for i, map_id in enumerate(node.scope):
            mapped = self.flow.maps_by_id.get(map_id)
            if mapped is None:
                yield f"{where}: it is inside a map {map_id!r} that does not exist."
            elif mapped.scope != node.scope[:i]:
                yield f"{where}: it is inside the maps {', '.join(node.scope)}, but {map_id!r} does not stand in those before it."

    def after(self, node: StepNode | MapNode, where: str) -> Iterator[str]:
        for needed in node.after:
            if needed == node.id:
                yield f"{where}: after=[...] names the step itself."
            elif needed not in self.flow.steps_by_id and needed not in self.flow.maps_by_id:
                yield f"{where}: after=[...] names {needed!r}, and no step has that id.{suggest(needed, [n.id for n in self.flow.nodes])}"

    def binding(self, binding: b.Binding, scope: tuple[str, ...], where: str) -> Iterator[str]:
        if isinstance(binding, b.FromStep):
            yield from self.output(binding, where)
        elif isinstance(binding, b.FromParameter):
            if binding.name not in self.parameters:
                yield f"{where}: the flow has no parameter {binding.name!r}.{suggest(binding.name, self.parameters)}"
        elif isinstance(binding, b.FromItem):
            yield from self.item(binding, scope, where)
        elif isinstance(binding, b.Collected):
            yield from self.collected(binding, scope, where)
        elif not isinstance(binding, b.Constant):
            if isinstance(binding, b.FirstOf) and not binding.choices:
                yield f"{where}: first() of nothing. Give it at least one value."
            for part in _parts(binding):
                yield from self.binding(part, scope, where)

    def output(self, binding: b.FromStep, where: str) -> Iterator[str]:
        producer = self.flow.steps_by_id.get(binding.step)
        if producer is None:
            yield f"{where}: there is no step {binding.step!r}.{suggest(binding.step, self.flow.steps_by_id)}"
            return
        ports = [p.name for p in producer.outputs]
        whole = binding.output == WHOLE and producer.output_kind in {"tuple", "fields"}
        if not whole and binding.output not in ports:
            has = ", ".join(ports) if ports else "none"
            yield f"{where}: step {binding.step!r} has no output {binding.output!r}; it has {has}.{suggest(binding.output, ports)}"

    def item(self, binding: b.FromItem, scope: tuple[str, ...], where: str) -> Iterator[str]:
        mapped = self.flow.maps_by_id.get(binding.map)
        if mapped is None:
            yield f"{where}: there is no map {binding.map!r}."
        elif binding.map not in scope:
            yield f"{where}: it uses an item of the map {binding.map!r} from outside of it. Return the value from the mapped flow."
        elif binding.field not in dict(mapped.sources):
            yield f"{where}: the map {binding.map!r} goes through no {binding.field!r}."

    def collected(self, binding: b.Collected, scope: tuple[str, ...], where: str) -> Iterator[str]:
        mapped = self.flow.maps_by_id.get(binding.map)
        if mapped is None:
            yield f"{where}: there is no map {binding.map!r}."
        elif scope[: len(mapped.scope)] != mapped.scope or binding.map in scope:
            yield f"{where}: it collects the map {binding.map!r} from a place that does not see the whole of it."
        else:
            yield from self.binding(binding.value, (*mapped.scope, mapped.id), where)


def _parts(binding: b.FirstOf | b.ListOf | b.DictOf | b.RecordOf | b.GridOf) -> tuple[b.Binding, ...]:
    if isinstance(binding, b.FirstOf):
        return binding.choices
    return binding.items if isinstance(binding, b.ListOf) else tuple(item for _, item in binding.items)


def _dangling(flow: FlowGraph) -> Iterator[str]:
    """Yield ids that are named and do not exist; with them the order cannot be looked at."""
    known = {*flow.steps_by_id, *flow.maps_by_id}
    for node in flow.nodes:
        named = [*node.scope, *node.after]
        for _, binding in node.sources if isinstance(node, MapNode) else node.inputs:
            named += [*b.steps_in(binding), *b.maps_in(binding)]
        for guard in node.guards:
            named += [i for binding in bindings_of(guard) for i in (*b.steps_in(binding), *b.maps_in(binding))]
        yield from (i for i in named if i not in known)


def _circles(flow: FlowGraph) -> Iterator[str]:
    if len(order(flow)) < len(flow.steps) + len(flow.maps):
        for group in cycles(flow):
            if len(group) > 1 or group[0] not in flow.node(group[0]).after:
                told = ", ".join(map(repr, group))
                yield f"steps {told} wait for each other, so none could start. Take one of them out of after=[...], or out of the arguments of another."
        return
    for region in regions(flow).values():
        left = [dict(region.edges).keys() - set(region.children)]
        if left[0]:
            told = ", ".join(repr(i) for i in sorted(left[0]))
            yield f"{told} wait for each other as a whole: something inside a map waits for what needs the whole map. Take it out of the map."
