"""How many pods a run takes and how large it becomes on the server, before it is submitted.

The figures per task were seen on a server of version 2.15 with Argo 3.7; they are estimates and are shown as such.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.emit import compact
from flowbridge.ir.bindings import Constant, FromParameter, ListOf
from flowbridge.ir.control import MapNode

if TYPE_CHECKING:
    from flowbridge.backends.kubeflow.compile import Pipeline
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.ir.graph import Region

TASK_SPEC = 900
"""Bytes of the Argo object for one task, beside the task's own JSON."""
LOOP_SPEC = 2500
POD_STATUS = 4600
"""Bytes of status for one pod, while it is not compressed."""
COMPRESSION = 8
"""Argo compresses the status of a large object by about that much (gzip, then base64)."""
ARGO_LIMIT = 1024 * 1024
"""Argo stops a run whose object is larger than this after compression (`workflow/packer/packer.go`, MAX_WORKFLOW_SIZE)."""
COMFORTABLE_TASKS = 400
PODS_A_TASK, PODS_A_DAG = 2, 1


@dataclass
class Pods:
    """Pods of a run.

    Attributes:
        fixed: Those that every run has.
        each: For a map whose length is not known: how many each of its units adds, by the map's id.
    """

    fixed: int = 0
    each: dict[str, int] = field(default_factory=dict)

    def add(self, other: Pods, times: int = 1) -> None:
        """Add the pods of a part that runs so many times."""
        self.fixed += other.fixed * times
        for map_id, count in other.each.items():
            self.each[map_id] = self.each.get(map_id, 0) + count * times

    def text(self) -> str:
        """Return the sentence that `flowbridge check` shows."""
        more = "".join(f", and {count} for each item of {map_id}" for map_id, count in self.each.items())
        return f"about {self.fixed} pods a run{more} (2 for each task, 1 for each group and loop)"


Params = Mapping[str, Any]


def pods(graph: FlowGraph, regions: Mapping[str | None, Region], *, checked: bool, params: Params | None = None) -> Pods:
    """Count the pods of a run.

    Args:
        graph: The flow.
        regions: Its regions.
        checked: The pipeline has a last task for failures that the server does not see.
        params: Parameters of the run, where they are known: maps over them have a length then.
    """
    total = _region(graph, regions, None, params or {})
    total.fixed += PODS_A_DAG * 2 + PODS_A_TASK + (PODS_A_TASK if checked else 0)
    return total


def _region(graph: FlowGraph, regions: Mapping[str | None, Region], map_id: str | None, params: Params) -> Pods:
    total = Pods()
    for child in regions[map_id].children:
        node = graph.node(child)
        total.fixed += PODS_A_TASK
        if not isinstance(node, MapNode):
            total.fixed += node.nodes if node.nodes > 1 else 0
            continue
        inside = _region(graph, regions, child, params)
        inside.fixed += PODS_A_DAG
        total.fixed += PODS_A_DAG
        units = known_units(node, params)
        if units is None:
            label = f"{child} (of {node.batch} items)" if node.batch else child
            total.add(Pods(0, {label: inside.fixed, **inside.each}))
        else:
            total.add(inside, units)
    return total


def known_units(node: MapNode, params: Params) -> int | None:
    """Return how many units a map has, where a list in the flow's own code or a parameter says so."""
    lengths = [_length(source, params) for _, source in node.sources]
    known = [n for n in lengths if n is not None]
    if not known:
        return None
    return math.ceil(min(known) / (node.batch or 1))


def _length(source: object, params: Params) -> int | None:
    if isinstance(source, ListOf):
        return len(source.items)
    if isinstance(source, FromParameter) and not source.path and isinstance(params.get(source.name), list):
        return len(params[source.name])
    if isinstance(source, Constant) and isinstance(source.value, list):
        return len(source.value)
    return None


@dataclass(frozen=True)
class Size:
    """Sizes in bytes.

    Attributes:
        ir: Of the compiled file.
        tasks: Number of tasks written in it.
        spec: Of the Argo object when it is created.
        running: Of the Argo object when all known pods are done and its status is compressed if need be.
    """

    ir: int
    tasks: int
    spec: int
    running: int

    @property
    def fits(self) -> bool:
        """Whether a run can come to its end on a server with Argo's default limit."""
        return max(self.spec, self.running) <= ARGO_LIMIT


def size_of(pipeline: Pipeline, counted: Pods) -> Size:
    """Estimate what a pipeline becomes on the server."""
    spec = tasks = 0
    components = pipeline.spec["components"]
    for dag in (pipeline.spec["root"], *(c for c in components.values() if "dag" in c)):
        for task in dag["dag"]["tasks"].values():
            tasks += 1
            written = _escaped(compact(task))
            spec += 2 * written + LOOP_SPEC if "parameterIterator" in task else written + TASK_SPEC
    spec += sum(_escaped(compact(c)) for c in components.values())
    spec += sum(_escaped(compact(e)) for e in pipeline.spec["deploymentSpec"]["executors"].values())
    spec += _escaped(compact(pipeline.platform))
    status = (counted.fixed + sum(counted.each.values())) * POD_STATUS
    running = spec + (status if spec + status <= ARGO_LIMIT else status // COMPRESSION)
    return Size(ir=len(pipeline.data), tasks=tasks, spec=spec, running=running)


def _escaped(text: str) -> int:
    """Return the bytes of a JSON text once it stands inside another JSON text."""
    return len(text.encode()) + text.count('"') + text.count("\\")


def kilobytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / 1000:.0f} kB"
