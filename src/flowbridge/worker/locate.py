"""Where the value of a binding is in the store, from records alone. Nothing is loaded here, so it is cheap and needs no user code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flowbridge.ir import bindings as b
from flowbridge.ir.graph import all_bindings, shared_depth
from flowbridge.records.expected import indices
from flowbridge.records.reasons import task_name
from flowbridge.worker.lookup import Blocked, Lookup, Skipped, trouble
from flowbridge.worker.places import Gathering, Grid, ItemOf, Joined, Literal, Located, Several, Stored, deeper, worst

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowbridge.artifacts.reference import Reference
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import Index

WHOLE = "*"
"""As the output of a `FromStep`: all outputs together, as the object the step returned."""


class Locator:
    """Finds bindings for the tasks of one run."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.graph = lookup.graph
        self._params = dict(lookup.files.run().param_refs)

    def locate(self, binding: b.Binding, scope: tuple[str, ...], index: Index) -> Located:  # noqa: PLR0911  (one for each kind of binding)
        """Return where the value of a binding is, for a task inside the maps of `scope`."""
        if isinstance(binding, b.Constant):
            return Literal(binding)
        if isinstance(binding, b.FromParameter):
            return Stored(self._params[binding.name], binding.path, f"parameter {binding.name!r}")
        if isinstance(binding, b.FromItem):
            return self._item(binding, scope, index)
        if isinstance(binding, b.FromStep):
            return self._output(binding, scope, index)
        if isinstance(binding, b.FirstOf):
            return self._first(binding, scope, index)
        if isinstance(binding, b.Collected):
            return self._collected(binding, index)
        return self._several(binding, scope, index)

    def _item(self, binding: b.FromItem, scope: tuple[str, ...], index: Index) -> Located:
        depth = scope.index(binding.map)
        found = self.lookup.output(binding.map, index[:depth], binding.field)
        if isinstance(found, (Skipped, Blocked)):
            return found
        origin = f"item {index[depth]} of {binding.field!r} in map {binding.map!r}"
        return ItemOf(found, index[depth], binding.path, origin)

    def _output(self, binding: b.FromStep, scope: tuple[str, ...], index: Index) -> Located:
        producer = self.graph.steps_by_id[binding.step]
        depth = shared_depth(producer.scope, scope)
        origin = f"output {binding.output!r} of step {binding.step!r}"
        if depth < len(producer.scope):
            return self._collect(producer, binding, index[:depth], origin)
        if binding.output == WHOLE:
            return deeper(self._joined(producer, index[:depth]), binding.path + binding.then)
        at = self.unit_of(producer, index[:depth])
        found = self.lookup.output(binding.step, at, binding.output)
        if isinstance(found, (Skipped, Blocked)):
            return found
        if self._is_batched(producer):
            return self._of_batch(producer, binding, index, found)
        return Stored(found, binding.path + binding.then, origin)

    def _joined(self, producer: StepNode, index: Index) -> Located:
        names = tuple(port.name for port in producer.outputs)
        places = [self._output(b.FromStep(step=producer.id, output=name), producer.scope, index) for name in names]
        trouble_ = worst(places)
        if trouble_ is not None:
            return trouble_
        return Joined(producer.id, producer.output_kind, names, tuple(p for p in places if not isinstance(p, (Skipped, Blocked))))

    def _first(self, binding: b.FirstOf, scope: tuple[str, ...], index: Index) -> Located:
        places = [self.locate(choice, scope, index) for choice in binding.choices]
        blocked = next((p for p in places if isinstance(p, Blocked)), None)
        if blocked is not None:
            return blocked
        there = next((p for p in places if not isinstance(p, Skipped)), places[-1])
        return deeper(there, binding.path)

    def _several(self, binding: b.ListOf | b.DictOf | b.RecordOf | b.GridOf, scope: tuple[str, ...], index: Index) -> Located:
        parts = list(_parts(binding))
        places = [self.locate(part, scope, index) for part in parts]
        trouble_ = worst(places)
        if trouble_ is not None:
            return trouble_
        found = tuple(p for p in places if not isinstance(p, (Skipped, Blocked)))
        if isinstance(binding, b.ListOf):
            return Several(found, tuple_=binding.tuple_)
        names = tuple(name for name, _ in binding.items)
        if isinstance(binding, b.RecordOf):
            return Several(found, names, make=binding.make, type=binding.type)
        return Several(found, names) if isinstance(binding, b.DictOf) else deeper(Grid(names, found), binding.path)

    # --- collected lists -----------------------------------------------------------------------------------------------------

    def _collect(self, producer: StepNode, binding: b.FromStep, prefix: Index, origin: str) -> Located:
        """Return the outputs of a mapped step."""
        kept = None if binding.path or binding.output == WHOLE else self.lookup.files.gathered(producer.id, prefix, binding.output)
        if kept is not None:
            return Stored(kept.reference, binding.then, origin)
        self._read_ahead(producer, prefix)
        if binding.output == WHOLE:
            leaf = binding.model_copy(update={"then": ()})
            return deeper(self._level(producer.scope, prefix, lambda at: self._output(leaf, producer.scope, at), [leaf]), binding.then)
        batched = self._is_batched(producer)
        items = self._references(producer, binding.output, prefix, batched=batched)
        if isinstance(items, (Skipped, Blocked)):
            return items
        return Gathering(producer.id, prefix, binding.output, items, batched, binding.path, binding.then, f"collected {origin}")

    def _read_ahead(self, producer: StepNode, prefix: Index) -> None:
        """Read the records of all tasks that are to be collected, many at once where the store is far away."""
        wanted = list(indices(self.graph, producer.scope[len(prefix) :], self.lookup.record, prefix))
        self.lookup.read_ahead(producer.id, wanted)

    def _references(self, producer: StepNode, output: str, prefix: Index, *, batched: bool) -> tuple[Any, ...] | Skipped | Blocked:
        """Return the references under one map, nested; whatever is blocked blocks the whole, what is skipped is left out."""
        units = self.lookup.units(producer.scope[len(prefix)], prefix)
        if isinstance(units, (Skipped, Blocked)):
            return units
        innermost = len(prefix) + 1 == len(producer.scope)
        found: list[Any] = []
        for position in range(units):
            at = (*prefix, position)
            item = self.lookup.output(producer.id, at, output) if innermost else self._references(producer, output, at, batched=batched)
            if isinstance(item, Blocked):
                return item
            if not isinstance(item, Skipped):
                found.append(item)
        return self._skipped_as_a_whole(producer, prefix) or tuple(found)

    def _collected(self, binding: b.Collected, index: Index) -> Located:
        """Return the list that a map of a flow gives, its value found anew for each item."""
        node = self.graph.maps_by_id[binding.map]
        scope, prefix = (*node.scope, node.id), index[: len(node.scope)]
        return deeper(self._level(scope, prefix, lambda at: self.locate(binding.value, scope, at), [binding.value]), binding.path)

    def _level(self, scope: tuple[str, ...], prefix: Index, leaf: Callable[[Index], Located], reads: Sequence[b.Binding]) -> Located:
        """Return a list over the items of a map, nested once for each map of the scope that is left."""
        map_id = scope[len(prefix)]
        record = self.lookup.record(map_id, prefix)
        state = trouble(record, map_id, prefix)
        if state is not None:
            return state
        count = record.count or 0 if record is not None else 0
        innermost = len(prefix) + 1 == len(scope)
        places = [
            leaf((*prefix, position)) if innermost else self._level(scope, (*prefix, position), leaf, reads) for position in range(count)
        ]
        blocked = next((p for p in places if isinstance(p, Blocked)), None)
        if blocked is not None:
            return blocked
        skipped = next(filter(None, (self._skipped_outside(part, scope, prefix) for part in reads)), None)
        return skipped or Several(tuple(p for p in places if not isinstance(p, (Skipped, Blocked))))

    # --- batches: one record for several items ---------------------------------------------------------------------------------

    def _is_batched(self, node: StepNode) -> bool:
        return self.graph.batch_of(node) is not None

    def unit_of(self, node: StepNode, index: Index) -> Index:
        """Return the index of the task that holds an item: of a batched map the last number counts batches."""
        size = self.graph.batch_of(node)
        return (*index[:-1], index[-1] // size) if size else index

    def _of_batch(self, producer: StepNode, binding: b.FromStep, index: Index, reference: Reference) -> Located:
        at = self.unit_of(producer, index)
        record = self.lookup.record(producer.id, at)
        size = self.graph.batch_of(producer) or 1
        position = index[-1] - at[-1] * size
        if record is not None and record.held is not None:
            if position not in record.held:
                return Skipped(task_name(producer.id, index))
            position = record.held.index(position)
        return ItemOf(reference, position, binding.path + binding.then, f"output {binding.output!r} of step {binding.step!r}")

    # --- skipped as a whole ----------------------------------------------------------------------------------------------------

    def _skipped_as_a_whole(self, node: StepNode, prefix: Index) -> Skipped | None:
        """Return whether a mapped step needs a skipped value from outside the map: then its list is skipped, not empty.

        `train.map(each(xs), by=y)` needs `y` as `train(y)` would, however many items `xs` has.
        """
        for binding in all_bindings(node):
            found = self._skipped_outside(binding, node.scope, prefix)
            if found is not None:
                return found
        return None

    def _skipped_outside(self, binding: b.Binding, scope: tuple[str, ...], prefix: Index) -> Skipped | None:
        if isinstance(binding, b.FromStep):
            producer = self.graph.steps_by_id[binding.step]
            if shared_depth(producer.scope, scope) > len(prefix):
                return self._skipped_as_a_whole(producer, prefix)
            return _only_skipped(self._output(binding, scope, prefix))
        if isinstance(binding, b.Collected):
            outside = len(self.graph.maps_by_id[binding.map].scope) <= len(prefix)
            return _only_skipped(self._collected(binding, prefix)) if outside else None
        if isinstance(binding, b.FirstOf):
            choices = [self._skipped_outside(choice, scope, prefix) for choice in binding.choices]
            return choices[-1] if all(choices) else None
        return next(filter(None, (self._skipped_outside(part, scope, prefix) for part in _parts(binding))), None)

    # --- order without data ----------------------------------------------------------------------------------------------------

    def after(self, steps: Sequence[str], scope: tuple[str, ...], index: Index) -> Blocked | None:
        """Return which of some order-only steps went wrong, if any; a skip or an allowed failure is no hindrance."""
        for step in steps:
            node = self.graph.node(step)
            prefix = index[: shared_depth(node.scope, scope)]
            found = self._all_ended(step, node.scope, prefix)
            if found is not None:
                return found
        return None

    def _all_ended(self, node_id: str, scope: tuple[str, ...], prefix: Index) -> Blocked | None:
        for depth in range(len(prefix), len(scope)):
            for at in indices(self.graph, scope[len(prefix) : depth], self.lookup.record, prefix):
                found = trouble(self.lookup.record(scope[depth], at), scope[depth], at)
                if isinstance(found, Blocked):
                    return found
        for at in indices(self.graph, scope[len(prefix) :], self.lookup.record, prefix):
            found = trouble(self.lookup.record(node_id, at), node_id, at)
            if isinstance(found, Blocked):
                return found
        return None


def _parts(binding: b.Binding) -> Iterator[b.Binding]:
    if isinstance(binding, b.ListOf):
        yield from binding.items
    elif isinstance(binding, (b.DictOf, b.RecordOf, b.GridOf)):
        yield from (item for _, item in binding.items)


def _only_skipped(place: Located) -> Skipped | None:
    return place if isinstance(place, Skipped) else None
