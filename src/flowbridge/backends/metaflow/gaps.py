"""What a flow asks that Metaflow, or the target at hand, cannot do; beyond the support table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow import quick_graph
from flowbridge.backends.metaflow.configured import configuration_gaps
from flowbridge.backends.metaflow.lower import lower, wants_bundle
from flowbridge.backends.metaflow.options import DEPLOYED, options_of
from flowbridge.backends.metaflow.place import PlaceError, compute_of, place_name
from flowbridge.backends.metaflow.resources import MOST_RETRIES, raw, raw_of_flow
from flowbridge.backends.metaflow.schedule import cron_for
from flowbridge.engine.capacity import Capacity
from flowbridge.engine.here import container_gaps
from flowbridge.errors import suggest

if TYPE_CHECKING:
    from flowbridge.backends.metaflow.options import Compute, MetaflowOptions
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.settings import Profile

_LONGEST = 900
_MOST_PATHS = 5_000
"""Metaflow's own graph code overflows the stack on longer chains, and takes minutes for more paths (measured: 2.19)."""


def find_gaps(graph: FlowGraph, profile: Profile) -> list[str]:
    """Return every reason why this flow cannot run, one sentence each, with the way out."""
    options = options_of(profile)
    found: list[str] = []
    for node in graph.steps:
        try:
            compute = compute_of(node, profile, options)
        except PlaceError as error:
            found.append(f"{error}.")
            continue
        found.extend(_of_step(graph, node, compute, profile, options))
    found.extend(container_gaps(node for node in graph.steps if _runs_here(node, profile, options)))
    found.extend(_of_flow(graph, profile, options))
    found.extend(_raw_gaps(graph))
    found.extend(configuration_gaps(graph, options, computes_of(graph, profile, options)))
    found.extend(_size_gaps(graph))
    return found


def _runs_here(node: StepNode, profile: Profile, options: MetaflowOptions) -> bool:
    try:
        return compute_of(node, profile, options) == "local"
    except PlaceError:  # told by itself
        return False


def computes_of(graph: FlowGraph, profile: Profile, options: MetaflowOptions) -> set[Compute]:
    """Return everywhere that steps of a flow run."""
    found: set[Compute] = {options.compute} if options.deployed else set()
    for node in graph.steps:
        try:
            found.add(compute_of(node, profile, options))
        except PlaceError:  # told by itself
            continue
    return found


def _size_gaps(graph: FlowGraph) -> Iterator[str]:
    """Yield a sentence if the flow is too large for Metaflow's own graph code, and this version of it is not one that flowbridge speeds up."""
    found = version("metaflow")
    if quick_graph.is_known(found):
        return
    lowered = lower(graph)
    paths: dict[str, int] = {}
    for step in reversed(lowered.steps):
        paths[step.name] = sum(paths[s.name] for s in step.next) or 1
    if len(lowered.steps) > _LONGEST or paths["start"] > _MOST_PATHS:
        yield (
            f"Metaflow {found} takes apart every path through a graph, and this flow has {len(lowered.steps)} steps and {paths['start']:,} paths. "
            f"flowbridge makes that linear for Metaflow {quick_graph.FIRST_KNOWN[0]}.{quick_graph.FIRST_KNOWN[1]} to "
            f"{quick_graph.LAST_KNOWN[0]}.{quick_graph.LAST_KNOWN[1]}: install one of those."
        )


# --- steps -------------------------------------------------------------------------------------------------------------------


def _of_step(graph: FlowGraph, node: StepNode, compute: Compute, profile: Profile, options: MetaflowOptions) -> Iterator[str]:
    if options.target in DEPLOYED and compute != options.compute:
        yield (
            f"step {node.id} is placed at {place_name(node, profile)!r}, but all steps of a {options.target} deployment run there. "
            f"Use the target 'kubernetes' or 'batch', whose scheduler is on this machine, or drop the placement."
        )
    if compute == "local":
        yield from _here(node, profile)
    else:
        yield from _remote(node, compute, options)
    lane = next((m for m in node.scope if graph.maps_by_id[m].parallel is not None), None)
    if node.nodes > 1 and lane is not None:
        yield f"step {node.id} has nodes={node.nodes} inside of {lane}, a map with parallel=. Drop one of the two."
    if node.nodes > 1 and options.target in {"step-functions", "airflow"}:
        yield f"step {node.id} has nodes={node.nodes}, which Metaflow cannot deploy to {options.target}. Use another target."
    times = raw(node).get("retry", {}).get("times", 0)
    if isinstance(times, int) and times > MOST_RETRIES:
        yield f"step {node.id} asks Metaflow for retry(times={times}); it takes {MOST_RETRIES} at most. Write retries={times} instead."


def _here(node: StepNode, profile: Profile) -> Iterator[str]:
    capacity, asked = Capacity.detect(profile.machine), node.resources
    if asked.cpu is None and node.nodes > 1:  # a member that declares no cpu counts as one core, and all members start together
        asked = asked.model_copy(update={"cpu": min(1.0, capacity.cpu)})
    why = capacity.impossible(asked, node.nodes)
    if why is not None:
        yield f"step {node.id}: {why}."
    import os  # noqa: PLC0415  (only names of variables are looked at)

    for secret in node.environment.secrets:
        if secret.name not in os.environ and secret.env not in os.environ:
            where = f"set the environment variable {secret.name} where the flow is started"
            yield f"step {node.id}: the secret {secret.name!r} is not there: {where}."


