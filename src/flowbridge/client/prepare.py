"""Make a run ready: look at everything that could be wrong, then write the flow, the parameters, the code and `run.json`."""

from __future__ import annotations

import inspect
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, from_json, to_json

from flowbridge.backends.base import PreparedRun
from flowbridge.backends.registry import get_backend
from flowbridge.backends.support import table_gaps
from flowbridge.client import provenance
from flowbridge.client.locks import lock_steps, put_locks
from flowbridge.client.options import RunOptions, open_store
from flowbridge.engine.drivers import driver_of
from flowbridge.errors import FlowbridgeError, FlowError, ParameterError, StoreError, StoreUnavailableError, UnsupportedError
from flowbridge.ir.fingerprint import digest_of, dump
from flowbridge.packaging.bundle import Bundle, build
from flowbridge.records.files import RunFiles
from flowbridge.records.models import RunRecord

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.authoring.traced import TracedFlow
    from flowbridge.backends.base import Backend
    from flowbridge.environments import EnvironmentLock
    from flowbridge.ir.base import JsonValue
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.models import Driver
    from flowbridge.settings import Profile

_SHOWN = 10_000
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_INLINE = "inline"


def prepare(traced: TracedFlow, params: Mapping[str, Any], profile: Profile, options: RunOptions) -> PreparedRun:
    """Look at a run and write what it needs. If anything is wrong, nothing is written.

    Args:
        traced: The flow, built.
        params: The value of every parameter (`TracedFlow.coerce`).
        profile: The configuration in force.
        options: Of the run.

    Raises:
        UsageError: The backend cannot run the flow (lists every gap), or a step or parameter cannot travel.
        StoreError: The store cannot be written.
    """
    backend = get_backend(profile.backend)
    admit = getattr(backend, "admit", None)
    if admit is not None:
        profile = admit(profile, max_parallel=options.max_parallel)
    refuse_gaps(backend, traced.graph, profile)
    _refuse_secrets(traced.graph.name, params)
    bundle = _bundle(traced, profile.backend)
    graph = _with_code(traced.graph, bundle)
    with _told_as_store_error(profile.store):
        store = open_store(profile)
        locks = _locks(backend, graph, traced, store)
        record = _record(graph, params, profile, options, bundle, store, traced)
        record = record.model_copy(update={"locks": put_locks(locks, store), "driver": _driver(backend, profile)})
        files = RunFiles.create(store.content, record)
    return PreparedRun(
        graph=graph,
        record=record,
        store=store,
        files=files,
        profile=profile,
        functions=traced.functions,
        listener=options.listener,
        wait=options.wait,
        max_parallel=options.max_parallel,
    )


def deployment(traced: TracedFlow, params: Mapping[str, Any], profile: Profile, options: RunOptions) -> tuple[FlowGraph, RunRecord, Store]:
    """Write what runs need that are started elsewhere, and return the flow, a record like theirs without an id, and the store.

    Args:
        traced: The flow, built.
        params: Their parameters, as far as they are known.
        profile: The configuration in force.
        options: Of the runs.

    Raises:
        UsageError: A step or parameter cannot travel.
        StoreError: The store cannot be written.
    """
    _refuse_secrets(traced.graph.name, params)
    bundle = _bundle(traced, profile.backend)
    graph = _with_code(traced.graph, bundle)
    with _told_as_store_error(profile.store):
        store = open_store(profile)
        locks = put_locks(_locks(get_backend(profile.backend), graph, traced, store), store)
        record = _record(graph, params, profile, options, bundle, store, traced)
    return graph, record.model_copy(update={"id": "", "created": 0.0, "host": "", "locks": locks}), store


def _locks(backend: Backend, graph: FlowGraph, traced: TracedFlow, store: Store) -> dict[str, EnvironmentLock]:
    return lock_steps(graph, traced.functions, store) if getattr(backend, "enters_locks", False) else {}


def _driver(backend: Backend, profile: Profile) -> Driver | None:
    """Return this process, where a run that it starts goes on on this machine."""
    driven_here = getattr(backend, "driven_here", None)
    return driver_of() if driven_here is not None and driven_here(profile) else None


def gaps_of(backend: Backend, graph: FlowGraph, profile: Profile) -> list[str]:
    """Return everything that stands in the way of running a flow on a backend, one sentence each."""
    return list(dict.fromkeys([*table_gaps(graph, backend.support), *backend.gaps(graph, profile)]))


