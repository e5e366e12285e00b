"""The records of one run as files in a store: each written once by one writer, each carrying its own checksum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flowbridge.artifacts import digests, layout
from flowbridge.errors import ArtifactNotFoundError, RunNotFoundError, suggest
from flowbridge.ir.base import FrozenModel
from flowbridge.records.envelope import seal, unseal
from flowbridge.records.models import Gathered, Index, RunEnd, RunNative, RunRecord, RunSummary, Saved, TagChange, TaskRecord, TaskStarted

if TYPE_CHECKING:
    from flowbridge.artifacts.content import Content

Model = TypeVar("Model", bound=FrozenModel)
Item = TypeVar("Item")
Result = TypeVar("Result")

_MANY = 32
_READERS = 16
_SHOWN = 5


@dataclass(frozen=True)
class TaskFile:
    """One file of a task, told from its name alone."""

    step: str
    index: Index
    attempt: int
    kind: str
    path: str

    @property
    def key(self) -> tuple[str, Index, int]:
        """Which attempt of which task it belongs to."""
        return self.step, self.index, self.attempt


class RunFiles:
    """Reads and writes the records of one run. Holds nothing but `run.json`, so any number of processes may use one each.

    Attributes:
        content: The bytes of the store.
        flow: Name of the flow.
        run_id: Id of the run.
    """

    def __init__(self, content: Content, flow: str, run: str, tag_files: Sequence[str] | None = None) -> None:
        self.content = content
        self.flow = flow
        self.run_id = run
        self._run: RunRecord | None = None
        self._tag_files = tag_files

    @classmethod
    def create(cls, content: Content, record: RunRecord) -> RunFiles:
        """Write `run.json`, which must not be there yet, and return the files of the run.

        Raises:
            FileExistsError: A run of that id exists.
        """
        files = cls(content, record.flow, record.id)
        path = layout.run_file(record.flow, record.id, "run")
        if not files._create(path, seal(record)):
            raise FileExistsError(f"A run {record.id!r} of flow {record.flow!r} exists already in this store")
        files._run = record
        return files

    # --- the run -----------------------------------------------------------------------------------------------------------

    def run(self) -> RunRecord:
        """Return `run.json`.

        Raises:
            RunNotFoundError: The store has no such run.
        """
        if self._run is None:
            record = self._read(layout.run_file(self.flow, self.run_id, "run"), RunRecord)
            if record is None:
                raise RunNotFoundError(f"The store has no run {self.run_id!r} of flow {self.flow!r}; `flowbridge runs` lists those it has")
            self._run = record
        return self._run

    def set_native(self, native: RunNative) -> None:
        """Write where the run is found in the system behind the backend; a later call replaces it."""
        self.content.put(layout.run_file(self.flow, self.run_id, "native"), seal(native))

    def native(self) -> RunNative | None:
        """Return where the run is found in the system behind the backend."""
        return self._read(layout.run_file(self.flow, self.run_id, "native"), RunNative)

    def change_tag(self, change: TagChange) -> None:
        """Write whether the run has a tag from now on."""
        self.content.put(layout.tag_file(self.flow, self.run_id, digests.digest(change.tag.encode())), seal(change))
        self._tag_files = None

    def tag_files(self) -> Sequence[str]:
        """Return the paths of what was said of its tags since it began, as of when the runs were listed; of a single run, as of now."""
        return self.content.paths(f"{layout.tags_dir(self.flow, self.run_id)}/") if self._tag_files is None else self._tag_files

    def tags(self) -> tuple[str, ...]:
        """Return the tags it was started with, as they were changed since."""
        changes = [change for path in self.tag_files() if (change := self._read(path, TagChange)) is not None]
        tags = dict.fromkeys(self.run().tags)
        for change in sorted(changes, key=lambda c: c.changed):
            if change.present:
                tags.setdefault(change.tag)
            else:
                tags.pop(change.tag, None)
        return tuple(tags)

    def finish(self, end: RunEnd, summary: RunSummary) -> RunEnd:
        """Write `summary.json`, then `end.json`, unless the run has ended already; return the end that stands."""
        standing = self.ended()
        if standing is not None:
            return standing
        self.content.put(layout.run_file(self.flow, self.run_id, "summary"), seal(summary))
        if self._create(layout.run_file(self.flow, self.run_id, "end"), seal(end)):
            return end
        return self.ended() or end

    def ended(self) -> RunEnd | None:
        """Return how the run ended; None while it has not."""
        return self._read(layout.run_file(self.flow, self.run_id, "end"), RunEnd)

    def summary(self) -> RunSummary | None:
        """Return all tasks of an ended run in one object; None while it has not ended."""
        return self._read(layout.run_file(self.flow, self.run_id, "summary"), RunSummary)

    # --- tasks -------------------------------------------------------------------------------------------------------------

    def start(self, started: TaskStarted) -> None:
        """Write that an attempt began."""
        self.content.put(self._task(started.step, started.index, started.attempt, "start"), seal(started))

    def claim(self, started: TaskStarted) -> bool:
        """Write that an attempt began, unless somebody did: for schedulers that do not count attempts themselves."""
        return self._create(self._task(started.step, started.index, started.attempt, "start"), seal(started))

    def claim_member(self, started: TaskStarted, rank: int) -> bool:
        """Write that a member of a gang began, unless it did before: a member that is started anew cannot join the others again."""
        return self._create(self._task(started.step, started.index, started.attempt, f"member{rank}"), seal(started))

    def started(self, step: str, index: Index, attempt: int) -> TaskStarted | None:
        """Return the record of an attempt's start."""
        return self._read(self._task(step, index, attempt, "start"), TaskStarted)

    def end(self, record: TaskRecord) -> TaskRecord:
        """Write how an attempt ended and return the record that stands: the first one written, should there be two writers."""
        path = self._task(record.step, record.index, record.attempt, "end")
        if self._create(path, seal(record)):
            return record
        return self._read(path, TaskRecord) or record

    def attempt(self, step: str, index: Index, attempt: int) -> TaskRecord | None:
        """Return how an attempt ended; None while it has not."""
        return self._read(self._task(step, index, attempt, "end"), TaskRecord)

    def result(self, step: str, index: Index, *, retries: int) -> TaskRecord | None:
        """Return a task's final record: of the first attempt that no other follows. None while there is none."""
        for attempt in range(retries + 1):
            record = self.attempt(step, index, attempt)
            if record is not None and record.final:
                return record
        return None

    def tasks(self) -> list[TaskRecord | TaskStarted]:
        """Return every attempt, ended or only begun, by step, index and attempt. Of an ended run this is one read."""
        if self.ended() is not None:
            summary = self.summary()
            if summary is not None:
                return [*summary.tasks, *summary.lost]
        return self.read_tasks()

    def read_tasks(self, listed: Iterable[TaskFile] | None = None) -> list[TaskRecord | TaskStarted]:
        """Return every attempt from its own files (those that were listed just now), whether or not there is a summary."""
        latest: dict[tuple[str, Index, int], TaskFile] = {}
        for file in self.task_files() if listed is None else listed:
            if file.kind == "end" or (file.kind == "start" and file.key not in latest):
                latest[file.key] = file
        return self.read_files([latest[key] for key in sorted(latest)])

    def task_files(self) -> Iterator[TaskFile]:
        """Yield every file of every task, from their names alone. What others put beside them, such as ``.DS_Store``, is passed over."""
        for path in self.content.paths(f"{layout.tasks_dir(self.flow, self.run_id)}/"):
            with suppress(ValueError):
                yield TaskFile(*layout.parse_task_file(path), path)

    def read_files(self, files: Sequence[TaskFile]) -> list[TaskRecord | TaskStarted]:
        """Read the start and end records of those names; many at once where that helps."""

        def read(file: TaskFile) -> TaskRecord | TaskStarted | None:
            return self._read(file.path, TaskRecord) if file.kind == "end" else self._read(file.path, TaskStarted)

        return [record for record in read_many(self.content, read, files) if record is not None]

    def first_attempts(self, step: str, indices: Sequence[Index]) -> list[TaskRecord]:
        """Read the end of the first attempt of many tasks at once; those that have none are left out."""
        found = read_many(self.content, lambda index: self.attempt(step, index, 0), indices)
        return [record for record in found if record is not None]

    # --- beside the records ------------------------------------------------------------------------------------------------

    def gather(self, step: str, index: Index, output: str, gathered: Gathered) -> None:
        """Keep a collected list for all who need it. Two writers write the same."""
        self.content.put(self._task(step, index, 0, f"gathered-{output}"), seal(gathered))

    def gathered(self, step: str, index: Index, output: str) -> Gathered | None:
        """Return a list that was collected before."""
        return self._read(self._task(step, index, 0, f"gathered-{output}"), Gathered)

    def save_checkpoint(self, step: str, index: Index, saved: Saved) -> None:
        """Keep what an attempt saved for the next one; it replaces what that attempt saved before."""
        self.content.put(self._task(step, index, saved.attempt, "checkpoint"), seal(saved))

    def checkpoint(self, step: str, index: Index, attempt: int) -> Saved | None:
        """Return what an attempt saved last."""
        return self._read(self._task(step, index, attempt, "checkpoint"), Saved)

    # --- logs --------------------------------------------------------------------------------------------------------------

    def write_log(self, step: str, index: Index, attempt: int, part: int, data: bytes) -> None:
        """Write one numbered part of a task's log."""
        self.content.put(layout.log_part(self.flow, self.run_id, step, index, attempt, part), data)

    def log_parts(self, step: str, index: Index, attempt: int) -> int:
        """Return how many parts an attempt's log has."""
        return len(self._log_paths(step, index, attempt))

    def read_log(self, step: str, index: Index, attempt: int | None = None, *, since: int = 0) -> bytes:
        """Return what a task printed.

        Args:
            step: Of the task.
            index: Of the task.
            attempt: One attempt; None: all of them, one after the other.
            since: Leave out that many parts, which the caller has seen; only with one attempt.
        """
        if attempt is not None:
            return b"".join(self.content.get(path) for path in self._log_paths(step, index, attempt)[since:])
        return b"".join(self.content.get(path) for path in self._log_paths(step, index, None))

    def _log_paths(self, step: str, index: Index, attempt: int | None) -> list[str]:
        return sorted(self.content.paths(layout.log_dir(self.flow, self.run_id, step, index, attempt)))

    # --- files -------------------------------------------------------------------------------------------------------------

    def _task(self, step: str, index: Index, attempt: int, kind: str) -> str:
        return layout.task_file(self.flow, self.run_id, step, index, attempt, kind)

    def _create(self, path: str, data: bytes) -> bool:
        """Write a file unless it is there; return whether it was written."""
        try:
            self.content.create(path, data)
        except FileExistsError:
            return False
        return True

    def _read(self, path: str, model: type[Model]) -> Model | None:
        try:
            data = self.content.get(path)
        except ArtifactNotFoundError:
            return None
        return unseal(data, model, path)