def _remote(node: StepNode, compute: Compute, options: MetaflowOptions) -> Iterator[str]:
    where = {"kubernetes": "Kubernetes", "batch": "AWS Batch"}[compute]
    asked = node.resources
    if asked.gpu is not None and asked.gpu % 1:
        yield f"step {node.id} asks for gpu={asked.gpu:g}; {where} gives whole GPUs only. Ask for a whole one, or run it on this machine."
    if asked.custom:
        names = ", ".join(name for name, _ in asked.custom)
        yield f"step {node.id} asks for {names}, which only this machine's account knows. Drop it, or run the step on this machine."
    if compute == "batch" and asked.gpu_type and asked.gpu_type not in options.gpu_queues:
        yield (
            f"step {node.id} asks for gpu_type={asked.gpu_type!r}, and no queue is named for it. "
            f"Set gpu_queues = {{ {asked.gpu_type!r} = 'QUEUE' }} in the profile's metaflow settings."
        )
    if compute == "batch" and asked.disk:
        yield f"step {node.id} asks for disk=; Metaflow cannot ask AWS Batch for it. Use metaflow={{'batch': {{'ephemeral_storage': ...}}}}."
    if node.container is not None:
        yield f"step {node.id} is a container step: a container on {where} has no podman or docker. Run it on this machine (target='local')."


# --- the flow ----------------------------------------------------------------------------------------------------------------


def _of_flow(graph: FlowGraph, profile: Profile, options: MetaflowOptions) -> Iterator[str]:
    if profile.store.startswith("memory:"):
        yield f"the store {profile.store} lives in one process only, and each task runs in its own: use a folder or a bucket."
    if computes_of(graph, profile, options) - {"local"} and "://" not in profile.store.removeprefix("file://"):
        yield f"the store {profile.store} is a folder of this machine, which containers do not see. Use a bucket, such as s3://BUCKET/flowbridge."
    if options.target == "argo-workflows":
        yield from _argo_gaps(graph)
    yield from _schedule_gaps(graph, options)
    if options.target == "airflow":
        yield from _airflow_gaps(graph)
    if options.target in {"step-functions", "airflow"}:
        for name in ("trigger", "trigger_on_finish", "exit_hook"):
            if name in raw_of_flow(graph.platform):
                yield f"the flow asks Metaflow for @{name}, which it cannot deploy to {options.target}. Use argo-workflows."


def _argo_gaps(graph: FlowGraph) -> Iterator[str]:
    for parameter in graph.parameters:
        if "{{" in str(parameter.default):
            yield f"the default of parameter {parameter.name} holds '{{{{', which Argo would take for a template. Give the value when a run is started."


def _schedule_gaps(graph: FlowGraph, options: MetaflowOptions) -> Iterator[str]:
    if graph.schedule is None:
        return
    try:
        cron_for(graph.schedule.cron, options.target, graph.schedule.timezone)
    except ValueError as error:
        yield f"the schedule: {error}."


def _airflow_gaps(graph: FlowGraph) -> Iterator[str]:
    """Airflow maps single tasks (``airflow.py``), so all that is inside a map runs in one container."""
    for node in graph.maps:
        inside = [s for s in graph.steps if node.id in s.scope]
        if node.scope or not wants_bundle(graph, node):
            continue
        for what, kinds in (
            ("images", {s.environment.image for s in inside}),
            ("kinds of GPU", {s.resources.gpu_type for s in inside}),
            ("metaflow= settings", {json.dumps(raw(s), sort_keys=True) for s in inside}),
        ):
            if len(kinds) > 1:
                yield (
                    f"the steps inside of map {node.id} name different {what}; on Airflow they run in one container. "
                    f"Give them the same, or use argo-workflows."
                )
    for parameter in graph.parameters:
        if parameter.required:
            yield f"parameter {parameter.name} has no default, which Airflow needs. Give it one."


# --- what was written for Metaflow alone -------------------------------------------------------------------------------------


def _raw_gaps(graph: FlowGraph) -> Iterator[str]:
    asked = [(f"step {n.id}", name, arguments) for n in graph.steps for name, arguments in raw(n).items()]
    flow_wide = list(raw_of_flow(graph.platform).items())
    if not asked and not flow_wide:
        return
    from metaflow import plugins  # noqa: PLC0415  (0.2 s: only where something was written for Metaflow alone)

    steps = {d.name: d.defaults for d in plugins.STEP_DECORATORS if not d.name.endswith("_internal")}
    flows = {d.name: d.defaults for d in plugins.FLOW_DECORATORS}
    for who, name, arguments in asked:
        yield from _raw_gap(who, name, arguments, steps)
    for name, arguments in flow_wide:
        yield from _raw_gap("the flow", name, arguments, flows)


def _raw_gap(who: str, name: str, arguments: dict[str, Any], known: dict[str, dict[str, Any]]) -> Iterator[str]:
    if name not in known:
        yield f"{who} asks Metaflow for @{name}, which it does not have.{suggest(name, known)}"
        return
    for key in arguments:
        if key not in known[name]:
            yield f"{who} asks Metaflow for @{name}({key}=...), an argument that it does not have.{suggest(key, known[name])}"
