"""From a flow to the nested DAGs of a pipeline: a region of the flow becomes a DAG, a map two tasks in it (its expansion and its loop).

Nothing but the run, the step and the indices passes between tasks. All data goes through the store, so every edge is an order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.components import JOB, RUN, STEP, UNITS, Components, Interface, index_input, output_name
from flowbridge.backends.kubeflow.lint.control import ALWAYS
from flowbridge.backends.kubeflow.names import Names, display
from flowbridge.ir.control import MapNode
from flowbridge.ir.flow import FlowGraph
from flowbridge.ir.graph import Region

if TYPE_CHECKING:
    from flowbridge.ir.flow import StepNode
    from flowbridge.ir.policies import Retry

Json = dict[str, Any]
CHECK, FINISH = "check", "finish"
JOB_ID = "{{$.pipeline_job_uuid}}"


@dataclass
class Lowering:
    """One flow on its way to a pipeline.

    Attributes:
        graph: The flow.
        regions: Its regions by the id of their map.
        components: Where components are made.
        parameters: The flow's parameters and their types.
        soft: Steps and maps whose failure the server must not see.
        tasks: Name of the task of each step, and of the loop of each map, in its DAG.
    """

    graph: FlowGraph
    regions: Mapping[str | None, Region]
    components: Components
    parameters: tuple[tuple[str, str], ...]
    soft: frozenset[str]
    tasks: dict[str, str] = field(default_factory=dict)

    def flow_dag(self) -> Json:
        """Return the DAG of the whole flow, with a last task that fails the run for failures the server did not see."""
        tasks = self._dag(None, 0, Names(CHECK))
        if self.soft:
            needed = {name for task in tasks.values() for name in task.get("dependentTasks", ())}
            tasks[CHECK] = self._task(Interface(does=CHECK), CHECK, "check", None, [n for n in tasks if n not in needed])
        return {"tasks": tasks}

    def _dag(self, map_id: str | None, depth: int, names: Names) -> Json:
        region = self.regions[map_id]
        edges = dict(region.edges)
        tasks: Json = {}
        for child in region.children:
            node = self.graph.node(child)
            name = self.tasks[child] = names.give(child)
            needs = [self.tasks[needed] for needed in edges[child]]
            if isinstance(node, MapNode):
                tasks |= self._map(node, name, depth, needs, starts=map_id is None and not needs)
            else:
                tasks[name] = self._step(node, name, depth, needs, starts=map_id is None and not needs)
        return tasks

    def _step(self, node: StepNode, name: str, depth: int, needs: list[str], *, starts: bool) -> Json:
        interface = Interface(
            does="task",
            depth=depth,
            outputs=tuple(output_name(port.name) for port in node.outputs),
            parameters=self.parameters if starts else (),
            retried=node.retry.retries > 0,
            grows=node.resources.memory_max is not None,
            soft=node.id in self.soft,
            items=self.graph.batch_of(node) or 1,
        )
        task = self._task(interface, name, ".".join((*node.group, node.name)), node, needs)
        if node.retry.retries:
            task["retryPolicy"] = retry_policy(node.retry)
        return task

    def _map(self, node: MapNode, name: str, depth: int, needs: list[str], *, starts: bool) -> Json:
        planner = f"{name}-items"
        interface = Interface(does="items", depth=depth, parameters=self.parameters if starts else (), soft=node.id in self.soft)
        return {
            planner: self._task(interface, planner, f"{node.id} (items)", None, needs, step=node.id),
            name: self._loop(node, name, planner, depth),
        }

    def _loop(self, node: MapNode, name: str, planner: str, depth: int) -> Json:
        """Return the loop over the units that the planner lists.

        kfp's local runner looks for the list under the name ``pipelinechannel--<task>-Output`` and nowhere else. The server records a
        loop under its title (`backend/src/v2/driver/dag.go`), beside tasks that it records under their names: they must not be alike.
        """
        units, item = f"pipelinechannel--{planner}-{UNITS}", index_input(depth)
        component = self.components.names.component(f"{name}-loop")
        self.components.specs[component] = {
            "dag": {"tasks": self._dag(node.id, depth + 1, Names())},
            "inputDefinitions": {
                "parameters": {
                    **_declared(depth + 1),
                    units: {"parameterType": "LIST"},
                }
            },
        }
        loop: Json = {
            "taskInfo": {"name": name},
            "componentRef": {"name": component},
            "dependentTasks": [planner],
            "inputs": {
                "parameters": {
                    **_handed_down(depth),
                    units: {"taskOutputParameter": {"producerTask": planner, "outputParameterKey": UNITS}},
                }
            },
            "parameterIterator": {"itemInput": item, "items": {"inputParameter": units}},
        }
        if node.parallel is not None:
            loop["iteratorPolicy"] = {"parallelismLimit": node.parallel}
        return loop

    def _task(
        self, interface: Interface, name: str, title: str, node: StepNode | None, needs: list[str], *, step: str | None = None
    ) -> Json:
        inputs = _handed_down(interface.depth)
        if step is not None or node is not None:
            inputs[STEP] = {"runtimeValue": {"constant": step or (node.id if node is not None else "")}}
        inputs |= {parameter: {"componentInputParameter": parameter} for parameter, _ in interface.parameters}
        task: Json = {
            "taskInfo": {"name": display(title)},
            "componentRef": {"name": self.components.use(interface, name, node)},
            "cachingOptions": {},
        }
        if needs:
            task["dependentTasks"] = needs
        task["inputs"] = {"parameters": inputs}
        return task


def root(lowering: Lowering, name: str, declarations: Json) -> Json:
    """Return the root of a pipeline: the flow as one DAG, and a task that closes the run however it went.

    The last task waits for exactly one other: with two it would run twice (Argo starts an exit hook for each).
    """
    component = lowering.components.names.component(f"{name}-flow")
    parameters = {parameter: {"componentInputParameter": parameter} for parameter, _ in lowering.parameters}
    begun = {RUN: {"componentInputParameter": RUN}, JOB: {"runtimeValue": {"constant": JOB_ID}}}
    lowering.components.specs[component] = {
        "dag": lowering.flow_dag(),
        "inputDefinitions": {
            "parameters": {**_declared(0), **{p: {"parameterType": kind} for p, kind in lowering.parameters}},
        },
    }
    end = lowering._task(Interface(does=FINISH), FINISH, "finish", None, [name])  # noqa: SLF001  (same module)
    end["inputs"] = {"parameters": begun}
    end["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    whole = {
        "taskInfo": {"name": display(lowering.graph.name)},
        "componentRef": {"name": component},
        "inputs": {"parameters": {**begun, **parameters}},
    }
    run = {RUN: {"parameterType": "STRING", "defaultValue": "", "isOptional": True}}
    return {"dag": {"tasks": {name: whole, FINISH: end}}, "inputDefinitions": {"parameters": {**run, **declarations}}}


def retry_policy(retry: Retry) -> Json:
    """Return the server's form of a retry policy; it waits whole seconds, and by whole factors (`gaps` refuses others).

    Argo counts the longest duration from the start of the first attempt, and ends a retry that reaches beyond it. Left out, it is 0.
    """
    return {
        "maxRetryCount": retry.retries,
        "backoffDuration": f"{math.ceil(retry.delay)}s",
        "backoffFactor": float(retry.backoff),
        "backoffMaxDuration": f"{ALWAYS}s",
    }


def _declared(depth: int) -> Json:
    strings: Json = {RUN: {"parameterType": "STRING"}, JOB: {"parameterType": "STRING"}}
    return strings | {index_input(d): {"parameterType": "NUMBER_INTEGER"} for d in range(depth)}


def _handed_down(depth: int) -> Json:
    names = [RUN, JOB, *(index_input(d) for d in range(depth))]
    return {name: {"componentInputParameter": name} for name in names}
