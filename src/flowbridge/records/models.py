"""The records of runs and tasks as they stand in the store. Everything the product shows about a run is derived from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from flowbridge.artifacts.reference import Reference
from flowbridge.ir.base import FrozenModel, JsonValue

TaskState = Literal["pending", "running", "done", "cached", "skipped", "failed", "cancelled"]
RunState = Literal["pending", "running", "done", "failed", "cancelled"]
ReasonKind = Literal["error", "out_of_memory", "out_of_disk", "timeout", "lost_worker", "cancelled", "upstream", "condition"]
Count = Annotated[int, Field(ge=0, le=10**9)]
"""A number of things, or the position of one. Stores can say anything, and one would wait forever for more."""
Index = tuple[Count, ...]
Moment = Annotated[float, Field(ge=0, le=2e11, allow_inf_nan=False)]
"""Seconds since the epoch, up to the year 8300: later ones are in no calendar."""
Amount = Annotated[int, Field(ge=0, le=2**63)]
"""Bytes."""


class _WithNumbers(FrozenModel):
    """Holds floats that may be NaN or infinite, which are written as strings and read back as numbers."""

    model_config = ConfigDict(ser_json_inf_nan="strings")


class Driver(FrozenModel):
    """A process that a run ends with. All but the id may be empty, where the system tells nothing of the kind.

    Attributes:
        host: Name of its machine.
        machine: What tells that machine from others of its name.
        boot: Which boot of it.
        space: Which pid namespace, such as that of a container.
        pid: Its id.
        started: When it started, in a unit that only tells processes of one id apart.
    """

    host: str = ""
    machine: str = ""
    boot: str = ""
    space: str = ""
    pid: int
    started: int = 0


class RunRecord(FrozenModel):
    """``run.json``: what a run is; written once, before anything starts.

    Attributes:
        id: Unique in the store.
        flow: Name of the flow.
        graph: Reference of the flow's canonical JSON.
        graph_digest: Digest of the flow (`ir.fingerprint.digest_of`).
        bundle: Digest of the code bundle; None where the functions never leave this process (inline).
        params: Parameters that JSON holds, for listings; `param_refs` has all of them.
        param_refs: Each parameter's value in the store.
        created: Seconds since the epoch.
        on_failure: Whether tasks that do not depend on a failed one still run.
        locks: Of each step that has an environment of its own: the digest of its lock, which the store keeps.
        driver: The process that started it, where the run goes on on that machine; None: nobody there knows whether it goes on.
    """

    id: str
    flow: str
    graph: Reference
    graph_digest: str
    bundle: str | None = None
    params: dict[str, JsonValue] = {}
    param_refs: tuple[tuple[str, Reference], ...] = ()
    backend: str
    profile: str | None = None
    created: Moment
    user: str = ""
    host: str = ""
    commit: str | None = None
    dirty: bool = False
    python: str = ""
    flowbridge: str = ""
    tags: tuple[str, ...] = ()
    on_failure: Literal["finish", "stop"] = "finish"
    origin: str | None = None
    locks: tuple[tuple[str, str], ...] = ()
    driver: Driver | None = None


class Frame(FrozenModel):
    """One line of a user's traceback."""

    file: str
    line: int
    function: str
    text: str = ""


class Reason(_WithNumbers):
    """Why a task did not end done.

    Attributes:
        kind: Told apart so that people and retries can act on it.
        message: One sentence for people.
        error: Name of the exception's class.
        traceback: The user's traceback as text, their own frames only where possible.
        frames: The same, innermost last.
        declared: Bytes declared, for `out_of_memory` and `out_of_disk`; seconds, for `timeout`.
        used: Bytes or seconds used.
        exit_code: Of the process, where it died; negative for a signal.
    """

    kind: ReasonKind
    message: str
    error: str | None = None
    traceback: str | None = None
    frames: tuple[Frame, ...] = ()
    declared: float | None = None
    used: float | None = None
    exit_code: int | None = None


