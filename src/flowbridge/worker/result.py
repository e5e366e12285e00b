"""What a flow returned: its result put together from the outputs of an ended run."""

from __future__ import annotations

import sys
from collections import namedtuple
from typing import TYPE_CHECKING, Any

from flowbridge.errors import RunFailedError
from flowbridge.worker.load import Loader
from flowbridge.worker.locate import Locator
from flowbridge.worker.lookup import Blocked, Lookup, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowbridge.artifacts.store import Store
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.files import RunFiles


def resolve_result(
    graph: FlowGraph,
    files: RunFiles,
    store: Store,
    *,
    make: Callable[..., Any] | None = None,
    class_of: Callable[[str], Any] | None = None,
) -> Any:
    """Return what a flow returned. A part whose step was skipped is None.

    Args:
        graph: The flow.
        files: The records of the run.
        store: Where values are.
        make: The class of a result with fields, called with them by name; None: the one that the flow names, where its module is loaded
            here and the store is trusted to name any, else a named tuple of the same fields.
        class_of: Returns the class that a step returns, where it is known here.

    Raises:
        RunFailedError: A step that the result needs failed or was cancelled.
    """
    if graph.result_kind == "none":
        return None
    locator, loader = Locator(Lookup(graph, files)), Loader(store, files, class_of)
    values: dict[str, Any] = {}
    for name, binding in graph.result:
        place = locator.locate(binding, (), ())
        if isinstance(place, Blocked):
            raise RunFailedError(f"Run {files.run_id} of flow {graph.name!r} has no result: {place.step} {place.state}")
        values[name] = None if isinstance(place, Skipped) else loader.load(place)
    if graph.result_kind == "single":
        return next(iter(values.values()))
    if graph.result_kind == "tuple":
        return tuple(values.values())
    make = make or (_class_of(graph) if store.trust else None) or namedtuple("Result", list(values))  # noqa: PYI024  (its fields are known at run time only)
    return make(**values)


def _class_of(graph: FlowGraph) -> Callable[..., Any] | None:
    """Return the class that the flow returns, if its module is loaded here; nothing is imported for the sake of it."""
    module, _, qualname = (graph.result_type or "").partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None
