"""Rules about order: skips that spread, exit tasks, loops, retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowbridge.backends.kubeflow.lint.view import View

ALWAYS = 10 * 365 * 24 * 3600
"""Seconds after the start of the first attempt within which Argo still tries again: longer than any task."""


def no_order_on_skippable(view: View) -> Iterator[str]:
    """What waits for a skipped task or group is left out too, and so on; only a DAG around the condition stops it."""
    for task in view.tasks:
        for needed in task.needs:
            if view.dags[task.dag].get(needed, {}).get("triggerPolicy", {}).get("condition"):
                yield f"{task.where} waits for {needed!r}, which a condition may skip: it would be left out as well"


def exit_has_one_dependency(view: View) -> Iterator[str]:
    """With two it runs twice, once after each; with none never."""
    for task in view.tasks:
        if task.is_exit and len(task.needs) != 1:
            yield f"{task.where} runs after failures and waits for {len(task.needs)} tasks; it must be exactly one"


def exit_after_plain_task(view: View) -> Iterator[str]:
    """The hook is not attached to loops, and only one fits on a task."""
    hooked: dict[tuple[str, str], str] = {}
    for task in view.tasks:
        for needed in task.needs if task.is_exit else ():
            upstream = view.dags[task.dag].get(needed, {})
            if "parameterIterator" in upstream:
                yield f"{task.where} runs after failures of the loop {needed!r}: the server starts no exit task after a loop"
            other = hooked.setdefault((task.dag, needed), task.name)
            if other != task.name:
                yield f"{task.where} and {other!r} both run after failures of {needed!r}: the server keeps one of them"


def exit_takes_no_data(view: View) -> Iterator[str]:
    """Outputs of a failed task do not exist."""
    for task in view.tasks:
        if task.is_exit and any(True for _ in task.outputs_taken()):
            yield f"{task.where} runs after failures, so it cannot take outputs of the task it waits for"


def nothing_after_exit(view: View) -> Iterator[str]:
    """Exit tasks are hooks, not tasks: nothing can wait for them."""
    for task in view.tasks:
        for needed in task.needs:
            if view.dags[task.dag].get(needed, {}).get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED":
                yield f"{task.where} waits for the exit task {needed!r}; nothing can"


def loops_over_dags(view: View) -> Iterator[str]:
    """Only a DAG is looped over, by parameter, with a limit of at least one."""
    for task in view.tasks:
        if "artifactIterator" in task.spec:
            yield f"{task.where}: artifactIterator is not implemented on the server"
        if task.is_loop and "dag" not in view.components.get(task.component, {}):
            yield f"{task.where} loops over {task.component!r}, which is not a DAG"
        limit = task.spec.get("iteratorPolicy", {}).get("parallelismLimit")
        if limit is not None and limit < 1:
            yield f"{task.where}: parallelismLimit is {limit}"


def no_retry_of_dags(view: View) -> Iterator[str]:
    """A retry policy on a DAG is handed to each of its tasks, which is not what it says."""
    for task in view.tasks:
        if "retryPolicy" in task.spec and "dag" in view.components.get(task.component, {}):
            yield f"{task.where} is a DAG with a retry policy; put it on the tasks"


def retries_wait_for_long_tasks(view: View) -> Iterator[str]:
    """Argo counts a policy's longest duration from the start of the first attempt: after it nothing is tried again, and what runs is killed."""
    for task in view.tasks:
        longest = str(task.spec.get("retryPolicy", {"backoffMaxDuration": f"{ALWAYS}s"}).get("backoffMaxDuration", "0s"))
        seconds = longest.removesuffix("s")
        if not seconds.isdigit() or int(seconds) < ALWAYS:
            yield f"{task.where} is tried again only within {longest} of its first start; it must be at least {ALWAYS}s"


def whole_backoff(view: View) -> Iterator[str]:
    """Argo reads the factor as a whole number, and fails the task at its first failure where it is none."""
    for task in view.tasks:
        factor = task.spec.get("retryPolicy", {}).get("backoffFactor", 1)
        if factor < 1 or factor != int(factor):
            yield f"{task.where}: the backoff factor {factor} is not a whole number of at least 1"


def no_caching(view: View) -> Iterator[str]:
    """The server's cache knows neither code nor data of a flow."""
    for task in view.tasks:
        if task.spec.get("cachingOptions", {}).get("enableCache"):
            yield f"{task.where}: the server's cache is on; flowbridge decides what is reused"
        elif "cachingOptions" not in task.spec and "dag" not in view.components.get(task.component, {}):
            yield f"{task.where} leaves caching to the server's default, which is on"


RULES: dict[str, Callable[[View], Iterator[str]]] = {
    "skip-spreads": no_order_on_skippable,
    "exit-dependencies": exit_has_one_dependency,
    "exit-after-loop": exit_after_plain_task,
    "exit-data": exit_takes_no_data,
    "after-exit": nothing_after_exit,
    "loop-body": loops_over_dags,
    "retry-of-dag": no_retry_of_dags,
    "retry-duration": retries_wait_for_long_tasks,
    "retry-factor": whole_backoff,
    "caching": no_caching,
}
