"""The driver's side of a process that runs tasks: a template, forked or started anew, or one process per task."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from flowbridge.engine.child import BEGAN, ENDED, HEAD, READY, STORED, TOLD, ChildOrder
from flowbridge.engine.executors.base import Began, Ended, Happening, Told
from flowbridge.engine.process_tree import kill_tree
from flowbridge.engine.template import LARGEST, TemplateSetup, be_forked_template, send_all
from flowbridge.errors import BackendError
from flowbridge.records.models import TaskRecord

if TYPE_CHECKING:
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import Session

_PATIENCE = 5.0
_PACKETS = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_STREAM)


class TemplateHandle:
    """A template, from outside.

    Attributes:
        unsafe: Why the template should not be forked, as it says itself; known once `wait_ready` has returned.
    """

    def __init__(self, channel: socket.socket, pid: int, process: subprocess.Popen[bytes] | None = None) -> None:
        self.unsafe: list[str] = []
        self.pid = pid
        self._channel = channel
        self._process = process
        self._running: dict[int, int | None] = {}
        self._waiting: list[Happening] = []
        self._ready = False
        self._gone = False
        channel.setblocking(False)  # noqa: FBT003  (as the socket module has it)

    @classmethod
    def fork(cls, session: Session, first: WorkOrder) -> TemplateHandle:
        """Fork a template off this process, which must be safe to fork."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, _PACKETS)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            be_forked_template(theirs, session, first)
        theirs.close()
        return cls(ours, pid)

    @classmethod
    def spawn(cls, setup: TemplateSetup, python: str = sys.executable) -> TemplateHandle:
        """Start a template from nothing."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, _PACKETS)
        command = [python, "-m", "flowbridge.engine.template", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  (our own)
        theirs.close()
        with suppress(ConnectionError):  # it ended at once; `wait_ready` says so
            send_all(ours, pickle.dumps(setup))
        return cls(ours, process.pid, process)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is something to `read`."""
        return self._channel.fileno()

    def wait_ready(self) -> None:
        """Wait until the template has imported the flow.

        Raises:
            BackendError: It ended instead.
        """
        while not self._ready:
            if self._gone:
                raise BackendError("The process that imports the flow ended before it was ready; its last words are above")
            select.select([self._channel], [], [])
            self._waiting += self.read()

    def send(self, order: ChildOrder) -> None:
        """Order a child."""
        self._running[order.number] = None
        message = pickle.dumps(order)
        while not self._gone:
            try:
                self._channel.send(message)
            except BlockingIOError:
                self._waiting += self.read()
                select.select([], [self._channel], [], 0.1)
            except ConnectionError:
                self._lose()
            else:
                return

    def read(self) -> list[Happening]:
        """Return what the template and its children have told since the last call."""
        found, self._waiting = self._waiting, []
        while not self._gone:
            try:
                message = self._channel.recv(LARGEST)
            except BlockingIOError:
                break
            except ConnectionError:
                message = b""
            if not message:
                self._lose()
                found += self._waiting
                self._waiting = []
                break
            found += self._understood(message)
        return found

    def _understood(self, message: bytes) -> list[Happening]:
        kind, number, value = HEAD.unpack_from(message)
        rest = message[HEAD.size :]
        if kind == TOLD:
            return [Told(number, TaskRecord.model_validate_json(rest))]
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
            self.unsafe = [reason for reason in rest.decode().split(",") if reason]
        return []

    def _lose(self) -> None:
        """The template is gone: whatever it ran is lost, and must not go on without anybody knowing."""
        self._gone = True
        for number, pid in self._running.items():
            if pid is not None:
                kill_tree(pid)
            self._waiting.append(Ended(number, None))
        self._running.clear()

    @property
    def gone(self) -> bool:
        """The template has ended, or its connection broke."""
        return self._gone

    def close(self) -> None:
        """Have the template end everything and itself, and wait for that."""
        self._channel.close()
        self._gone = True
        deadline = time.monotonic() + _PATIENCE
        while not self._ended():
            if time.monotonic() > deadline:
                kill_tree(self.pid)
                deadline += _PATIENCE
            time.sleep(0.001)

    def _ended(self) -> bool:
        if self._process is not None:
            return self._process.poll() is not None
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # somebody else in this process waited for it
            return True


class SpawnedHandle:
    """One task in a process of its own, from outside."""

    unsafe: list[str] = []  # noqa: RUF012  (nothing is forked)

    def __init__(self, setup: TemplateSetup, order: ChildOrder, python: str = sys.executable) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [python, "-m", "flowbridge.engine.spawned", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  (our own)
        theirs.close()
        self._number = order.number
        self._waiting: list[Happening] = [Began(order.number, self._process.pid)]
        self.gone = False
        with suppress(ConnectionError):  # it ended at once; `read` tells
            send_all(self._channel, pickle.dumps((setup, order)))
        self._channel.setblocking(False)  # noqa: FBT003  (as the socket module has it)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is something to `read`."""
        return self._channel.fileno()

    def read(self) -> list[Happening]:
        """Return what has happened since the last call."""
        found, self._waiting = self._waiting, []
        while not self.gone:
            try:
                message = self._channel.recv(HEAD.size)
            except BlockingIOError:
                break
            except ConnectionError:
                message = b""
            if message:
                found.append(Told(self._number, None))
                continue
            self.gone = True
            self._channel.close()
            found.append(Ended(self._number, self._process.wait()))
        return found

    def close(self) -> None:
        """End the task with all it started."""
        if not self.gone:
            self._channel.close()
            self.gone = True
        if self._process.poll() is None:
            kill_tree(self._process.pid)
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
