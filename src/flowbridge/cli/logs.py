"""``flowbridge logs RUN STEP[/INDEX]``: what a task printed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbridge.cli import options
from flowbridge.cli.printing import print_output
from flowbridge.errors import RunNotFoundError, UsageError

if TYPE_CHECKING:
    from flowbridge.client.run import Run
    from flowbridge.client.tasks import Task

HELP = "Print what the tasks of a step printed, while they run too."
_PAUSE = 0.5


def logs(
    run: options.RunName,
    task: Annotated[
        str, typer.Argument(metavar="STEP[/INDEX]", help="A step, or one task of a map: train/3, or train/3.1 in nested maps.")
    ],
    attempt: Annotated[int | None, typer.Option("--attempt", min=0, help="Of one attempt only, counted from 0.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the task is over.")] = False,
    profile: options.Profile = None,
    store: options.Store = None,
) -> None:
    """Print logs."""
    from flowbridge.client.runs import get_run

    found = get_run(run, store=store, profile=profile)
    step, index = _task(task)
    if follow:
        _follow(found, step, index)
    elif attempt is not None:
        print_output(_attempt(found, step, index, attempt))
    else:
        print_output(found.logs(step, index))


def _task(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Take ``train/3.1`` apart.

    Raises:
        UsageError: The index is none.
    """
    step, slash, index = text.partition("/")
    if not slash:
        return step, None
    try:
        return step, tuple(int(part) for part in index.split("."))
    except ValueError:
        raise UsageError(f"{text!r}: the index of a task is written train/3, or train/3.1 in nested maps") from None


def _only(run: Run[Any], step: str, index: tuple[int, ...] | None) -> Task:
    tasks = run[step]
    if index is not None:
        return tasks[index]
    if len(tasks) != 1:
        raise RunNotFoundError(f"Step {step} of run {run.id} has {len(tasks)} tasks; name one: {step}/0")
    return tasks[0]


def _attempt(run: Run[Any], step: str, index: tuple[int, ...] | None, attempt: int) -> str:
    task = _only(run, step, index)
    if attempt not in {a.attempt for a in task.attempts}:
        raise RunNotFoundError(f"Task {task.name} has no attempt {attempt}; it has {len(task.attempts)}, counted from 0")
    return task.logs(attempt)


def _follow(run: Run[Any], step: str, index: tuple[int, ...] | None) -> None:
    """Print what is new until the task has ended."""
    printed = 0
    while True:
        ended = run.end is not None
        tasks = run[step]
        if tasks and (index is None or any(t.index == index for t in tasks)):
            task = _only(run, step, index)
            ended = ended or task.finished is not None
            text = task.logs()
            print_output(text[printed:])
            printed = len(text)
        if ended:
            return
        time.sleep(_PAUSE)
