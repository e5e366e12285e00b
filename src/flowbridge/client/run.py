"""A run in the user's hands: its state, its tasks, their outputs and logs."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flowbridge.authoring.environment import strings
from flowbridge.backends.base import PreparedRun
from flowbridge.backends.registry import get_backend
from flowbridge.client import lost, provenance
from flowbridge.client.sources import Source
from flowbridge.client.tasks import Task, Tasks, by_task, find_node
from flowbridge.errors import ConfigError, RunFailedError, RunNotFoundError, UsageError, suggest
from flowbridge.records.files import RunFiles
from flowbridge.records.models import TagChange
from flowbridge.worker.result import resolve_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowbridge.backends.base import Submission
    from flowbridge.engine.drivers import Fate
    from flowbridge.ir.base import JsonValue
    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.records.models import RunEnd, RunRecord, RunState, TaskRecord, TaskStarted
    from flowbridge.settings import Profile
    from flowbridge.worker.session import RunSession

R = TypeVar("R")

_POLL = 0.2
_POLL_MOST = 2.0
_TWO_DAYS = 48


class Run(Generic[R]):
    """One run of a flow, going on or over. Everything is read from its records, so any machine that reaches the store sees the same."""

    def __init__(
        self,
        session: RunSession,
        *,
        submission: Submission | None = None,
        result_class: type | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._profile = profile
        self._source = Source(session)
        self._files = session.files
        self._submission = submission
        self._result_class = result_class
        self._end: RunEnd | None = None
        self._lost: lost.Lost | None = None
        self._tasks: list[Task] | None = None

    # --- what it is ----------------------------------------------------------------------------------------------------------

    @property
    def record(self) -> RunRecord:
        """What was written when it started: who, from which commit, with which settings."""
        return self._source.session.record

    @property
    def files(self) -> RunFiles:
        """Its records as files of the store."""
        return self._files

    @property
    def id(self) -> str:
        """Unique in the store."""
        return self.record.id

    @property
    def flow(self) -> str:
        """Name of the flow."""
        return self.record.flow

    @property
    def backend(self) -> str:
        """Where it runs, or ran."""
        return self.record.backend

    @property
    def graph(self) -> FlowGraph:
        """The flow as data."""
        return self._source.graph

    @property
    def params(self) -> dict[str, JsonValue]:
        """The parameters that JSON holds; `param` gives any."""
        return dict(self.record.params)

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find it by: those it was started with, as :meth:`tag` and :meth:`untag` changed them since."""
        return self._files.tags()

    def tag(self, *tags: str) -> None:
        """Give it more tags, whether it goes on or is over. One tagged ``pinned`` is never removed by :func:`flowbridge.client.gc.gc`.

        Args:
            tags: Words to find it by. Those it has already stay.

        Raises:
            ConfigError: One is no text, or empty.
            RunNotFoundError: The run was removed.
        """
        self._change_tags(tags, present=True)

    def untag(self, *tags: str) -> None:
        """Take tags from it.

        Args:
            tags: Some of its tags.

        Raises:
            ConfigError: It has no such tag.
            RunNotFoundError: The run was removed.
        """
        known = self.tags
        for tag in tags:
            if tag not in known:
                raise ConfigError(f"Run {self.id} has no tag {tag!r}; it has {', '.join(known) or 'none'}.{suggest(tag, known)}")
        self._change_tags(tags, present=False)

    def _change_tags(self, tags: Sequence[str], *, present: bool) -> None:
        wanted = strings("tags", tags)
        RunFiles(self._files.content, self.flow, self.id).run()  # one that was removed meanwhile must not leave a folder behind
        for tag in wanted:
            self._files.change_tag(TagChange(tag=tag, present=present, changed=time.time(), user=provenance.user()))

    @property
    def store(self) -> str:
        """URL of the store."""
        url: str = self._source.session.store.url
        return url

    def param(self, name: str) -> Any:
        """Return one parameter as the flow got it.

        Raises:
            KeyError: The flow has no such parameter.
        """
        return self._source.load(dict(self.record.param_refs)[name])

    def bundle(self) -> bytes:
        """Return its code as a zip file.

        Raises:
            RunNotFoundError: It took none along: its functions stayed in one process.
        """
        if self.record.bundle is None:
            raise RunNotFoundError(f"Run {self.id} has no code bundle: it was started where its functions stay in one process")
        data: bytes = self._source.session.store.get_bundle(self.record.bundle)
        return data

    # --- how it goes ---------------------------------------------------------------------------------------------------------

    @property
    def end(self) -> RunEnd | None:
        """How it ended; None while it has not. A run whose driver died has ended, though nobody wrote that."""
        return self._look()[0]

    def _look(self) -> tuple[RunEnd | None, Fate]:
        """Return how it ended, or whether whoever drives it can go on; what is known for good is not asked of the store again."""
        if self._end is None:
            self._end = self._files.ended()
        now: Fate = "gone"
        if self._end is None and self._lost is None:
            now = lost.fate(self._files)
            self._lost = lost.lost(self._files, lambda: self.graph, now)
        return self._end or (self._lost.end if self._lost is not None else None), now

    @property
    def status(self) -> RunState:
        """One of pending, running, done, failed, cancelled."""
        end = self.end
        if end is not None:
            return end.state
        begun = next(iter(self._files.task_files()), None) is not None
        return "running" if begun else "pending"

    @property
    def message(self) -> str | None:
        """Why it did not end done, or that nothing was heard of it for long; None where there is nothing to say."""
        end, now = self._look()
        if end is not None:
            return end.message
        silent = lost.silence(self._files, now)
        return f"no word for {_hours(silent)}" if silent is not None else None

    @property
    def silence(self) -> float | None:
        """Seconds since its last sign of life, where that is an hour or more and it cannot be seen from here whether it goes on."""
        end, now = self._look()
        return lost.silence(self._files, now) if end is None else None

    @property
    def created(self) -> float:
        """When it was started, in seconds since the epoch."""
        return self.record.created

    @property
    def finished(self) -> float | None:
        """When it ended, in seconds since the epoch."""
        end = self.end
        return end.finished if end is not None else None

    @property
    def duration(self) -> float:
        """Seconds from its start to its end, or until now."""
        return (self.finished or time.time()) - self.created

    @property
    def metrics(self) -> dict[str, float]:
        """Last value of each metric, over all tasks in the order of the flow."""
        end = self.end
        if end is not None:
            return dict(end.metrics)
        return {name: value for task in self.tasks for name, value in task.metrics.items()}

    @property
    def native(self) -> str | None:
        """What the run is called in the system behind the backend, such as a Metaflow pathspec; None where there is none."""
        native = self._files.native()
        return native.id or None if native is not None else None

    @property
    def url(self) -> str | None:
        """Where the system behind the backend shows it; None where there is no such page."""
        native = self._files.native()
        return native.url if native is not None else None

    def wait(self, timeout: float | None = None) -> Run[R]:
        """Wait until it is over, or for some seconds.

        Returns:
            This run.
        """
        if self._submission is None and self.end is None:
            self._submission = self._attached()
        if self._submission is not None:
            self._submission.wait(timeout)
            return self
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _POLL
        while self.end is None and (deadline is None or time.monotonic() < deadline):
            time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(pause * 1.5, _POLL_MOST)
        return self

    def result(self) -> R:
        """Return what the flow returned; waits for the end.

        Raises:
            RunFailedError: The run failed or was cancelled.
        """
        self.wait()
        if self.status != "done":
            raise RunFailedError(self._why_no_result())
        source = self._source
        result: R = source.with_code(
            lambda: resolve_result(self.graph, self._files, source.session.store, make=self._make(), class_of=source.class_of)
        )
        return result

    def cancel(self) -> None:
        """End it: running tasks are stopped with their whole process tree, waiting ones never start.

        Raises:
            UsageError: It was started by another process, which alone can end it.
        """
        if self.end is not None:
            return
        self._submission = self._submission or self._attached()
        if self._submission is None:
            where = f" on {self.record.host}" if self.record.host else ""
            raise UsageError(
                f"Run {self.id} was started by another process{where}; end it there (Ctrl-C), or in {self.url or 'its own system'}."
            )
        self._submission.cancel()

    def _attached(self) -> Submission | None:
        """Take up a run that another process started, where its backend can."""
        backend = get_backend(self.backend)
        attach = getattr(backend, "attach", None)
        if attach is None or self._profile is None:
            return None
        session = self._source.session
        run = PreparedRun(graph=self.graph, record=self.record, store=session.store, files=self._files, profile=self._profile)
        submission: Submission = attach(run)
        return submission

    # --- its tasks -----------------------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> Tasks:
        """The tasks of all steps, and those of maps that did not end done."""
        steps = self.graph.steps_by_id
        return Tasks(t for t in self._all_tasks() if t.step in steps or t.state not in {"done", "cached"})

    def __getitem__(self, name: str) -> Tasks:
        """Return the tasks of a step or map.

        Raises:
            RunNotFoundError: The flow has no step or map of that name.
        """
        nodes: dict[str, StepNode | MapNode] = {n.id: n for n in self._source.nodes()}
        wanted = set(find_node(nodes, name, self.flow))
        return Tasks(t for t in self._all_tasks() if t.step in wanted)

    def logs(self, step: str, index: int | tuple[int, ...] | None = None) -> str:
        """Return what a step printed, all attempts one after the other.

        Args:
            step: Of the flow.
            index: Of one task of a map; None: all tasks, each under a line with its name.
        """
        tasks = self[step]
        if index is not None:
            return tasks[index if isinstance(index, tuple) else (index,)].logs()
        if len(tasks) == 1:
            return tasks[0].logs()
        return "".join(f"--- {task.name} ---\n{_ended_line(task.logs())}" for task in tasks)

    def _all_tasks(self) -> list[Task]:
        if self._tasks is not None:
            return self._tasks
        over = self.end is not None
        tasks = by_task(self._attempts(), self._source)
        if over:
            self._tasks = tasks
        return tasks

    def _attempts(self) -> Iterable[TaskRecord | TaskStarted]:
        if self._end is None and self._lost is not None:
            return self._lost.attempts
        return self._files.tasks()

    # --- its result ----------------------------------------------------------------------------------------------------------

    def _make(self) -> Any:
        """Return the class of a result with fields."""
        if self._result_class is not None or self.graph.result_type is None or not self._source.session.store.trust:
            return self._result_class
        module, _, qualname = self.graph.result_type.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in qualname.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError):  # defined where it cannot be imported: a named tuple of the same fields serves
            return None
        return found

    def _why_no_result(self) -> str:
        failed = next((t for t in self.tasks if t.state == "failed"), None)
        lines = [f"Run {self.id} of flow {self.flow!r} {'was cancelled' if self.status == 'cancelled' else 'failed'}: {self.message}"]
        if failed is not None and failed.reason is not None and failed.reason.traceback:
            lines.append(failed.reason.traceback.rstrip())
        place = "/".join([failed.step, ".".join(map(str, failed.index))]).rstrip("/") if failed is not None else ""
        lines.append(f"Look further: flowbridge show {self.id}" + (f", flowbridge logs {self.id} {place}" if place else ""))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.flow}: {self.status}>"

    def _repr_html_(self) -> str:
        from flowbridge.client.page import page_of  # noqa: PLC0415  (only in notebooks)

        return page_of(self)


def _hours(seconds: float) -> str:
    hours = int(seconds // 3600)
    return f"{hours} h" if hours < _TWO_DAYS else f"{hours // 24} days"


def _ended_line(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
