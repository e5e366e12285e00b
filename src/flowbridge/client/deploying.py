"""Hand flows over to systems that start runs by themselves: from their own pages, or by a schedule."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from flowbridge.authoring.flow_options import schedule_of
from flowbridge.authoring.parameters import adapter_for
from flowbridge.backends.registry import get_backend
from flowbridge.client.options import RunOptions
from flowbridge.client.prepare import deployment, refuse_gaps
from flowbridge.errors import ParameterError, StoreError, UnsupportedError, suggest
from flowbridge.ir.utc import check_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowbridge.authoring.decorators import Flow
    from flowbridge.authoring.traced import TracedFlow
    from flowbridge.backends.base import Backend, Compiled, Deployed, Listed
    from flowbridge.ir.flow import Schedule
    from flowbridge.settings import Profile


NO_SCHEDULE = "none"


def deploy(
    flow: Flow[..., Any],
    params: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    schedule: str | Schedule | None = None,
    timezone: str | None = None,
    **settings: Any,
) -> Deployed:
    """Hand a flow over; its schedule, if it has one, starts. What was deployed under its name before is replaced.

    Args:
        flow: The flow.
        params: Parameters of the runs that start by themselves; defaults for all others.
        name: By which it goes there, so that one flow can be deployed several times; None: its own.
        schedule: When runs start by themselves, instead of what the flow says: five fields of cron, or ``"none"``.
        timezone: Of the schedule.
        settings: Options of a run: backend, profile, store.

    Raises:
        UsageError: The flow, a parameter or the configuration is wrong, or the backend starts no runs by itself.
        BackendError: The system did not answer, or refused.
    """
    options = RunOptions.of(settings)
    profile = options.load_profile()
    traced, backend = scheduled(flow.trace(), schedule, timezone), get_backend(profile.backend)
    act = _able(backend, "deploy")
    refuse_gaps(backend, traced.graph, profile)
    given = _given(traced, params or {})
    missing = [p for p in traced.parameters if p not in given]
    if missing and traced.graph.schedule is not None:
        raise ParameterError(
            f"Flow {traced.graph.name!r} is to start by itself, and the parameter {', '.join(missing)} has no value: give one, or a default"
        )
    graph, record, store = deployment(traced, given, profile, options)
    deployed: Deployed = act(graph, record, store, profile, name=name)
    return deployed


def deployments(**settings: Any) -> list[Listed]:
    """Return the flows that were handed over to the system of a backend.

    Args:
        settings: Options of a run: backend, profile.

    Raises:
        UsageError: The configuration is wrong, or the backend knows of none.
        BackendError: The system did not answer, or refused.
    """
    profile = RunOptions.of(settings).load_profile()
    found: list[Listed] = _able(get_backend(profile.backend), "deployments")(profile)
    return found


def undeploy(name: str, **settings: Any) -> Listed:
    """Take a flow back that was handed over: nothing starts runs of it any more. Runs that were started stay.

    Args:
        name: By which it goes there.
        settings: Options of a run: backend, profile.

    Raises:
        UsageError: The configuration is wrong, or the backend takes nothing back.
        BackendError: The system did not answer, refused, or has nothing of that name.
    """
    profile = RunOptions.of(settings).load_profile()
    removed: Listed = _able(get_backend(profile.backend), "undeploy")(name, profile)
    return removed


def _able(backend: Backend, act: str) -> Callable[..., Any]:
    """Return what a backend does with deployments.

    Raises:
        UnsupportedError: It does nothing of the kind.
    """
    found: Callable[..., Any] | None = getattr(backend, act, None)
    if found is not None:
        return found
    if act == "deploy" or getattr(backend, "deploy", None) is None:
        raise UnsupportedError(backend.name, ["deploying: nothing there starts runs by itself. Run the flow from a scheduler of your own."])
    way = "Ask its own tools (kubectl get workflowtemplates, aws stepfunctions list-state-machines, the folder of DAGs)."
    raise UnsupportedError(backend.name, [f"listing and removing what was deployed: it keeps no list that flowbridge can read. {way}"])


def scheduled(traced: TracedFlow, schedule: str | Schedule | None, timezone: str | None) -> TracedFlow:
    """Return a flow with another schedule, if one is given.

    Raises:
        ConfigError: It is not five fields of cron, or there is no such time zone.
    """
    if schedule is None and timezone is None:
        return traced
    where = f"flow {traced.graph.name!r}"
    written = traced.graph.schedule if schedule is None else schedule
    wanted = schedule_of(None if written == NO_SCHEDULE else written, timezone, where)
    if wanted is not None:
        wanted = wanted.model_copy(update={"timezone": timezone or wanted.timezone})
        if wanted.timezone is not None:
            check_zone(wanted.timezone, f"{where}: timezone")
    return dataclasses.replace(traced, graph=traced.graph.model_copy(update={"schedule": wanted}))


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
