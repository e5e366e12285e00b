"""What a step declares, as Metaflow's decorators."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowbridge.ir.attempts import last_attempt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowbridge.backends.metaflow.options import Compute, MetaflowOptions
    from flowbridge.ir.flow import StepNode

MOST_RETRIES = 4
"""Metaflow refuses ``@retry(times=5)``: one attempt, the retries and a fallback must fit into six (``retry_decorator.py``)."""
GRACE = 60
"""Seconds that Metaflow's own timeout comes after ours, which ends the task, kills its processes and writes the reason."""
MEGABYTE = 10**6
_MINUTE = 60
_AMOUNTS = ("cpu", "memory", "memory_max", "gpu", "disk", "shm")


@dataclass(frozen=True)
class Decorator:
    """One decorator and its arguments."""

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()


def decorators(node: StepNode, compute: Compute, options: MetaflowOptions, *, lane: bool = False) -> list[Decorator]:
    """Return the decorators of a step, in the order in which they stand above it.

    Args:
        node: The step.
        compute: Where it runs.
        options: Settings of the profile.
        lane: It takes several items one after the other, so retries and time limits are per item, and ours.
    """
    made: dict[str, dict[str, Any]] = {}
    if compute == "kubernetes":
        made["kubernetes"] = _kubernetes(node, options)
    elif compute == "batch":
        made["batch"] = _batch(node, options)
    made["resources"] = dict(_resources(node, compute))
    if not lane:
        made["retry"] = _retry(node, compute)
        made["timeout"] = _timeout(node)
    made["environment"] = _environment(node, options)
    if node.nodes > 1:
        made["parallel"] = {}
    for name, arguments in raw(node).items():
        made[name] = {**made.get(name, {}), **arguments}
    always = {"parallel", "kubernetes", "batch", *raw(node)}
    return [Decorator(name, tuple(arguments.items())) for name, arguments in made.items() if arguments or name in always]


def together(nodes: Sequence[StepNode]) -> StepNode:
    """Return a stand-in for steps whose tasks run in one container, one after the other: it asks for the most that any of them does."""
    first = nodes[0]
    every = [n.resources for n in nodes]
    most = {f: max((v for r in every if (v := getattr(r, f)) is not None), default=None) for f in _AMOUNTS}
    secrets = tuple(dict.fromkeys(s for n in nodes for s in n.environment.secrets))
    environment = first.environment.model_copy(update={"secrets": secrets, "env": ()})  # the worker sets each step's variables
    return first.model_copy(update={"resources": first.resources.model_copy(update=most), "environment": environment})


def raw(node: StepNode) -> dict[str, dict[str, Any]]:
    """Return what the user wrote for Metaflow alone, by decorator."""
    return _raw(node.platform)


def _raw(platform: tuple[tuple[str, Any], ...]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for backend, settings in platform:
        if backend == "metaflow" and isinstance(settings, dict):
            for name, arguments in settings.items():
                found.setdefault(name, {}).update(arguments if isinstance(arguments, dict) else {})
    return found


def raw_of_flow(platform: tuple[tuple[str, Any], ...]) -> dict[str, dict[str, Any]]:
    """Return what the user wrote about the whole flow for Metaflow alone, by decorator."""
    return _raw(platform)


def megabytes(size: int) -> int:
    """Return bytes in the unit that Metaflow takes, rounded up (``100M`` on Kubernetes, MiB on AWS Batch, never less than asked for)."""
    return math.ceil(size / MEGABYTE)


def _environment(node: StepNode, options: MetaflowOptions) -> dict[str, Any]:
    """Return the variables that are set for Metaflow's task; the worker sets all of them, also those that Argo would take for templates."""
    shown = {k: v for k, v in sorted(node.environment.env) if options.target != "argo-workflows" or "{{" not in v}
    return {"vars": shown} if shown else {}


def _resources(node: StepNode, compute: Compute) -> Iterator[tuple[str, Any]]:
    asked = node.resources
    if asked.cpu is not None:
        yield "cpu", _cores(asked.cpu, compute)
    if asked.memory is not None:
        most = asked.memory_max if compute != "local" and asked.memory_max else asked.memory
        yield "memory", megabytes(most)
    if asked.gpu is not None:
        yield "gpu", math.ceil(asked.gpu)
    if asked.disk is not None:
        yield "disk", megabytes(asked.disk)
    if asked.shm is not None:
        yield "shared_memory", megabytes(asked.shm)


def _cores(cpu: float, compute: Compute) -> float | int:
    if compute == "batch" or cpu == int(cpu):
        return math.ceil(cpu)
    return cpu


def metaflow_retries(node: StepNode) -> int:
    """Return how often Metaflow itself retries a step: what the user wrote for Metaflow alone, else as often as declared, up to 4."""
    times = raw(node).get("retry", {}).get("times")
    return int(times) if times is not None else min(last_attempt(node), MOST_RETRIES)


def _retry(node: StepNode, compute: Compute) -> dict[str, Any]:
    times = min(last_attempt(node), MOST_RETRIES)
    if not times:
        return {}
    minutes = 0 if compute == "local" else int(node.retry.delay // _MINUTE)
    return {"times": times, "minutes_between_retries": minutes}


def _timeout(node: StepNode) -> dict[str, Any]:
    if node.timeout is None:
        return {}
    attempts = max(1, last_attempt(node) - MOST_RETRIES + 1)
    return {"seconds": math.ceil(node.timeout) * attempts + GRACE}


def _kubernetes(node: StepNode, options: MetaflowOptions) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if image := node.environment.image or options.image:
        made["image"] = image
    made.update(_copy(options.kubernetes))
    if node.environment.image:
        made["image"] = node.environment.image
    if node.resources.gpu_type:
        made["node_selector"] = {**made.get("node_selector", {}), options.gpu_label: node.resources.gpu_type}
    if node.environment.secrets:
        names = [*made.get("secrets", []), *(s.name for s in node.environment.secrets)]
        made["secrets"] = list(dict.fromkeys(names))
    return made


def _batch(node: StepNode, options: MetaflowOptions) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if options.image:
        made["image"] = options.image
    made.update(_copy(options.batch))
    if node.environment.image:
        made["image"] = node.environment.image
    queue = options.gpu_queues.get(node.resources.gpu_type or "")
    if queue is not None:
        made["queue"] = queue
    return made


def _copy(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return dict(arguments)


def secret_sources(node: StepNode, compute: Compute) -> list[str]:
    """Return the names of the secrets that ``@secrets`` fetches: on AWS Batch, from Metaflow's default place for secrets."""
    if compute != "batch":
        return []
    return list(dict.fromkeys(s.name for s in node.environment.secrets))
