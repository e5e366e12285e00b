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

from flowbridge.engine.channel import Channel
from flowbridge.engine.child import BEGAN, ENDED, HEAD, ORDER, READY, STORED, TOLD, ChildOrder
from flowbridge.engine.executors.base import Began, Ended, Happening, Told
from flowbridge.engine.process_tree import kill_tree
from flowbridge.engine.template import be_forked_template
from flowbridge.errors import BackendError
from flowbridge.records.models import TaskRecord

if TYPE_CHECKING:
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

    def __init__(self, channel: Channel, pid: int, process: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.started_anew = process is not None
        self.unsafe: list[str] = []
        self.gone = False
        self._channel = channel
        self._process = process
        self._running: dict[int, int | None] = {}
        self._waiting: list[Happening] = []
        self._ready = False
        channel.socket.setblocking(False)  # noqa: FBT003  (as the socket module has it)

    @classmethod
    def fork(cls, session: Session, first: WorkOrder) -> TemplateHandle:
        """Fork a template off this process, which must be safe to fork."""
        ours, theirs = Channel.pair()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            be_forked_template(theirs, session, first)
        theirs.close()
        return cls(ours, pid)

    @classmethod
    def start(cls, setup: TemplateSetup, python: str = sys.executable) -> TemplateHandle:
        """Start a template from nothing."""
        ours, theirs = Channel.pair()
        command = [python, "-m", "flowbridge.engine.template", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
        theirs.close()
        with suppress(ConnectionError):  # it ended at once; `wait_ready` says so
            ours.send_long(pickle.dumps(setup))
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
            if self.gone:
                raise BackendError("The process that imports the flow ended before it was ready; its last words are above")
            select.select([self._channel], [], [])
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
        while not self.gone:
            try:
                message = self._channel.receive()
            except BlockingIOError:
                return found
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

    def _ended(self) -> bool:
        if self._process is not None:
            return self._process.poll() is not None
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # somebody else in this process waited for it
            return True
