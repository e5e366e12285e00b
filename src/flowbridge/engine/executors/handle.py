"""The driver's side of a template, forked from the driver or started anew."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from flowbridge.engine.cgroups import MemoryGroup, make_group
from flowbridge.engine.channel import Channel
from flowbridge.engine.child import BEGAN, ENDED, HEAD, ORDER, READY, STORED, TOLD, ChildOrder
from flowbridge.engine.executors.base import Began, Ended, Happening, Told
from flowbridge.engine.process_tree import kill_tree
from flowbridge.engine.template import be_forked_template
from flowbridge.errors import BackendError
from flowbridge.records.models import TaskRecord

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.engine.template_setup import TemplateSetup
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import Session

_PATIENCE = 5.0


class TemplateHandle:
    """A template, from outside.

    Attributes:
        pid: Of the template.
        started_anew: It was not forked from this process.
        unsafe: Why the template should not be forked, as it says itself; known once `wait_ready` has returned.
        gone: It has ended, or its connection broke.
    """

    def __init__(
        self, channel: Channel, pid: int, group: MemoryGroup | None = None, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.pid = pid
        self.started_anew = process is not None
        self.unsafe: list[str] = []
        self.gone = False
        self._channel = channel
        self._process = process
        self._running: dict[int, int | None] = {}
        self._waiting: list[Happening] = []
        self._ready = False
        self._group = group
        self._pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        channel.socket.setblocking(False)  # noqa: FBT003  (as the socket module has it)

    @classmethod
    def fork(cls, session: Session, first: WorkOrder, folder: Path | None = None) -> TemplateHandle:
        """Fork a template off this process, which must be safe to fork; tasks have their folders in `folder`."""
        ours, theirs = Channel.pair()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        group = make_group()
        pid = os.fork()
        if pid == 0:
            ours.close()
            be_forked_template(theirs, session, first, folder, group.folder if group is not None else None)
        theirs.close()
        return cls(ours, pid, group)

    @classmethod
    def start(cls, setup: TemplateSetup, python: str = sys.executable) -> TemplateHandle:
        """Start a template from nothing."""
        ours, theirs = Channel.pair()
        command = [python, "-m", "flowbridge.engine.template", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
        theirs.close()
        group = make_group()
        if group is not None:
            with suppress(OSError):  # it ended at once
                group.take(process.pid)
        with suppress(ConnectionError):  # it ended at once; `wait_ready` says so
            ours.send_long(pickle.dumps(setup))
        return cls(ours, process.pid, group, process)

    def filenos(self) -> tuple[int, ...]:
        """Return the descriptors of which one becomes readable when there is something to `read`."""
        return (self._channel.fileno(), self._pidfd) if self._pidfd >= 0 else (self._channel.fileno(),)

    def wait_ready(self) -> None:
        """Wait until the template has imported the flow.

        Raises:
            BackendError: It ended instead.
        """
        while not self._ready:
            if self.gone:
                raise BackendError("The process that imports the flow ended before it was ready; its last words are above")
            select.select(self.filenos(), [], [])
            self._waiting += self.read()

    def send(self, order: ChildOrder) -> None:
        """Order a child."""
        self._running[order.number] = None
        message = HEAD.pack(ORDER, order.number, 0) + pickle.dumps(order)
        while not self.gone:
            try:
                self._channel.send(message)
            except BlockingIOError:
                self._waiting += self.read()
                select.select([], [self._channel], [], 0.1)
            except ConnectionError:
                self._lose()
            else:
                return
        self._lose()

    def read(self) -> list[Happening]:
        """Return what the template and its children have told since the last call."""
        found, self._waiting = self._waiting, []
        dead = False
        while not self.gone:
            try:
                message = self._channel.receive()
            except BlockingIOError:
                if dead:  # and has said all: who holds on to the connection is an orphan
                    self._lose()
                    break
                dead = self._is_dead()
                if not dead:
                    return found
                continue
            if message:
                found += self._understood(message)
            else:
                self._lose()
        found += self._waiting
        self._waiting = []
        return found

    def _understood(self, message: bytes) -> list[Happening]:
        kind, number, value = HEAD.unpack_from(message)
        rest = message[HEAD.size :]
        if kind == TOLD:
            return [Told(number, TaskRecord.model_validate_json(rest), rest)]
        if kind == STORED:
            return [Told(number, None)]
        if kind == BEGAN:
            self._running[number] = value
            return [Began(number, value)]
        if kind == ENDED:
            self._running.pop(number, None)
            return [Ended(number, value)]
        if kind == READY:
            self._ready = True
            self.unsafe = rest.decode().splitlines()
        return []

    def _lose(self) -> None:
        """The template is gone: whatever it ran is lost, and must not go on without anybody knowing."""
        self.gone = True
        for number, pid in self._running.items():
            if pid is not None:
                kill_tree(pid)
            self._waiting.append(Ended(number, None))
        self._running.clear()
        if self._group is not None:
            self._group.remove()

    def close(self) -> None:
        """Have the template end everything and itself, and wait for that."""
        self._channel.close()
        self.gone = True
        deadline = time.monotonic() + _PATIENCE
        while not self._ended():
            if time.monotonic() > deadline:
                kill_tree(self.pid)
                deadline += _PATIENCE
            time.sleep(0.001)
        if self._group is not None:
            self._group.remove()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _is_dead(self) -> bool:
        if self._pidfd < 0:
            return self._ended()
        return bool(select.select([self._pidfd], [], [], 0)[0])

    def _ended(self) -> bool:
        if self._process is not None:
            return self._process.poll() is not None
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # somebody else in this process waited for it
            return True
