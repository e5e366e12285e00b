"""What the loop asks of whoever runs tasks, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, Union

from flowbridge.engine.limits import ChildSetup

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import TaskRecord
    from flowbridge.worker.order import WorkOrder


@dataclass(frozen=True)
class Launch:
    """One process to be started (or one call, inline) for one attempt of a task.

    Attributes:
        number: Unique in the run; names the launch in all that is told of it.
        order: Which task.
        node: Its step or map.
        setup: What the fresh process does to itself before any code of the user runs.
        env: Environment variables on top of those of the driver.
        rank: Of a gang: which member it is.
        known: Records that the task will ask for, as JSON.
    """

    number: int
    order: WorkOrder
    node: StepNode | MapNode
    setup: ChildSetup = field(default_factory=ChildSetup)
    env: Mapping[str, str] = field(default_factory=dict)
    rank: int = 0
    known: tuple[bytes, ...] = ()


class Began(NamedTuple):
    """The process is there."""

    number: int
    pid: int


class Told(NamedTuple):
    """The task has ended and its record is written; None: it is in the store, and was too large to be told.

    `text` is the same as JSON, where it came as such.
    """

    number: int
    record: TaskRecord | None
    text: bytes = b""


class Ended(NamedTuple):
    """The process is gone. `exit_code` is negative for a signal, None if nobody knows."""

    number: int
    exit_code: int | None


Happening = Union[Began, Told, Ended]  # noqa: UP007  (evaluated at run time, on Python 3.10 too)


class Executor(Protocol):
    """Runs tasks. All calls come from the thread of the loop.

    Attributes:
        isolates: Each task has its own process, so several run at once, and limits and timeouts can be held.
        notes: What the user should know about how tasks are run here; grows while running.
        folder: Where each task has a folder named for the number of its launch, made when the task needs one; None: tasks have none.
    """

    isolates: bool
    notes: list[str]
    folder: Path | None

    def start(self, launch: Launch) -> None:
        """Start a task. What becomes of it is told by `poll`."""

    def poll(self, timeout: float, watched: Sequence[int] = ()) -> list[Happening]:
        """Return what has happened, waiting up to `timeout` seconds, or until one of some descriptors can be read."""

    def close(self) -> None:
        """End whatever this executor runs, its helpers included."""
