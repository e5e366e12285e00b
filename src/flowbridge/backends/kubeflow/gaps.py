"""What stands in the way of a flow on Kubeflow beyond the support table, and what is worth knowing before it runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowbridge.backends.kubeflow.bootstrap import driver_note
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.cron import cron_of
from flowbridge.backends.kubeflow.gang.template import gang_gaps
from flowbridge.backends.kubeflow.lint.platform import FIELDS, unknown_setting
from flowbridge.backends.kubeflow.names import is_key, is_object_name
from flowbridge.backends.kubeflow.options import hidden_store_options, options_of
from flowbridge.backends.kubeflow.resources import kubernetes_secret, raw_kubernetes
from flowbridge.backends.kubeflow.size import ARGO_LIMIT, COMFORTABLE_TASKS, Params, Size, kilobytes, pods, size_of
from flowbridge.backends.kubeflow.soft import soft_nodes
from flowbridge.backends.kubeflow.support import TABLE
from flowbridge.backends.support import table_gaps
from flowbridge.engine.here import container_gaps
from flowbridge.errors import ConfigError
from flowbridge.ir.graph import regions

if TYPE_CHECKING:
    from flowbridge.backends.kubeflow.compile import Pipeline
    from flowbridge.backends.kubeflow.options import KubeflowOptions
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile

SECONDS_A_TASK = 20


def find_gaps(graph: FlowGraph, profile: Profile) -> list[str]:
    """Return every reason why a flow cannot run with these settings, with step names and the way out."""
    options = options_of(profile)
    found = [
        *_raw_gaps(graph),
        *_text_gaps(graph),
        *_crossed_gaps(graph),
        *_backoff_gaps(graph),
        *_secret_gaps(graph, options),
        *gang_gaps(graph, options),
    ]
    if options.flavor == "vertex":
        from flowbridge.backends.kubeflow.vertex import vertex_gaps  # noqa: PLC0415  (only who uses Vertex loads it)

        return [*found, *vertex_gaps(graph, profile, options)]
    found += _store_gaps(profile, options)
    if options.local:
        found += container_gaps(graph.steps)
    if options.address is not None and not found and not table_gaps(graph, TABLE):
        found += size_gaps(graph, compile_flow(graph, profile))
    return found


def size_gaps(graph: FlowGraph, pipeline: Pipeline, params: Params | None = None) -> list[str]:
    """Return that a run would grow too large for the server, if it would.

    Args:
        graph: The flow.
        pipeline: What it was compiled to.
        params: Parameters of the run, where they are known.
    """
    size = _size(graph, pipeline, params)
    return [] if size.fits else [_too_large(graph, size)]


def find_notes(graph: FlowGraph, profile: Profile, pipeline: Pipeline | None = None) -> list[str]:
    """Return what `flowbridge check` tells: pods, size, what differs under these settings."""
    options = options_of(profile)
    soft = soft_nodes(graph, regions(graph))
    counted = pods(graph, regions(graph), checked=bool(soft))
    notes = [counted.text()]
    if table_gaps(graph, TABLE):
        return notes
    size = _size(graph, pipeline or compile_flow(graph, profile))
    notes.append(
        f"pipeline of {size.tasks} tasks, {kilobytes(size.ir)}; "
        f"on the server about {kilobytes(size.spec)}, {kilobytes(size.running)} at its end"
    )
    if not size.fits:
        notes.append(_too_large(graph, size))
    elif size.tasks > COMFORTABLE_TASKS:
        notes.append(
            f"more than {COMFORTABLE_TASKS} tasks in one run seldom end well on a server; each takes some {SECONDS_A_TASK} s of its own"
        )
    if soft:
        notes.append(
            "a failure of " + ", ".join(sorted(soft)) + " is seen only in flowbridge's records and in the task 'check': "
            "Kubeflow would leave out more than depends on it"
        )
    notes += _schedule_notes(graph, options) if options.address else []
    hidden = hidden_store_options(profile) if options.address else []
    if hidden and options.store_options is None:
        notes.append(f"the store options {', '.join(hidden)} look like credentials and stay here; give them to pods by kubeflow.secrets")
    if "://" not in profile.store and not options.local and not options.volumes:
        notes.append(f"the store {profile.store!r} is a folder of this machine; pods need one they can reach, such as s3://...")
    needed = None if options.local else driver_note(profile)
    return [*notes, needed] if needed else notes


def _schedule_notes(graph: FlowGraph, options: KubeflowOptions) -> list[str]:
    """Tell of a schedule that keeps the flow from being deployed, though it can be run."""
    try:
        if graph.schedule is not None:
            cron_of(graph.schedule, options.schedule_timezone)
    except ConfigError as error:
        return [f"cannot be deployed: {error}"]
    return []


def _size(graph: FlowGraph, pipeline: Pipeline, params: Params | None = None) -> Size:
    known = regions(graph)
    return size_of(pipeline, pods(graph, known, checked=bool(soft_nodes(graph, known)), params=params))


def _too_large(graph: FlowGraph, size: Size) -> str:
    way = "give maps batch=, so that one pod takes several items" if graph.maps else "join small steps, or split the flow"
    return (
        f"the run would be about {kilobytes(max(size.spec, size.running))} on the server, which takes {kilobytes(ARGO_LIMIT)}: "
        f"its pipeline has {size.tasks} tasks. {way[0].upper()}{way[1:]}."
    )


def _raw_gaps(graph: FlowGraph) -> list[str]:
    found = []
    for node in graph.steps:
        raw = dict(node.platform).get("kubeflow")
        if raw is not None and not isinstance(raw, dict):
            found.append(f"step {node.id}: kubeflow= must be a mapping of pod settings, not {type(raw).__name__}.")
        found += [f"step {node.id}: kubeflow=: {unknown_setting(name)}" for name in raw_kubernetes(node) if name not in FIELDS]
    return found


def _store_gaps(profile: Profile, options: KubeflowOptions) -> list[str]:
    if options.address is None or "://" in profile.store or options.volumes:
        return []
    way = "Set a store that both reach, such as store = 's3://bucket/path', or mount a volume there (kubeflow.volumes)."
    return [f"store: {profile.store!r} is a folder of this machine, pods cannot reach it. {way}"]


def _crossed_gaps(graph: FlowGraph) -> list[str]:
    """Tell of maps that wait for each other, each for a step in the middle of the other: a loop runs as a whole."""
    found = []
    for region in regions(graph).values():
        crossed = [child for child, _ in region.edges if child not in region.children]
        if crossed:
            found.append(
                f"{', '.join(crossed)}: these wait for steps inside each other, and Kubeflow runs a loop as a whole. Split the map in two."
            )
    return found


def _backoff_gaps(graph: FlowGraph) -> list[str]:
    """Tell of factors that are no whole numbers: Argo cannot read them, and would fail the step for good at its first failure."""
    return [
        f"step {s.id}: backoff={s.retry.backoff:g} is no whole number, and Kubeflow's scheduler takes no other. "
        f"Use backoff={math.floor(s.retry.backoff)} with a longer retry_delay=, or backoff={math.ceil(s.retry.backoff)}."
        for s in graph.steps
        if s.retry.retries and s.retry.backoff != int(s.retry.backoff)
    ]


def _secret_gaps(graph: FlowGraph, options: KubeflowOptions) -> list[str]:
    """Tell of secrets that cannot exist in the cluster: their pods would wait for them for ever."""
    if options.local or options.flavor != "open":
        return []
    found = []
    for node, secret in ((s, secret) for s in graph.steps for secret in s.environment.secrets):
        name, key = kubernetes_secret(secret, options)
        if is_object_name(name) and is_key(key):
            continue
        what = (
            f"a Kubernetes secret cannot be called {name!r} (lower case only)" if not is_object_name(name) else f"{key!r} is no key of one"
        )
        found.append(
            f"step {node.id}: secret {secret.name!r}: {what}. Say where it is in the profile, kubeflow.secrets = "
            f"{{{secret.name} = 'secret/key'}}, or in the step, secrets={{{secret.env!r}: 'secret/key'}}."
        )
    return found


def _text_gaps(graph: FlowGraph) -> list[str]:
    names = [graph.name, *(s.id for s in graph.steps), *(m.id for m in graph.maps)]
    return [f"the name {name!r} holds '{{{{', which Argo would replace. Use another name." for name in names if "{{" in name]
