"""Components and executors: one for each distinct interface, pod and command, shared by all tasks that have it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.bootstrap import COMMAND, MARKER
from flowbridge.backends.kubeflow.emit import compact
from flowbridge.backends.kubeflow.gang.template import GANG, gang_template
from flowbridge.backends.kubeflow.names import Names
from flowbridge.backends.kubeflow.options import KubeflowOptions
from flowbridge.backends.kubeflow.resources import container_resources, launcher_config, platform_config
from flowbridge.ir.resources import Resources

if TYPE_CHECKING:
    from flowbridge.ir.flow import StepNode

Json = dict[str, Any]
RUN, JOB, STEP, UNITS = "run-id", "job-id", "step-id", "Output"
"""Inputs of every task; the dashes keep them apart from the user's own parameters. `Output`: the units of a map."""
METRICS, REPORT = "metrics", "report"
EXECUTOR_INPUT = "{{$}}"
IN_CONTAINER = "FLOWBRIDGE_IN_CONTAINER"
"""Tells the worker that it runs in the image of a container step already (`worker/containers.py`)."""
ATTEMPT, NEXT = "{{retries}}", "next"


def index_input(depth: int) -> str:
    """Return the name of the input that holds the index of the map at that depth."""
    return f"index-{depth}"


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs of a component, and what its pod does.

    Attributes:
        does: ``task``, ``items`` (a map's expansion), ``check`` or ``finish``.
        depth: Maps it is inside of.
        outputs: Names of the output artifacts.
        parameters: Declarations of flow parameters it takes, for pods that may have to begin the run.
        retried: It has a retry policy, so that the server fills in the attempt.
        grows: It may be tried again in its own pod, so that only the records can count its attempts.
        soft: Its failure stays in the records.
        items: One pod takes so many items of a map, one after the other.
    """

    does: str
    depth: int = 0
    outputs: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    retried: bool = False
    grows: bool = False
    soft: bool = False
    items: int = 1

    @property
    def attempt(self) -> str:
        """What the pod is told about the attempt."""
        if self.grows:
            return NEXT
        return ATTEMPT if self.retried else "0"

    @property
    def text(self) -> str:
        """The literal that stands in the arguments: the server takes two components with equal containers for one."""
        parts = [self.does, str(self.depth), ",".join(self.outputs), ",".join(f"{n}:{t}" for n, t in self.parameters)]
        return "/".join(parts)


@dataclass
class Components:
    """The components of one pipeline while it is being compiled."""

    options: KubeflowOptions
    names: Names
    arguments: list[str]
    specs: Json = field(default_factory=dict)
    executors: Json = field(default_factory=dict)
    platforms: Json = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)

    def use(self, interface: Interface, title: str, node: StepNode | None) -> str:
        """Return the name of the component for that interface and pod; it is made where there is none yet."""
        container = self._container(interface, node)
        config = launcher_config if is_gang(node) else platform_config
        platform = config(node, self.options, interface.items)
        key = compact([container, platform])
        name = self._known.get(key)
        if name is None:
            name = self._known[key] = self.names.give(title)
            self._add(name, interface, container, platform)
        return f"comp-{name}"

    def _add(self, name: str, interface: Interface, container: Json, platform: Json) -> None:
        self.specs[f"comp-{name}"] = {"executorLabel": f"exec-{name}", **definitions(interface, lineage=self.options.lineage == "full")}
        self.executors[f"exec-{name}"] = {"container": container}
        if platform:
            self.platforms[f"exec-{name}"] = platform

    def _container(self, interface: Interface, node: StepNode | None) -> Json:
        own = node.resources if node is not None and not is_gang(node) else Resources()
        resources = container_resources(own, self.options)
        container: Json = {
            "image": image_of(node, self.options),
            "command": list(COMMAND),
            "args": [
                MARKER,
                *self.arguments,
                "--interface",
                interface.text,
                "--attempt",
                interface.attempt,
                *(["--soft"] if interface.soft else []),
                *self._gang(node),
                "--executor-input",
                EXECUTOR_INPUT,
            ],
        }
        if env := self._env(node):
            container["env"] = env
        if resources:
            container["resources"] = resources
        return container

    def _gang(self, node: StepNode | None) -> list[str]:
        """Return what the pod is told about the gang that it starts, where it does."""
        if node is None or not is_gang(node):
            return []
        return [GANG, compact(gang_template(node, image_of(node, self.options), self.options))]

    def _env(self, node: StepNode | None) -> list[Json]:
        inside = node is not None and node.container is not None and not (self.options.local and self.options.local_runner == "subprocess")
        env = {**self.options.env, **({IN_CONTAINER: "1"} if inside else {})}
        return [{"name": name, "value": value} for name, value in sorted(env.items())]


def is_gang(node: StepNode | None) -> bool:
    """Say whether a step runs in several pods at once, which the task's own pod starts."""
    return node is not None and node.nodes > 1


def image_of(node: StepNode | None, options: KubeflowOptions) -> str:
    """Return the image of a pod: the step's own, its program's, or the profile's."""
    if node is None:
        return options.image
    return (node.container.image if node.container is not None else node.environment.image) or options.image


def definitions(interface: Interface, *, lineage: bool) -> Json:
    """Return the inputs and outputs of a component."""
    inputs: Json = {RUN: {"parameterType": "STRING"}, JOB: {"parameterType": "STRING"}}
    if interface.does in {"task", "items"}:
        inputs[STEP] = {"parameterType": "STRING"}
    inputs |= {index_input(d): {"parameterType": "NUMBER_INTEGER"} for d in range(interface.depth)}
    inputs |= {name: {"parameterType": kind} for name, kind in interface.parameters}
    result: Json = {"inputDefinitions": {"parameters": inputs}}
    outputs: Json = {}
    if interface.does == "items":
        outputs["parameters"] = {UNITS: {"parameterType": "LIST"}}
    if interface.does == "task" and lineage:
        outputs["artifacts"] = {name: _artifact("system.Artifact") for name in interface.outputs}
        outputs["artifacts"] |= {METRICS: _artifact("system.Metrics"), REPORT: _artifact("system.HTML")}
    return result | ({"outputDefinitions": outputs} if outputs else {})


def _artifact(schema: str) -> Json:
    return {"artifactType": {"schemaTitle": schema, "schemaVersion": "0.0.1"}}


def output_name(port: str) -> str:
    """Return the name of the artifact for an output: its own, unless one of ours has it."""
    return f"{port}_" if port in {METRICS, REPORT, UNITS} else port
