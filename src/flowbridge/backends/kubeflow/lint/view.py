"""A pipeline as the rules look at it: its DAGs, tasks, components and executors, with the ways between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

Json = Mapping[str, Any]
PLACEHOLDER = re.compile(r"\{\{.*?\}\}")
ROOT = "root"


class Task(NamedTuple):
    """A task, the DAG it is in and its name there."""

    dag: str
    name: str
    spec: Json

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"task {self.name!r} of {self.dag}"

    @property
    def component(self) -> str:
        """Name of its component."""
        name: str = self.spec.get("componentRef", {}).get("name", "")
        return name

    @property
    def needs(self) -> list[str]:
        """Names of the tasks it waits for, by order and by data."""
        found = dict.fromkeys(self.spec.get("dependentTasks", ()))
        found |= dict.fromkeys(producer for _, producer, _ in self.outputs_taken())
        return list(found)

    @property
    def inputs(self) -> Json:
        """Its input parameters."""
        parameters: Json = self.spec.get("inputs", {}).get("parameters", {})
        return parameters

    def outputs_taken(self) -> Iterator[tuple[str, str, str]]:
        """Yield (input, producing task, output parameter) for each input that is another task's output."""
        for name, source in self.inputs.items():
            taken = source.get("taskOutputParameter")
            if taken is not None:
                yield name, taken.get("producerTask", ""), taken.get("outputParameterKey", "")

    @property
    def condition(self) -> str:
        """The condition it is skipped by."""
        condition: str = self.spec.get("triggerPolicy", {}).get("condition", "")
        return condition

    @property
    def is_exit(self) -> bool:
        """Whether it runs also after a failure."""
        return bool(self.spec.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED")

    @property
    def is_loop(self) -> bool:
        """Whether it runs once per item."""
        return "parameterIterator" in self.spec or "artifactIterator" in self.spec


@dataclass(frozen=True)
class View:
    """The pipeline and what can be looked up in it."""

    spec: Json
    platform: Json

    @cached_property
    def components(self) -> Json:
        """All components but the root, by name."""
        components: Json = self.spec.get("components", {})
        return components

    @cached_property
    def executors(self) -> Json:
        """All executors, by label."""
        executors: Json = self.spec.get("deploymentSpec", {}).get("executors", {})
        return executors

    @cached_property
    def dags(self) -> dict[str, Json]:
        """The tasks of each DAG, by the name of its component."""
        found = {ROOT: self.spec.get("root", {}).get("dag", {}).get("tasks", {})}
        found |= {name: component["dag"].get("tasks", {}) for name, component in self.components.items() if "dag" in component}
        return found

    @cached_property
    def tasks(self) -> list[Task]:
        """All tasks of all DAGs."""
        return [Task(dag, name, task) for dag, tasks in self.dags.items() for name, task in tasks.items()]

    @cached_property
    def users(self) -> dict[str, list[Task]]:
        """The tasks that use a component, by its name."""
        found: dict[str, list[Task]] = {}
        for task in self.tasks:
            found.setdefault(task.component, []).append(task)
        return found

    def declared_inputs(self, component: str) -> Json:
        """Return the input parameters of a component (or of the root)."""
        spec = self.spec.get("root", {}) if component == ROOT else self.components.get(component, {})
        parameters: Json = spec.get("inputDefinitions", {}).get("parameters", {})
        return parameters

    def declared_outputs(self, component: str) -> Json:
        """Return the output parameters of a component."""
        parameters: Json = self.components.get(component, {}).get("outputDefinitions", {}).get("parameters", {})
        return parameters

    def container(self, component: str) -> Json | None:
        """Return the container of a component; None for a DAG or an unknown one."""
        label = self.components.get(component, {}).get("executorLabel")
        container: Json | None = self.executors.get(label, {}).get("container")
        return container


def texts(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, text) for every text in a value, keys of mappings too."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield path, key
            yield from texts(member, f"{path}.{key}" if path else key)
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from texts(member, path)
