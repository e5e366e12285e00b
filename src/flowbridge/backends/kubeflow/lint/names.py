"""Rules about names and references: what the server turns into names of objects, and what must exist."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowbridge.backends.kubeflow.lint.view import View

_TASK = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_PIPELINE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LONGEST_TEMPLATE = 128
LONGEST_PIPELINE = 50
SCHEMA_VERSION = "2.1.0"


def schema_version(view: View) -> Iterator[str]:
    """The server reads this version alone."""
    if view.spec.get("schemaVersion") != SCHEMA_VERSION:
        yield f"schemaVersion is {view.spec.get('schemaVersion')!r}, the server reads only {SCHEMA_VERSION}"


def pipeline_name(view: View) -> Iterator[str]:
    """It becomes the prefix of the workflow's name."""
    name = view.spec.get("pipelineInfo", {}).get("name", "")
    if not _PIPELINE.fullmatch(name) or len(name) > LONGEST_PIPELINE:
        yield f"pipelineInfo.name {name!r} must be of a-z, 0-9 and '-', at most {LONGEST_PIPELINE} long: it names the workflow"


def task_names(view: View) -> Iterator[str]:
    """They become names of Argo tasks, which may not begin with a digit where others depend on them."""
    for task in view.tasks:
        if not _TASK.fullmatch(task.name):
            yield f"{task.where}: its name must begin with a letter and hold only a-z, 0-9 and '-'"


def driver_names(view: View) -> Iterator[str]:
    """The server puts a task ``<name>-driver`` beside each."""
    for dag, tasks in view.dags.items():
        for name in tasks:
            if f"{name}-driver" in tasks:
                yield f"tasks {name!r} and {name + '-driver'!r} of {dag}: the server adds a task of the second name for the first"


def loop_titles(view: View) -> Iterator[str]:
    """The server records a loop under its title and any other task under its name; two alike in a DAG fail the run."""
    for dag, tasks in view.dags.items():
        recorded = Counter(t.spec.get("taskInfo", {}).get("name", "") if t.is_loop else t.name for t in view.tasks if t.dag == dag)
        for task in (t for t in view.tasks if t.dag == dag and t.is_loop):
            title = task.spec.get("taskInfo", {}).get("name", "")
            if recorded[title] > 1 or (title != task.name and title in tasks):
                yield f"{task.where}: its title {title!r} is also what another task of that DAG is recorded under"


def template_names(view: View) -> Iterator[str]:
    """Argo templates are named after components and tasks; they are unique and of limited length."""
    made: Counter[str] = Counter(list(view.dags))
    for task in view.tasks:
        if task.is_loop:
            made.update((f"{task.component}-{task.name}-iterator", f"{task.component}-iteration"))
        if task.is_exit:
            made.update((f"exit-hook-{task.dag}-{task.name}",))
    for name, count in made.items():
        if count > 1:
            yield f"{count} Argo templates would be called {name!r}"
        if len(name) > LONGEST_TEMPLATE:
            yield f"the Argo template {name!r} would be longer than {LONGEST_TEMPLATE} characters"


def known_components(view: View) -> Iterator[str]:
    """Every component and executor that is named exists."""
    for task in view.tasks:
        if task.component not in view.components:
            yield f"{task.where}: there is no component {task.component!r}"
    for name, component in view.components.items():
        label = component.get("executorLabel")
        if "dag" not in component and label not in view.executors:
            yield f"component {name!r}: there is no executor {label!r}"


def known_tasks(view: View) -> Iterator[str]:
    """Tasks wait only for tasks of the same DAG."""
    for task in view.tasks:
        for needed in task.needs:
            if needed not in view.dags[task.dag]:
                yield f"{task.where} waits for {needed!r}, which is not in that DAG"


def no_cycles(view: View) -> Iterator[str]:
    """No task waits for itself, however indirectly."""
    for dag, tasks in view.dags.items():
        needs = {t.name: [n for n in t.needs if n in tasks] for t in view.tasks if t.dag == dag}
        users: dict[str, list[str]] = {name: [] for name in tasks}
        for name, needed in needs.items():
            for other in needed:
                users[other].append(name)
        left = {name: len(needed) for name, needed in needs.items()}
        free = [name for name, count in left.items() if not count]
        while free:
            name = free.pop()
            del left[name]
            for user in users[name]:
                left[user] -= 1
                if not left[user]:
                    free.append(user)
        if left:
            yield f"tasks of {dag} wait for each other: {', '.join(sorted(left))}"


def loader_name(view: View) -> Iterator[str]:
    """Kfp's loader takes the component ``comp-<pipeline>`` for the pipeline itself, if there is one (`kfp/dsl/structures.py`)."""
    name = f"comp-{view.spec.get('pipelineInfo', {}).get('name', '')}"
    if name in view.components:
        yield f"the component {name!r} is named after the pipeline: kfp would load it in place of the pipeline"


def no_empty_dag(view: View) -> Iterator[str]:
    """A DAG without a task that is not an exit task is refused."""
    for dag in view.dags:
        if all(task.is_exit for task in view.tasks if task.dag == dag):
            yield f"{dag} has no task"


RULES: dict[str, Callable[[View], Iterator[str]]] = {
    "schema-version": schema_version,
    "pipeline-name": pipeline_name,
    "task-name": task_names,
    "driver-name": driver_names,
    "loop-title": loop_titles,
    "template-name": template_names,
    "loader-name": loader_name,
    "unknown-component": known_components,
    "unknown-task": known_tasks,
    "cycle": no_cycles,
    "empty-dag": no_empty_dag,
}
