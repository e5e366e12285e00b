"""``flowbridge show RUN``: what became of a run; ``flowbridge show FILE:FLOW``: what a flow looks like."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbridge.cli import options
from flowbridge.cli.printing import length, moment, print_json, print_table, say, size
from flowbridge.errors import UsageError

if TYPE_CHECKING:
    from flowbridge.client.run import Run
    from flowbridge.client.tasks import Task

HELP = "Show a run (its tasks, parameters, metrics, why it failed), or the picture of a flow: FILE:FLOW."
_FEW = 40


def show(
    what: Annotated[str, typer.Argument(metavar="RUN|FILE[:FLOW]", help="A run ('latest' too), or a Python file and the flow in it.")],
    tasks: Annotated[bool, typer.Option("--tasks", help="Every task of a run, however many.")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", help="Of a flow: write the picture to this file.")] = None,
    profile: options.Profile = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Show a run or a flow."""
    if _is_flow(what):
        _show_flow(what, svg, as_json=as_json)
        return
    if svg is not None:
        raise UsageError(f"--svg draws a flow, and {what!r} is not a file: flowbridge show FILE:FLOW --svg {svg}")
    from flowbridge.client.runs import get_run

    run = get_run(what, store=store, profile=profile)
    if as_json:
        print_json(detailed(run))
    else:
        _show_run(run, everything=tasks)


def detailed(run: Run[Any]) -> dict[str, Any]:
    """Return a run with its tasks."""
    from flowbridge.client.runs import row_of, task_row

    return {**row_of(run), "url": run.url, "message": run.message, "tasks": [task_row(t) for t in run.tasks]}


def _is_flow(what: str) -> bool:
    return ".py" in what or ":" in what or "/" in what or Path(what).is_file()


def _show_flow(target: str, picture: Path | None, *, as_json: bool) -> None:
    from flowbridge.authoring.picture import Picture

    drawn = Picture(options.build(options.load(target)).graph)
    if picture is not None:
        try:
            picture.write_text(drawn.svg(), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{picture} cannot be written: {error.strerror or error}") from error
        say(f"Wrote {picture}")
    elif as_json:
        print_json(drawn.graph.model_dump(mode="json", exclude_defaults=True))
    else:
        say(drawn.mermaid())


def _show_run(run: Run[Any], *, everything: bool) -> None:
    from flowbridge.client.runs import row_of

    row = row_of(run)
    commit = f"{row['commit'][:10]}{' with changes' if run.record.dirty else ''}" if row["commit"] else None
    facts = {
        "run": row["id"],
        "flow": row["flow"],
        "status": row["status"] + (f": {message}" if (message := run.message) else ""),
        "backend": row["backend"] + (f" (profile {row['profile']})" if row["profile"] else ""),
        "created": f"{moment(row['created'])} by {row['user'] or '?'} on {run.record.host or '?'}",
        "took": length(row["duration"]),
        "commit": commit,
        "tags": ", ".join(row["tags"]),
        "url": run.url,
    }
    for name, value in facts.items():
        if value:
            say(f"{name:8} {value}")
    _print_values("Parameters", row["params"])
    _print_values("Metrics", row["metrics"])
    _print_tasks(list(run.tasks), everything=everything)
    _print_failures([t for t in run.tasks if t.state == "failed"])
    _print_extras(run)


def _print_values(title: str, values: dict[str, Any]) -> None:
    if values:
        say(f"\n{title}")
        width = max(len(name) for name in values)
        for name, value in values.items():
            say(f"  {name.ljust(width)}  {f'{value:.6g}' if isinstance(value, float) else value}")


def _print_tasks(tasks: list[Task], *, everything: bool) -> None:
    """Show every task where they are few, else one line for each step."""
    print()
    if everything or len(tasks) <= _FEW:
        print_table(("task", "status", "attempt", "took", "peak memory", "metrics", "why"), [_task_cells(t) for t in tasks])
        return
    steps: dict[str, list[Task]] = {}
    for task in tasks:
        steps.setdefault(task.step, []).append(task)
    print_table(("step", "tasks", "status", "took together"), [_step_cells(step, of) for step, of in steps.items()])
    say("\nEvery task: --tasks")


def _task_cells(task: Task) -> list[Any]:
    record = task.record
    peak = record.usage.peak_memory if record is not None else None
    why = record.why if record is not None and record.why else None
    if task.reason is not None:
        why = task.reason.message
    return [task.name, task.state, task.attempt, length(task.duration), size(peak), task.metrics, why]


def _step_cells(step: str, tasks: list[Task]) -> list[Any]:
    states = Counter(t.state for t in tasks)
    return [step, len(tasks), ", ".join(f"{n} {s}" for s, n in states.items()), length(sum(t.duration or 0 for t in tasks))]


def _print_failures(failed: list[Task]) -> None:
    for task in failed[:3]:
        if task.reason is not None and task.reason.traceback:
            say(f"\n{task.name} failed (attempt {task.attempt + 1}):\n{task.reason.traceback.rstrip()}")


def _print_extras(run: Run[Any]) -> None:
    """Name the figures and tables, with how to get them."""
    found = [(task, name) for task in run.tasks for name in task.extras]
    if not found:
        return
    say("\nFigures and tables")
    for task, name in found[:_FEW]:
        key = f"{next(iter(task.index)) if len(task.index) == 1 else task.index}" if task.index else "0"
        say(f"  {name!r} of {task.name}: flowbridge.get_run({run.id!r})[{task.step!r}][{key}].load({name!r})")
