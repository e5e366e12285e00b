"""Hand flows over to systems that start runs by themselves: from their own pages, or by a schedule."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from flowbridge.authoring.parameters import adapter_for
from flowbridge.backends.registry import get_backend
from flowbridge.client.options import RunOptions
from flowbridge.client.prepare import deployment, refuse_gaps
from flowbridge.errors import ParameterError, StoreError, UnsupportedError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowbridge.authoring.decorators import Flow
    from flowbridge.authoring.traced import TracedFlow
    from flowbridge.backends.base import Backend, Compiled, Deployed
    from flowbridge.settings import Profile


def deploy(flow: Flow[..., Any], params: Mapping[str, Any] | None = None, **settings: Any) -> Deployed:
    """Hand a flow over; its schedule, if it has one, starts. What was deployed under its name before is replaced.

    Args:
        flow: The flow.
        params: Parameters of the runs that start by themselves; defaults for all others.
        settings: Options of a run: backend, profile, store.

    Raises:
        UsageError: The flow, a parameter or the configuration is wrong, or the backend starts no runs by itself.
        BackendError: The system did not answer, or refused.
    """
    options = RunOptions.of(settings)
    profile = options.load_profile()
    traced, backend = flow.trace(), get_backend(profile.backend)
    act = getattr(backend, "deploy", None)
    if act is None:
        raise UnsupportedError(backend.name, ["deploying: nothing there starts runs by itself. Run the flow from a scheduler of your own."])
    refuse_gaps(backend, traced.graph, profile)
    graph, record, store = deployment(traced, _given(traced, params or {}), profile, options)
    deployed: Deployed = act(graph, record, store, profile)
    return deployed


def compile_complete(backend: Backend, traced: TracedFlow, profile: Profile, options: RunOptions) -> Compiled:
    """Translate a flow so that its file alone is enough to start runs, where the backend has such a form and the store can be written.

    Only a store that others than this machine can reach is written to.
    """
    act = getattr(backend, "compile_deployable", None)
    if act is None or "://" not in profile.store:
        return backend.compile(traced.graph, profile)
    try:
        graph, record, store = deployment(traced, _given(traced, {}), profile, options)
        compiled: Compiled = act(graph, record, store, profile)
    except StoreError as error:
        alone = backend.compile(traced.graph, profile)
        note = f"only flowbridge can start runs of this file, because the store could not be written: {error}"
        return dataclasses.replace(alone, notes=[*alone.notes, note])
    return compiled


def _given(traced: TracedFlow, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that have a value: those given, checked and coerced, and the flow's defaults.

    Raises:
        ParameterError: One is unknown or of the wrong type.
    """
    known = traced.parameters
    for name in params:
        if name not in known:
            raise ParameterError(f"Flow {traced.graph.name!r} has no parameter {name!r}.{suggest(name, known)}")
    if all(name in params or name in traced.defaults for name in known):
        return traced.coerce((), dict(params))
    return {**traced.defaults, **{name: _coerced(traced, name, value) for name, value in params.items()}}


def _coerced(traced: TracedFlow, name: str, value: Any) -> Any:
    try:
        return adapter_for(traced.parameters[name]).validate_python(value)
    except ValueError as error:
        raise ParameterError(f"Flow {traced.graph.name!r}: parameter {name!r} does not take {value!r}: {error}") from error
