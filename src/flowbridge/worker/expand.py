"""The expansion of a map: how many items there are, and the list each item field is taken from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.reference import Reference
from flowbridge.errors import FlowbridgeError, StoreError
from flowbridge.records import reasons
from flowbridge.records.models import Reason, TaskRecord
from flowbridge.worker.decide import NotRun, decide
from flowbridge.worker.load import Loader
from flowbridge.worker.locate import Locator
from flowbridge.worker.lookup import Lookup
from flowbridge.worker.places import Gathering, Grid, Literal, Place, Several, Stored

if TYPE_CHECKING:
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
    began = time.time()
    try:
        record = Expander(Locator(Lookup(graph, files)), Loader(store, files), cheap=True).expand(node, index)
    except (_TooDearError, StoreError):  # what is wrong with the store is told by a real task, in its record
        return None
    except FlowbridgeError as error:
        reason = Reason(kind="error", message=str(error), error=type(error).__name__)
        record = TaskRecord(step=node.id, index=index, state="failed", finished=0, reason=reason)
    return files.end(record.model_copy(update={"started": began, "finished": time.time()}))


class Expander:
    """Expands maps.

    Args:
        locator: Finds bindings.
        loader: Loads and saves values.
        cheap: Refuse to load values of the user's.
    """

    def __init__(self, locator: Locator, loader: Loader, *, cheap: bool = False) -> None:
        self.locator = locator
        self.loader = loader
        self.cheap = cheap

    def expand(self, node: MapNode, index: Index, attempt: int = 0) -> TaskRecord:
        """Return the record of a map's expansion, not yet written.

        Raises:
            ExpansionError: Something is not a list, or lists taken together differ in length.
        """
        ready = decide(node, index, self.locator, self._load)
        if isinstance(ready, NotRun):
            return reasons.never_ran(node, index, ready.reason, attempt)
        lists = tuple((field, self._list(place, field, node)) for field, place in ready.inputs)
        lengths = {field: reference.length or 0 for field, reference in lists}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{field} has {length}" for field, length in lengths.items())
            raise ExpansionError(f"the lists that {node.id} takes item by item differ in length: {shown}. Make them equally long")
        count = next(iter(lengths.values()), 0)
        return TaskRecord(step=node.id, index=index, attempt=attempt, state="done", outputs=lists, count=count, finished=time.time())

    def _load(self, place: Place) -> Any:
        if self.cheap and not _is_plain(place):
            raise _TooDearError
        return self.loader.load(place)

    def _list(self, place: Place, field: str, node: MapNode) -> Reference:
        """Return the reference of a list that can be read item by item."""
        store = self.loader.store
        if isinstance(place, Stored) and not place.path and place.reference.length is not None:
            return place.reference
        if isinstance(place, Gathering) and not place.each and not place.then:
            return self.loader.gather(place)
        if isinstance(place, Several) and place.keys is None and all(isinstance(i, Stored) and not i.path for i in place.items):
            return store.collect([i.reference for i in place.items if isinstance(i, Stored)])
        return store.save(items_of(self._load(place), field, node), name=f"the items of {field!r} in {node.id}")


def _is_plain(place: Place) -> bool:
    """Return whether loading a place runs no code of the user's and reads no blob: JSON held by the flow or by a record."""
    if isinstance(place, Stored):
        return place.reference.inline is not None and place.reference.serializer == "json" and not place.path
    if isinstance(place, Several) and place.make is not None:
        return False
    if isinstance(place, (Several, Grid)):
        return all(map(_is_plain, place.items))
    return isinstance(place, Literal) and place.constant.pickled is None


def items_of(value: Any, field: str, node: MapNode) -> list[Any]:
    """Return the items of what a map runs over.

    Raises:
        ExpansionError: It is not a collection of items.
    """
    hint = _what_instead(value)
    if hint or isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ExpansionError(f"{node.id} maps over {field!r}, which must be a list, but it is of type {type(value).__name__}{hint}")
    return list(value)


def _what_instead(value: Any) -> str:
    """Return what to go through instead of what Python iterates over in a way that is not meant, or in no fixed order."""
    if isinstance(value, Mapping):
        return " (for a dict, map over list(d.items()) or over its keys)"
    if isinstance(value, (set, frozenset)):
        return " (a set has no order; return sorted(s))"
    if type(value).__name__ == "DataFrame":  # of pandas, polars, and others alike; none of them is imported for this
        return " (for its rows, return df.to_dict('records'))"
    return ""
