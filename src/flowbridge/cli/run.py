"""``flowbridge run FILE[:FLOW]``: run a flow, show how it goes, and say what to type next."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from flowbridge.cli import options, parameters
from flowbridge.cli.printing import length, print_json, say
from flowbridge.errors import BackendError, ConfigError, StoreError, suggest
from flowbridge.records.reasons import task_name

if TYPE_CHECKING:
    from flowbridge.authoring.decorators import Flow
    from flowbridge.authoring.traced import TracedFlow
    from flowbridge.backends.base import PreparedRun
    from flowbridge.client.options import RunOptions
    from flowbridge.client.run import Run
    from flowbridge.client.tasks import Task

HELP = (
    "Run a flow. Its parameters are options: --NAME VALUE; lists as JSON, with commas, or by giving the option again. "
    "`flowbridge run FILE --help` shows them."
)
REST, _HELP = "flowbridge.rest", "flowbridge.help"
_SHOWN_RESULT = 2_000
_SMALL = 64 * 1024


class Command(TyperCommand):
    """Leaves the options that are the flow's to the flow."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the flow's own options out before the others are parsed."""
        known = [p for p in self.params if getattr(p, "opts", None)]
        flags = {o for p in known if getattr(p, "is_flag", False) for o in (*p.opts, *p.secondary_opts)}
        valued = {o for p in known if not getattr(p, "is_flag", False) for o in p.opts if o.startswith("-")}
        own, rest = parameters.split(args, flags | {"--help"}, valued)
        if "--help" in own and any(not word.startswith("-") for word in own):
            own.remove("--help")
            ctx.meta[_HELP] = True
        ctx.meta[REST] = (rest, sorted(flags | valued))
        parsed: list[str] = super().parse_args(ctx, own)
        return parsed


def run(
    context: typer.Context,
    target: options.Target,
    backend: options.Backend = None,
    profile: options.Profile = None,
    store: options.Store = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A word to find the run by; may be given again.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-P", metavar="NAME=VALUE", help="A parameter whose name is an option of this command."),
    ] = None,
    on_failure: Annotated[
        str, typer.Option("--on-failure", help="finish: what does not depend on a failed task still runs; or stop.")
    ] = "finish",
    max_parallel: Annotated[int | None, typer.Option("--max-parallel", min=1, help="At most so many tasks at once.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: options.Json = False,
) -> None:
    """Run a flow.

    Raises:
        typer.Exit: The run did not end done.
    """
    from flowbridge.client.options import RunOptions

    if on_failure not in ("finish", "stop"):
        raise ConfigError(f"--on-failure {on_failure}: expected 'finish' or 'stop'.{suggest(on_failure, ['finish', 'stop'])}")
    failure: Literal["finish", "stop"] = "stop" if on_failure == "stop" else "finish"
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():  # what the user's own code prints is no JSON
        flow = options.load(target)
        traced = options.build(flow)
        if context.meta.get(_HELP):
            _print_help(target, traced)
            return
        values = traced.coerce_text(parameters.given(context.meta[REST], param or [], traced.parameters))
        choice = RunOptions(backend, profile, store, tuple(tag or ()), wait, failure, max_parallel)
        command = _Command(traced, values, _options_of(flow, choice), quiet=quiet or as_json, as_json=as_json)
        code = command.run()
    if command.data is not None:
        print_json(command.data)
    if code:
        raise typer.Exit(code)


def _options_of(flow: Flow[Any, Any], choice: RunOptions) -> RunOptions:
    """Return the options of the command line over those that the flow's own `.options(...)` set."""
    from dataclasses import replace

    from flowbridge.client.options import RunOptions

    below = RunOptions.of(flow.run_options)
    return replace(
        choice,
        backend=choice.backend or below.backend,
        profile=choice.profile or below.profile,
        store=choice.store or below.store,
        tags=(*below.tags, *choice.tags),
        max_parallel=choice.max_parallel or below.max_parallel,
    )


def _print_help(target: str, traced: TracedFlow) -> None:
    """Show what one flow takes."""
    graph = traced.graph
    print(f"Usage: flowbridge run {target} [--backend B] [--profile P] [--NAME VALUE ...]\n")
    print(f"Flow {graph.name}" + (f": {graph.doc}" if graph.doc else "") + "\n")
    rows = parameters.describe(traced)
    print("Parameters:" if rows else "It takes no parameters.")
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    for option, kind, default in rows:
        print(f"  {option.ljust(widths[0])}  {kind.ljust(widths[1])}  {default}")
    print("\nOptions of every run: flowbridge run --help")


