"""Compiles a flow to pipeline IR. Needs neither kfp nor a server; two compiles of one flow are equal to the byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.bootstrap import store_arguments
from flowbridge.backends.kubeflow.components import Components
from flowbridge.backends.kubeflow.emit import emit
from flowbridge.backends.kubeflow.lint import check
from flowbridge.backends.kubeflow.lower import FINISH, Lowering, root
from flowbridge.backends.kubeflow.names import Names, slug
from flowbridge.backends.kubeflow.options import options_of
from flowbridge.backends.kubeflow.parameters import declare
from flowbridge.backends.kubeflow.soft import soft_nodes
from flowbridge.ir.graph import regions

if TYPE_CHECKING:
    from flowbridge.backends.kubeflow.wheel import Wheel
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile

Json = dict[str, Any]
SCHEMA_VERSION = "2.1.0"
SDK_VERSION = "kfp-2.17.0"
"""Of the SDK whose form this is; the server reads only `schemaVersion`, other tools look here."""
LONGEST_PIPELINE_NAME = 40


@dataclass(frozen=True)
class Pipeline:
    """A compiled flow.

    Attributes:
        spec: The pipeline specification.
        platform: Its Kubernetes settings; empty where there are none.
        data: Both as a file.
        tasks: Name of the task of each step, and of the loop of each map, in its DAG.
    """

    spec: Json
    platform: Json
    data: bytes
    tasks: dict[str, str]


def compile_flow(
    graph: FlowGraph,
    profile: Profile,
    *,
    deployment: str | None = None,
    wheel: Wheel | None = None,
) -> Pipeline:
    """Translate a flow.

    Args:
        graph: The flow.
        profile: The settings in force.
        deployment: Digest of the deployment in the store that a run begun in Kubeflow's own pages belongs to; None: only runs
            that flowbridge submits find what they need.
        wheel: The wheel in the store that pods install, where there is one.

    Raises:
        BackendError: The result breaks a rule of the server; a bug, named rule by rule.
    """
    options = options_of(profile)
    arguments = [*store_arguments(profile, options, wheel), "--flow", graph.name]
    if deployment is not None:
        arguments += ["--deployment", deployment]
    known = regions(graph)
    declarations = {parameter.name: declare(parameter) for parameter in graph.parameters}
    lowering = Lowering(
        graph=graph,
        regions=known,
        components=Components(options=options, names=Names(pipeline_name(graph)), arguments=arguments),
        parameters=tuple((name, declared["parameterType"]) for name, declared in declarations.items()),
        soft=soft_nodes(graph, known),
    )
    spec = _spec(lowering, declarations)
    platform = _platform(lowering.components.platforms) if options.flavor == "open" else {}
    data = emit(spec, platform)
    check(spec, platform)
    return Pipeline(spec=spec, platform=platform, data=data, tasks=dict(lowering.tasks))


def pipeline_name(graph: FlowGraph) -> str:
    """Return the pipeline's name; the server makes the names of all objects in the cluster from it."""
    return slug(graph.name, LONGEST_PIPELINE_NAME)


def _spec(lowering: Lowering, declarations: Json) -> Json:
    whole = root(lowering, Names(FINISH).give(lowering.graph.name), declarations)
    components = lowering.components
    return {
        "pipelineInfo": {"name": pipeline_name(lowering.graph)},
        "schemaVersion": SCHEMA_VERSION,
        "sdkVersion": SDK_VERSION,
        "root": whole,
        "components": {name: components.specs[name] for name in sorted(components.specs)},
        "deploymentSpec": {"executors": {name: components.executors[name] for name in sorted(components.executors)}},
    }


def _platform(executors: Json) -> Json:
    if not executors:
        return {}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {name: executors[name] for name in sorted(executors)}}}}}