def refuse_gaps(backend: Backend, graph: FlowGraph, profile: Profile) -> None:
    """Refuse a flow that a backend cannot run.

    Raises:
        UnsupportedError: Something stands in the way; lists all of it.
    """
    gaps = gaps_of(backend, graph, profile)
    if gaps:
        raise UnsupportedError(backend.name, gaps)


def new_run_id() -> str:
    """Return an id that sorts by time and that two processes do not share: ``20251125-081243-4k7q2m``."""
    chance = "".join(secrets.choice(_ALPHABET) for _ in range(6))
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{chance}"


def _bundle(traced: TracedFlow, backend: str) -> Bundle | None:
    """Return the code of the steps. A run in this process can do without, where a function cannot travel."""
    try:
        return build(traced.functions)
    except FlowError as error:
        if backend == _INLINE:
            return None
        raise FlowError(error.problems, traced.graph.name) from error


def _with_code(graph: FlowGraph, bundle: Bundle | None) -> FlowGraph:
    """Return the flow with each function's place as the bundle has it."""
    code = bundle.code if bundle is not None else {}
    if all(s.code is None or code.get(s.id, s.code) == s.code for s in graph.steps):
        return graph
    return graph.model_copy(update={"steps": tuple(s.model_copy(update={"code": code.get(s.id, s.code)}) for s in graph.steps)})


def _record(
    graph: FlowGraph,
    params: Mapping[str, Any],
    profile: Profile,
    options: RunOptions,
    bundle: Bundle | None,
    store: Store,
    traced: TracedFlow,
) -> RunRecord:
    hints = traced.parameters
    refs = tuple((name, store.save(value, hint=hints.get(name), name=f"parameter {name!r}")) for name, value in params.items())
    commit = provenance.commit_of(_folder_of(traced))
    return RunRecord(
        id=new_run_id(),
        flow=graph.name,
        graph=store.save(dump(graph).decode(), name="the flow"),
        graph_digest=digest_of(graph),
        bundle=store.put_bundle(bundle.data) if bundle is not None else None,
        params=shown(params),
        param_refs=refs,
        backend=profile.backend,
        profile=profile.name,
        created=time.time(),
        user=provenance.user(),
        host=provenance.host(),
        commit=commit.hash,
        dirty=commit.dirty,
        python=provenance.python(),
        flowbridge=_version(),
        tags=tuple(dict.fromkeys([*graph.tags, *options.tags])),
        on_failure=options.on_failure,
    )


def shown(params: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return the parameters that JSON holds and that are not too long to be listed."""
    found: dict[str, JsonValue] = {}
    for name, value in params.items():
        try:
            text = to_json(value, inf_nan_mode="strings")
        except (PydanticSerializationError, ValueError):  # an array, an object of the user's
            continue
        if len(text) <= _SHOWN:
            found[name] = from_json(text)
    return found


def _refuse_secrets(flow: str, params: Mapping[str, Any]) -> None:
    for name, value in params.items():
        if isinstance(value, (SecretStr, SecretBytes)):
            raise ParameterError(
                f"Flow {flow!r}: parameter {name!r} is a secret, and parameters are written to the store. "
                f"Give it to the steps that need it: @step(secrets={{'VARIABLE': 'name/key'}})."
            )


def _folder_of(traced: TracedFlow) -> Path:
    """Return the folder that the first step with a file was written in, else the working directory."""
    for function in traced.functions.values():
        code = getattr(inspect.unwrap(function), "__code__", None)
        file = Path(code.co_filename) if code is not None else None
        if file is not None and file.is_file():
            return file.parent
    return Path.cwd()


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  (reads the package's metadata, once a run)

    return version("flowbridge")


@contextmanager
def _told_as_store_error(store: str) -> Iterator[None]:
    """Tell a store that cannot be written as one clear error, whatever its file system raised."""
    try:
        yield
    except FlowbridgeError:
        raise
    except OSError as error:
        raise StoreUnavailableError(
            f"The store {store!r} cannot be written: {error.strerror or error}. Name another with --store or in the configuration."
        ) from error
    except ImportError as error:
        raise StoreError(f"The store {store!r} cannot be opened: {error}") from error