class Usage(_WithNumbers):
    """What one attempt used: bytes and seconds. None where it could not be measured."""

    peak_memory: Amount | None = None
    cpu_time: float | None = None
    wall_time: float | None = None
    gpu_memory: Amount | None = None
    disk: Amount | None = None


class TaskStarted(FrozenModel):
    """``<attempt>.start.json``: an attempt began."""

    step: str
    index: Index = ()
    attempt: Count = 0
    started: Moment
    host: str = ""
    pid: int | None = None
    native: str | None = None
    gpus: tuple[str, ...] = ()


class TaskRecord(_WithNumbers):
    """``<attempt>.end.json``: how an attempt ended. Also the record of a map's expansion, with `count`.

    Attributes:
        state: One of done, cached, skipped, failed, cancelled.
        final: No further attempt follows. Always true but for a failed attempt that is retried.
        allowed: The step has `allow_failure`: a failure counts as a skip for whoever needs it, and does not fail the run.
        outputs: Each output's reference. Of a batch: each a list over its items. Of a map: each item field, a list over the items.
        count: Of a map: the number of items.
        items: Of a batch: the number of items this task took.
        held: Of a batch: the places in it of the items that the lists hold, where some were skipped; None: all.
        metrics: Last value of each metric.
        series: All values logged, each (step, value), where more than one was logged.
        extras: Figures, tables and checkpoints, by name.
    """

    step: str
    index: Index = ()
    attempt: Count = 0
    state: TaskState
    final: bool = True
    allowed: bool = False
    outputs: tuple[tuple[str, Reference], ...] = ()
    count: Count | None = None
    items: Count | None = None
    held: tuple[int, ...] | None = None
    reason: Reason | None = None
    started: Moment | None = None
    finished: Moment
    usage: Usage = Usage()
    metrics: dict[str, float] = {}
    series: dict[str, tuple[tuple[float | None, float], ...]] = {}
    params: dict[str, JsonValue] = {}
    extras: tuple[tuple[str, Reference], ...] = ()
    host: str = ""
    native: str | None = None
    why: str | None = None

    def output(self, name: str) -> Reference:
        """Return one output's reference.

        Raises:
            KeyError: The task has no such output.
        """
        return dict(self.outputs)[name]


class RunEnd(_WithNumbers):
    """``end.json``: a run is over.

    Attributes:
        counts: Number of tasks in each final state.
        metrics: Last value of each metric, over all tasks in the order of the flow; here so that a listing reads no tasks.
    """

    state: RunState
    finished: Moment
    message: str | None = None
    counts: dict[str, int] = {}
    metrics: dict[str, float] = {}


class TagChange(FrozenModel):
    """``tags/<flow>/<run>/<digest of the tag>.json``: whether a run has a tag, since somebody said so. One file a tag: who sets another loses none."""

    tag: str
    present: bool
    changed: Moment
    user: str = ""


class RunNative(FrozenModel):
    """``native.json``: where the run is found in the system behind the backend.

    Attributes:
        backend: Name of the backend.
        id: By which it is found there; empty while that is not known.
        url: Of its page.
        drivers: The processes that carry it on from here, in place of the one in `run.json`; the run goes on while one of them does.
    """

    backend: str
    id: str
    url: str | None = None
    drivers: tuple[Driver, ...] = ()


class Gathered(FrozenModel):
    """``gathered``: an output of a mapped step, collected once into one list for all who need it.

    Attributes:
        reference: Of the list.
        length: Number of items.
    """

    reference: Reference
    length: int


class Saved(FrozenModel):
    """``checkpoint``: what a task saved for its own next attempt."""

    reference: Reference
    attempt: Count


class RunSummary(_WithNumbers):
    """``summary.json``: everything about an ended run in one object.

    Attributes:
        tasks: Every attempt that ended.
        lost: Attempts that began and of which no end is known.
        metrics: Last value of each metric, over all tasks in the order of the flow.
    """

    run: RunRecord
    end: RunEnd
    native: RunNative | None = None
    tasks: tuple[TaskRecord, ...] = ()
    lost: tuple[TaskStarted, ...] = ()
    metrics: dict[str, float] = {}
