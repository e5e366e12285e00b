"""What a process keeps between tasks: the store, and of each run its record, its flow and its code."""

from __future__ import annotations

import contextlib
import inspect
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from flowbridge.errors import ArtifactDamagedError, UntrustedError
from flowbridge.ir.flow import FlowGraph
from flowbridge.ir.graph import dependencies
from flowbridge.packaging.loader import BundleLoader, CodeNotFoundError, open_bundle
from flowbridge.records.files import RunFiles
from flowbridge.worker.locate import Locator
from flowbridge.worker.lookup import Lookup

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import RunRecord
    from flowbridge.worker.logs import Mode
    from flowbridge.worker.order import WorkOrder

_RUNS_KEPT = 8


@dataclass(frozen=True)
class Hints:
    """The annotations of a function, as far as they can be evaluated."""

    parameters: Mapping[str, Any]
    result: Any = None

    def outputs(self, node: StepNode) -> dict[str, Any]:
        """Return the annotation of each output of a step."""
        names = [port.name for port in node.outputs]
        if node.output_kind == "single":
            return dict.fromkeys(names, self.result)
        if node.output_kind == "tuple":
            parts = typing.get_args(self.result)
            return dict(zip(names, parts, strict=False)) if len(parts) == len(names) else {}
        if node.output_kind == "fields" and isinstance(self.result, type):
            return _evaluated(self.result)
        return {}


class RunSession:
    """One run, as a worker sees it.

    Attributes:
        files: Its records.
        store: Where its values are.
    """

    def __init__(self, store: Store, files: RunFiles, functions: Mapping[str, Callable[..., Any]] | None, graph: FlowGraph | None) -> None:
        self.store = store
        self.files = files
        self._functions = dict(functions or {})
        self._graph = graph
        self._hints: dict[str, Hints] = {}

    @cached_property
    def record(self) -> RunRecord:
        """What `run.json` says."""
        return self.files.run()

    @cached_property
    def graph(self) -> FlowGraph:
        """The flow."""
        if self._graph is not None:
            return self._graph
        return flow_of(self.store, self.record)

    @cached_property
    def locator(self) -> Locator:
        """Finds bindings; remembers the final records it has read."""
        return Locator(Lookup(self.graph, self.files))

    @cached_property
    def loader(self) -> BundleLoader | None:
        """The run's code bundle, unpacked; None where the run has none."""
        if self.record.bundle is None:
            return None
        return open_bundle(self.store.get_bundle(self.record.bundle), code_cache(self.store))

    def function(self, node: StepNode) -> Callable[..., Any]:
        """Return the function of a step: the one this process has, or the one in the bundle.

        Raises:
            CodeNotFoundError: There is none.
            UntrustedError: It is pickled, and the profile does not trust the store.
        """
        found = self._functions.get(node.id)
        if found is not None:
            return found
        if self.loader is None:
            raise CodeNotFoundError(
                f"Run {self.files.run_id} has no code bundle: it was started where its functions stay in one process, and step {node.id} "
                f"cannot run anywhere else. Run the flow again, or resume it with its file"
            )
        if node.code is not None and node.code.by_value and not self.store.trust:
            raise UntrustedError(f"Step {node.id} is carried as a pickle, and this profile loads no pickles (trust = false)")
        self._functions[node.id] = self.loader.step(node.id, node.code)
        return self._functions[node.id]

    def class_of(self, step: str) -> Any:
        """Return the class that a step returns, if its code can be imported here."""
        node = self.graph.steps_by_id[step]
        try:
            return self.hints(node).result
        except ImportError:  # it needs packages that only its own environment has
            return None

    def hints(self, node: StepNode) -> Hints:
        """Return the annotations of a step's function."""
        if node.id not in self._hints:
            self._hints[node.id] = _hints(self.function(node))
        return self._hints[node.id]