Pairs = list[tuple[str, str]]
"""Flow and id of some runs. (Inside the class below, `list` is the method.)"""


class Runs:
    """All runs of a store.

    Attributes:
        content: The bytes of the store.
    """

    def __init__(self, content: Content) -> None:
        self.content = content

    def list(self, flow: str | None = None) -> Pairs:
        """Return flow and id of every run (of one flow), from the names of folders alone; in no order that means anything."""
        flows = [flow] if flow is not None else self.content.folders(layout.RUNS)
        return [(name, run) for name in flows for run in self.content.folders(layout.flow_dir(name))]

    def find(self, run: str) -> RunFiles:
        """Return the files of a run by its id, or by the start of it or its last part where that is enough.

        Raises:
            RunNotFoundError: No run goes by that name, or several do.
        """
        known = self.list()
        exact = [pair for pair in known if pair[1] == run]
        found = exact or [pair for pair in known if run and (pair[1].startswith(run) or pair[1].endswith(f"-{run}"))]
        if len(found) == 1:
            return RunFiles(self.content, *found[0])
        if not found:
            near = suggest(run, [r for _, r in known])
            raise RunNotFoundError(f"The store {self.content.url} has no run {run!r}.{near} `flowbridge runs` lists those it has")
        shown = ", ".join(sorted(f"{r} (flow {f})" for f, r in found)[:_SHOWN])
        raise RunNotFoundError(f"{len(found)} runs go by {run!r}: {shown}{', ...' if len(found) > _SHOWN else ''}. Write more of the id")

    def latest(self, flow: str | None = None) -> RunFiles:
        """Return the run (of one flow) that was created last.

        Raises:
            RunNotFoundError: There is none.
        """
        runs = self.read(self.list(flow))
        if not runs:
            of = f" of flow {flow!r}" if flow is not None else ""
            raise RunNotFoundError(f"The store {self.content.url} has no run{of} yet")
        return max(runs, key=lambda files: files.run().created)

    def read(self, known: Sequence[tuple[str, str]]) -> Sequence[RunFiles]:
        """Return the files of runs with their `run.json` read, many at once where that helps; folders without one are left out."""
        tagged = self._tag_files(known)

        def read(pair: tuple[str, str]) -> RunFiles | None:
            files = RunFiles(self.content, *pair, tagged[pair])
            try:
                files.run()
            except RunNotFoundError:  # its creation was cut short: nothing was started
                return None
            return files

        return [files for files in read_many(self.content, read, known) if files is not None]

    def _tag_files(self, known: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[str]]:
        """Return the paths of what was said of the tags of each run, by one look at them all."""
        flows = {flow for flow, _ in known}
        found: dict[tuple[str, str], list[str]] = {pair: [] for pair in known}
        for path in self.content.paths(f"{layout.TAGS}/{next(iter(flows))}/" if len(flows) == 1 else f"{layout.TAGS}/"):
            flow, run = path.split("/")[1:3]
            found.get((flow, run), []).append(path)
        return found


def read_many(content: Content, read: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return what `read` gives for each item; of a store that is far away, many are read at the same time."""
    if len(items) < _MANY or content.local:
        return [read(item) for item in items]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, items))
