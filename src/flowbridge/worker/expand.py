"""The expansion of a map: how many items there are, and the list each item field is taken from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.reference import Reference
from flowbridge.errors import FlowbridgeError
from flowbridge.ir import bindings as b
from flowbridge.ir.control import bindings_of
from flowbridge.records import reasons
from flowbridge.records.models import Reason, TaskRecord
from flowbridge.worker.guards import describe, first_false
from flowbridge.worker.load import Loader
from flowbridge.worker.locate import Locator
from flowbridge.worker.lookup import Blocked, Lookup, Skipped
from flowbridge.worker.places import Gathering, Grid, Literal, Place, Several, Stored, worst

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowbridge.artifacts.store import Store
    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import Index


class ExpansionError(FlowbridgeError, ValueError):
    """A map cannot be expanded: something is not a list, or lists taken together differ in length."""


class _TooDearError(Exception):
    """The expansion needs values of the user's, so a real task has to do it."""


def expand_cheaply(graph: FlowGraph, node: MapNode, index: Index, files: RunFiles, store: Store) -> TaskRecord | None:
    """Expand a map from records alone, write its record and return it; None where values of the user's are needed.

    A scheduler can call this itself, in its own process: no user code runs and no user value is loaded.
    """
    locator = Locator(Lookup(graph, files))
    loader = Loader(store, files)
    began = time.time()

    def load(binding: b.Binding) -> Any:
        place = locator.locate(binding, node.scope, index)
        if isinstance(place, (Skipped, Blocked)) or not _is_plain(place):
            raise _TooDearError
        return loader.load(place)

    try:
        record = expand(node, index, locator, loader, load, cheap=True)
    except _TooDearError:
        return None
    except ExpansionError as error:
        record = TaskRecord(
            step=node.id, index=index, state="failed", finished=0, reason=Reason(kind="error", message=str(error), error=type(error).__name__)
        )
    return files.end(record.model_copy(update={"started": began, "finished": time.time()}))


def expand(
    node: MapNode, index: Index, locator: Locator, loader: Loader, load: Callable[[b.Binding], Any], *, cheap: bool = False, attempt: int = 0
) -> TaskRecord:
    """Return the record of a map's expansion, not yet written.

    Args:
        node: The map.
        index: One position for each map around it.
        locator: Finds bindings.
        loader: Loads and saves values.
        load: Returns the value of a binding that a condition reads.
        cheap: Refuse to load values of the user's.
        attempt: Of this task.

    Raises:
        ExpansionError: Something is not a list, or lists taken together differ in length.
    """
    places = [locator.locate(source, node.scope, index) for _, source in node.sources]
    guarded = [locator.locate(x, node.scope, index) for guard in node.guards for x in bindings_of(guard)]
    why = _why_not(node, index, [*guarded, *places], guarded, locator, load)
    if why is not None:
        return reasons.never_ran(node, index, why, attempt)
    lists = [
        (field, _as_list(place, field, node, loader, cheap=cheap))
        for (field, _), place in zip(node.sources, places, strict=True)
        if not isinstance(place, (Skipped, Blocked))
    ]
    lengths = {field: reference.length or 0 for field, reference in lists}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{field} has {length}" for field, length in lengths.items())
        raise ExpansionError(f"the lists that {node.id} takes item by item differ in length: {shown}. Make them equally long")
    count = next(iter(lengths.values()), 0)
    return TaskRecord(step=node.id, index=index, attempt=attempt, state="done", outputs=tuple(lists), count=count, finished=time.time())


def _why_not(
    node: MapNode, index: Index, places: list[Any], guarded: list[Any], locator: Locator, load: Callable[[b.Binding], Any]
) -> Reason | None:
    """Return why a map is not expanded; None if it is."""
    trouble = worst(places)
    blocked = trouble if isinstance(trouble, Blocked) else locator.after(node.after, node.scope, index)
    if blocked is not None:
        return blocked.reason
    skipped = worst(guarded)
    if skipped is None:
        false = first_false(node.guards, load)
        if false is not None:
            return reasons.condition_false(describe(false))
        skipped = trouble
    return reasons.skipped_input(skipped.step) if skipped is not None else None


def _as_list(place: Place, field: str, node: MapNode, loader: Loader, *, cheap: bool) -> Reference:
    """Return the reference of a list that can be read item by item."""
    if isinstance(place, Stored) and not place.path and place.reference.length is not None:
        return place.reference
    if isinstance(place, Gathering) and not place.each and not place.then:
        return loader.gather(place)
    if isinstance(place, Several) and place.keys is None and all(isinstance(i, Stored) and not i.path for i in place.items):
        return loader.store.collect([i.reference for i in place.items if isinstance(i, Stored)])
    if cheap and not _is_plain(place):
        raise _TooDearError
    return loader.store.save(items_of(loader.load(place), field, node), name=f"the items of {field!r} in {node.id}")


def _is_plain(place: Place) -> bool:
    """Return whether loading a place runs no code of the user's and reads no blob: JSON held by the flow or by a record."""
    if isinstance(place, Stored):
        return place.reference.inline is not None and place.reference.serializer == "json" and not place.path
    if isinstance(place, (Several, Grid)):
        return all(map(_is_plain, place.items))
    return isinstance(place, Literal) and place.constant.pickled is None


def items_of(value: Any, field: str, node: MapNode) -> list[Any]:
    """Return the items of what a map runs over.

    Raises:
        ExpansionError: It is not a collection of items.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        hint = " (for a dict, map over list(d.items()) or over its keys)" if isinstance(value, Mapping) else ""
        raise ExpansionError(f"{node.id} maps over {field!r}, which must be a list, but it is a {type(value).__name__}{hint}")
    return list(value)