class _Command:
    """One call of the command, once everything is known."""

    def __init__(self, traced: TracedFlow, values: Mapping[str, Any], choice: RunOptions, *, quiet: bool, as_json: bool) -> None:
        self.traced = traced
        self.values = values
        self.choice = choice
        self.quiet = quiet
        self.as_json = as_json
        self.data: dict[str, Any] | None = None

    def run(self) -> int:
        """Run the flow and return the exit code."""
        from dataclasses import replace

        from flowbridge.client.prepare import prepare
        from flowbridge.client.start import start

        profile = self.choice.load_profile()
        prepared = prepare(self.traced, self.values, profile, self.choice)
        if not self.as_json:
            print(f"Run {prepared.record.id} of {prepared.record.flow} on {profile.backend}, store {prepared.store.url}", flush=True)
        view = self._view(prepared, profile.backend)
        run = start(self.traced, replace(prepared, listener=view.hear if view is not None else prepared.listener))
        if not self.choice.wait:
            self._tell_detached(run)
            return 0
        return self._follow(run, view)

    def _follow(self, run: Run[Any], view: Any) -> int:
        try:
            if view is None:
                run.wait()
            else:
                with view:
                    run.wait()
        except KeyboardInterrupt:
            run.cancel()
            run.wait()
        except (BackendError, StoreError) as error:
            say(f"Error: {error}\nLook further: flowbridge show {run.id}", error=True)
            return 1
        if self.as_json:
            from flowbridge.cli.show import detailed

            self.data = detailed(run)
        else:
            self._tell_end(run)
        return 0 if run.status == "done" else 1

    def _view(self, prepared: PreparedRun, backend: str) -> Any:
        """Return what shows the progress: drawn on a terminal, lines elsewhere; lines too where steps print into this process."""
        if self.quiet or not self.choice.wait:
            return None
        from flowbridge.cli.plain import PlainView
        from flowbridge.cli.progress import Progress

        if not sys.stdout.isatty() or backend == "inline":
            return PlainView(Progress(prepared.graph))
        from flowbridge.cli.live import LiveView
        from flowbridge.cli.waiting import waits_of
        from flowbridge.client.history import typical_durations

        typical = typical_durations(prepared.store.content, prepared.graph.name)
        return LiveView(Progress(prepared.graph, typical, waits_of(prepared, backend)))

    def _tell_detached(self, run: Run[Any]) -> None:
        if self.as_json:
            from flowbridge.client.runs import row_of

            self.data = row_of(run)
        else:
            say(f"It goes on by itself{f': {run.url}' if run.url else ''}\nNext: flowbridge show {run.id}")

    def _tell_end(self, run: Run[Any]) -> None:
        counts = run.end.counts if run.end is not None else {}
        told = ", ".join(f"{n} {state}" for state, n in counts.items()) or "no tasks"
        words = {"done": "Done", "failed": "Failed", "cancelled": "Cancelled"}.get(run.status, run.status)
        sys.stdout.flush()
        if run.status != "done":
            _tell_failure(run)
        print(f"{words} in {length((run.finished or time.time()) - run.created)}: {told}")
        if run.metrics:
            say("Metrics: " + ", ".join(f"{name}={value:.6g}" for name, value in run.metrics.items()))
        if run.status == "done":
            _tell_result(run)
        print(f"Next:\n  flowbridge show {run.id}\n  flowbridge logs {run.id} {_interesting(run)}")
        if run.url:
            say(f"  {run.url}")


def _tell_failure(run: Run[Any]) -> None:
    """Show why: of each step one failed task, the user's own file and line first."""
    failed = [t for t in run.tasks if t.state == "failed" and t.record is not None and not t.record.allowed]
    first = {t.step: t for t in reversed(failed)}
    for task in reversed(list(first.values())):
        say(f"\n{_failure(task)}", error=True)
    if not failed and run.message:
        say(f"\n{run.message}", error=True)
    if len(failed) > len(first):
        print(f"\n{len(failed)} tasks failed in all.", file=sys.stderr)
    print(file=sys.stderr, flush=True)


def _failure(task: Task) -> str:
    reason = task.reason
    attempts = f"attempt {task.attempt + 1}" if task.attempt else "first attempt"
    where = f", index {'.'.join(map(str, task.index))}" if task.index else ""
    head = f"Step {task.step}{where}, {attempts} failed"
    if reason is None:
        return head
    if not reason.frames and not reason.traceback:
        return f"{head}: {reason.message}"
    last = reason.frames[-1] if reason.frames else None
    place = f"{last.file}:{last.line}: " if last is not None else ""
    return f"{place}{head}: {reason.message}\n{(reason.traceback or '').rstrip()}"


def _tell_result(run: Run[Any]) -> None:
    """Print the result where it is small and short."""
    from flowbridge.ir.bindings import steps_in

    steps = {s for _, binding in run.graph.result for s in steps_in(binding)}
    sizes = [ref.size for t in run.tasks if t.step in steps for ref in t.outputs.values()]
    if run.graph.result_kind == "none" or sum(sizes) > _SMALL:
        return
    shown = repr(run.result())
    say(f"Result: {shown if len(shown) <= _SHOWN_RESULT else f'{shown[:_SHOWN_RESULT]}...'}")


def _interesting(run: Run[Any]) -> str:
    """Return the task that one would look at next: one that failed, else the last."""
    tasks = list(run.tasks)
    task = next((t for t in tasks if t.state == "failed"), tasks[-1] if tasks else None)
    return task_name(task.step, task.index) if task is not None else "STEP"
