"""What a flow returned: its result put together from the outputs of an ended run."""

from __future__ import annotations

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


def resolve_result(graph: FlowGraph, files: RunFiles, store: Store, *, make: Callable[..., Any] | None = None) -> Any:
    """Return what a flow returned. A part whose step was skipped is None.

    Args:
        graph: The flow.
        files: The records of the run.
        store: Where values are.
        make: The class of a result with fields, called with them by name; None: a named tuple of the same fields.

    Raises:
        RunFailedError: A step that the result needs failed or was cancelled.
    """
    if graph.result_kind == "none":
        return None
    locator, loader = Locator(Lookup(graph, files)), Loader(store, files)
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
    return (make or namedtuple("Result", list(values)))(**values)  # noqa: PYI024  (its fields are known at run time only)
