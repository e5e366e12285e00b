"""What a fresh process does with one task: become clean, enter its limits, run it, tell its record, and end with all it started."""

from __future__ import annotations

import os
import random
import signal
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from flowbridge.engine.limits import ChildSetup
from flowbridge.engine.process_tree import kill_descendants
from flowbridge.records.models import TaskRecord
from flowbridge.worker.gang import run_member
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.run import run_task

if TYPE_CHECKING:
    from flowbridge.worker.session import Session

HEAD = struct.Struct("<cIi")
"""Start of every message between driver and template: kind, number of the launch, and a number that depends on the kind."""
ORDER, BEGAN, TOLD, STORED, ENDED, READY = b"O", b"B", b"R", b"S", b"E", b"H"
LOST = 70
"""Exit code of a process in which flowbridge itself failed."""
_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE]


@dataclass(frozen=True)
class ChildOrder:
    """A launch as it goes to the process that runs it.

    Attributes:
        number: Of the launch.
        order: The work order, as JSON.
        rank: Of a gang: which member this is; the first, 0, is the one that writes the record.
        known: Records that the task will ask for, as JSON.
        setup: Limits to enter before any code of the user runs.
        env: Environment variables.
    """

    number: int
    order: bytes
    setup: ChildSetup = field(default_factory=ChildSetup)
    env: tuple[tuple[str, str], ...] = ()
    rank: int = 0
    known: tuple[bytes, ...] = ()

    def enter(self, *, entered: bool = False) -> None:
        """Set this process up for the task: limits and environment.

        Args:
            entered: This process has applied an empty set-up before.
        """
        if self.setup != ChildSetup() or not entered:
            self.setup.apply()
        os.environ.update(self.env)
        if "TMPDIR" in dict(self.env):
            tempfile.tempdir = None  # whoever asked before the fork must ask again


def run_child(given: ChildOrder, session: Session, tell: Callable[[bytes], None] | None = None) -> int:
    """Run one task in this process, which is for it alone and has entered its limits, and return the code to exit with.

    Args:
        given: The task.
        session: The store, the flow and its functions.
        tell: Takes the record to the driver, if it need not read it from the store.
    """
    order = WorkOrder.model_validate_json(given.order)
    if given.known:
        session.run(order).locator.lookup.learn([TaskRecord.model_validate_json(text) for text in given.known])
    if given.rank:
        code = 0 if run_member(order, given.rank, session=session) is None else 1
    else:
        record = run_task(order, session=session)
        code = 0 if record.state != "failed" or record.allowed else 1
        if tell is not None:
            _tell(tell, given.number, record.model_dump_json().encode())
    kill_descendants()
    return code


def _tell(tell: Callable[[bytes], None], number: int, record: bytes) -> None:
    try:
        tell(HEAD.pack(TOLD, number, 0) + record)
    except OSError:  # too large for one message: the driver reads it from the store
        tell(HEAD.pack(STORED, number, 0))


def end(code: int) -> NoReturn:
    """End this process at once: no exit handlers of the process it was forked from, no waiting for threads."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed by the user's code, or nobody listens any more
            continue
    os._exit(code)


def be_forked(work: Callable[[], int], what: str = "the task's process") -> NoReturn:
    """Be a process that was just forked: clean, the first of a session of its own, and gone when the work is done.

    Args:
        work: What it is there for; returns the code to exit with.
        what: What it is, for people.
    """
    code = LOST
    try:
        os.setsid()
        become_clean()
        code = work()
    except BaseException as error:  # noqa: BLE001  (whatever it is, this process must not go on as a second one of its parent)
        sys.stderr.write(f"flowbridge: {what} failed: {type(error).__name__}: {error}\n")
    finally:
        end(code)


def become_clean() -> None:
    """Forget what a forked process must not share with its parent: signal handlers and the state of random generators."""
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python does for every process it starts
    random.seed()
    numpy, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    if numpy is not None:
        numpy.seed()
    if torch is not None:
        torch.seed()
