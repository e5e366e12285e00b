"""What a flow asks of a backend, feature by feature."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING

from flowbridge.ir import bindings as b
from flowbridge.ir.graph import all_bindings

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph, StepNode


class Feature(Enum):
    """One thing a flow may use. Every backend's support table has a line for each.

    The value is the name that tables, errors and docs show.
    """

    STEPS = "steps and data between them"
    ANY_DAG = "any DAG, not only series-parallel ones"
    ORDER = "order without data (after=)"
    MULTIPLE_OUTPUTS = "several outputs (tuple, NamedTuple, dataclass)"
    MAP = "map over a list"
    MAP_DYNAMIC = "map over a list made by a step"
    MAP_NESTED = "maps inside maps"
    MAP_FLOW = "map of a flow"
    MAP_PARALLEL = "map with parallel="
    MAP_BATCH = "map with batch="
    CONDITIONS = "when / otherwise"
    FIRST = "first(...)"
    RETRY = "retries"
    RETRY_DELAY = "retry_delay and backoff"
    TIMEOUT = "timeout"
    ALLOW_FAILURE = "allow_failure"
    CACHE = "cache"
    CPU = "cpu"
    MEMORY = "memory"
    MEMORY_MAX = "memory_max (more memory after running out of it)"
    GPU = "gpu"
    GPU_SHARE = "a share of a GPU (gpu=0.5)"
    GPU_TYPE = "gpu_type"
    DISK = "disk"
    SHM = "shm"
    CUSTOM_RESOURCES = "resources named by the user"
    GANG = "nodes (a gang of tasks)"
    PACKAGES = "packages"
    REQUIREMENTS = "requirements"
    PYTHON = "python"
    IMAGE = "image"
    ENV = "env"
    SECRETS = "secrets"
    CONTAINER = "container steps"
    PLACEMENT = "target (a step elsewhere)"
    SCHEDULE = "schedule"
    TAGS = "tags"


FLOW_WIDE = "(flow)"


def features_of(flow: FlowGraph) -> dict[Feature, tuple[str, ...]]:
    """Return every feature a flow uses and the ids of the steps or maps that use it (``(flow)`` for the whole)."""
    found: dict[Feature, dict[str, None]] = {}
    for feature, user in _uses(flow):
        found.setdefault(feature, {})[user] = None
    return {f: tuple(users) for f, users in found.items()}


def _uses(flow: FlowGraph) -> Iterator[tuple[Feature, str]]:
    for node in flow.steps:
        yield Feature.STEPS, node.id
        yield from ((f, node.id) for f in _step_features(node))
    yield from _map_uses(flow)
    yield from _binding_uses(flow)
    if flow.schedule is not None:
        yield Feature.SCHEDULE, FLOW_WIDE
    if flow.tags:
        yield Feature.TAGS, FLOW_WIDE


def _map_uses(flow: FlowGraph) -> Iterator[tuple[Feature, str]]:
    for node in flow.maps:
        yield Feature.MAP, node.id
        if any(True for _, source in node.sources for _ in b.steps_in(source)):
            yield Feature.MAP_DYNAMIC, node.id
        if node.scope:
            yield Feature.MAP_NESTED, node.id
        inside = [s for s in flow.steps if node.id in s.scope]
        if len(inside) != 1 or any(node.id in m.scope for m in flow.maps):
            yield Feature.MAP_FLOW, node.id
        if node.parallel is not None:
            yield Feature.MAP_PARALLEL, node.id
        if node.batch is not None:
            yield Feature.MAP_BATCH, node.id
        if node.guards:
            yield Feature.CONDITIONS, node.id
        if node.after:
            yield Feature.ORDER, node.id


def _binding_uses(flow: FlowGraph) -> Iterator[tuple[Feature, str]]:
    for node in flow.nodes:
        if any(isinstance(part, b.FirstOf) for x in all_bindings(node) for part in b.walk(x)):
            yield Feature.FIRST, node.id
    if any(isinstance(part, b.FirstOf) for _, x in flow.result for part in b.walk(x)):
        yield Feature.FIRST, FLOW_WIDE


def _step_features(node: StepNode) -> Iterator[Feature]:
    resources, wish = node.resources, node.environment
    asked = {
        Feature.ORDER: node.after,
        Feature.MULTIPLE_OUTPUTS: node.output_kind in {"tuple", "fields"},
        Feature.CONDITIONS: node.guards,
        Feature.RETRY: node.retry.retries,
        Feature.RETRY_DELAY: node.retry.retries and node.retry.delay,
        Feature.TIMEOUT: node.timeout,
        Feature.ALLOW_FAILURE: node.allow_failure,
        Feature.CACHE: node.cache,
        Feature.CPU: resources.cpu,
        Feature.MEMORY: resources.memory,
        Feature.MEMORY_MAX: resources.memory_max,
        Feature.GPU: resources.gpu,
        Feature.GPU_SHARE: resources.gpu and resources.gpu % 1,
        Feature.GPU_TYPE: resources.gpu_type,
        Feature.DISK: resources.disk,
        Feature.SHM: resources.shm,
        Feature.CUSTOM_RESOURCES: resources.custom,
        Feature.GANG: node.nodes > 1,
        Feature.PACKAGES: wish.packages,
        Feature.REQUIREMENTS: wish.requirements,
        Feature.PYTHON: wish.python,
        Feature.IMAGE: wish.image,
        Feature.ENV: wish.env,
        Feature.SECRETS: wish.secrets,
        Feature.CONTAINER: node.container,
        Feature.PLACEMENT: node.target,
        Feature.TAGS: node.tags,
    }
    return (feature for feature, value in asked.items() if value)