class Session:
    """Runs of one store, opened once each.

    Args:
        store: The store; None: opened from the order's URL with the settings in force.
        functions: Step functions by step id, where this process (or the one it was forked from) has them.
        graph: The flow, where it is known already.
        capture: How output is caught: by file descriptor, the same with another process passing it on (``spool``), by Python's streams
            (in the user's own process), or not at all.
        echo: Whether output also goes where it would have gone.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        graph: FlowGraph | None = None,
        capture: Mode | None = None,
        echo: bool = True,
    ) -> None:
        self.capture = capture
        self.echo = echo
        self._store = store
        self._functions = functions
        self._graph = graph
        self._stores: dict[str, Store] = {}
        self._runs: dict[tuple[str, str, str], RunSession] = {}

    def run(self, order: WorkOrder) -> RunSession:
        """Return the run of an order."""
        key = (order.store, order.flow, order.run)
        if key not in self._runs:
            while len(self._runs) >= _RUNS_KEPT:
                del self._runs[next(iter(self._runs))]
            store = self._store or self._open(order.store)
            self._runs[key] = RunSession(store, RunFiles(store.content, order.flow, order.run), self._functions, self._graph)
        return self._runs[key]

    def capture_for(self, order: WorkOrder) -> Mode:
        """Return how to catch the output of a task: `inline` leaves the process's own streams to the user's debugger."""
        return self.capture or ("python" if order.backend == "inline" else "fd")

    def _open(self, url: str) -> Store:
        if url not in self._stores:
            self._stores[url] = open_store(url)
        return self._stores[url]


def open_store(url: str) -> Store:
    """Open a store with the settings in force here: its options, whether it is trusted, and the local cache."""
    from flowbridge.artifacts.store import Store  # noqa: PLC0415  (fsspec is loaded when the first task comes)
    from flowbridge.settings import load_profile  # noqa: PLC0415

    profile = load_profile(overrides={"store": url})
    cache = Path(profile.cache_dir).expanduser() if profile.cache_dir else None
    return Store.open(url, options=profile.store_options, trust=profile.trust, cache_dir=cache, cache_size=profile.cache_size)


def code_cache(store: Store) -> Path:
    """Return the local folder that unpacked code is kept in."""
    configured = getattr(store, "cache_dir", None)
    return Path(configured) if configured else Path(tempfile.gettempdir()) / "flowbridge-code"


def flow_of(store: Store, record: RunRecord) -> FlowGraph:
    """Return the flow of a run.

    Raises:
        ArtifactDamagedError: What stands in its place is none that this version knows.
    """
    text = _text(store.load(record.graph))
    try:
        graph = FlowGraph.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise _unreadable(record, f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}") from error
    nodes: list[StepNode | MapNode] = [*graph.steps, *graph.maps]
    known = {node.id for node in nodes}
    missing = {needed for node in nodes for needed in (*dependencies(node), *node.scope)} - known
    missing |= {around for node in nodes for around in node.scope} - graph.maps_by_id.keys()
    if missing:
        raise _unreadable(record, f"it has no step or map {min(missing)!r}")
    return graph


def _unreadable(record: RunRecord, why: str) -> ArtifactDamagedError:
    return ArtifactDamagedError(
        f"The flow of run {record.id} cannot be read by this version of flowbridge ({why}); "
        "it was written by a newer one, or by no flowbridge at all"
    )


def _text(value: Any) -> str | bytes:
    """Return JSON text, whether the store gives the flow as text, bytes or data."""
    if isinstance(value, (str, bytes)):
        return value
    import json  # noqa: PLC0415

    return json.dumps(value)


def _hints(function: Callable[..., Any]) -> Hints:
    found = _evaluated(inspect.unwrap(function))
    result = found.pop("return", None)
    return Hints(found, result)


def _evaluated(annotated: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(annotated)
    except Exception:  # noqa: BLE001  (annotations may name anything, for type checkers only)
        return dict(_one_by_one(annotated))


def _one_by_one(annotated: Any) -> Iterator[tuple[str, Any]]:
    """Yield the annotations that can be evaluated; values of the others are read as they were written."""
    names = getattr(annotated, "__globals__", None) or vars(sys.modules.get(annotated.__module__, typing))
    for name, text in getattr(annotated, "__annotations__", {}).items():
        with contextlib.suppress(Exception):
            yield from typing.get_type_hints(SimpleNamespace(__annotations__={name: text}), names).items()
