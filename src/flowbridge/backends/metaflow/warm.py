"""The warm helper of a run on this machine: it has flowbridge and the flow's code loaded, and forks a supervisor for each task.

Metaflow starts a new Python for every task; loading flowbridge and the flow in each would take as long again. The helper listens on a socket
that the tasks' processes know from their environment, and takes over a task's output streams and variables. It ends with Metaflow's own
process, and ends a task's processes when Metaflow ends the task.
"""

from __future__ import annotations

import array
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow.attempt import Surroundings
from flowbridge.backends.metaflow.perform import Request, perform
from flowbridge.backends.metaflow.warm_client import SIZE
from flowbridge.engine.child import be_forked
from flowbridge.engine.process_tree import adopt_orphans, kill_descendants, kill_tree
from flowbridge.engine.rehearsal import Rehearsal
from flowbridge.engine.template_setup import warm
from flowbridge.settings import load_profile
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.session import Session, open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

_STREAMS = 2


class Helper:
    """Serves the tasks of one run.

    Args:
        listener: Where tasks connect.
        driver: Readable when Metaflow's own process has ended.
        around: What all tasks share.
        shares_store: The store may be used on both sides of a fork.
    """

    def __init__(self, listener: socket.socket, driver: int, around: Surroundings, *, shares_store: bool) -> None:
        self.listener = listener
        self.driver = driver
        self.around = around
        self.shares_store = shares_store
        self.running: dict[int, socket.socket] = {}
        self.wake_out, self.wake_in = os.pipe()

    def serve(self) -> None:
        """Fork for every task that comes, until the driver ends."""
        adopt_orphans()
        self.listen_to_children()
        while True:
            events = self.poll()
            if self.driver in events:
                self.shut_down()
                return
            if self.wake_out in events:
                os.read(self.wake_out, 4096)
            self.reap()
            for pid, channel in list(self.running.items()):
                if channel.fileno() in events:  # its task's process is gone: nobody wants the answer
                    kill_tree(pid)
            if self.listener.fileno() in events:
                self.take()

    def listen_to_children(self) -> None:
        """Have the end of a child make a descriptor readable."""
        os.set_blocking(self.wake_in, False)
        signal.set_wakeup_fd(self.wake_in, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def poll(self) -> set[int]:
        """Wait for something to happen, and return the descriptors where it did; a task's only when its other end is gone."""
        waiter = select.poll()
        for number in (self.listener.fileno(), self.driver, self.wake_out):
            waiter.register(number, select.POLLIN)
        for channel in self.running.values():
            waiter.register(channel, 0)
        return {number for number, _ in waiter.poll()}

    def take(self) -> None:
        """Fork a supervisor for a task; it answers by itself."""
        channel, _ = self.listener.accept()
        pid = os.fork()
        if pid == 0:
            be_forked(lambda: self.supervise(channel), "the supervisor of a task")
        self.running[pid] = channel

    def reap(self) -> None:
        """Forget the supervisors that have ended."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            channel = self.running.pop(pid, None)
            if channel is not None:
                channel.close()
                self.remove_folder(pid)

    def remove_folder(self, pid: int) -> None:
        """Remove the files of a task whose supervisor is gone; it did so itself unless it was killed."""
        if self.around.folder is not None:
            shutil.rmtree(self.around.folder / str(pid), ignore_errors=True)

    def supervise(self, channel: socket.socket) -> int:
        """Do what one task asks for, and return the code to exit with."""
        try:
            self.listener.close()
            for number in (self.driver, self.wake_in, self.wake_out):
                os.close(number)
            for other in self.running.values():
                other.close()
            answer = json.dumps(self.answer(*_received(channel))).encode()
            channel.sendall(SIZE.pack(len(answer)) + answer)
            channel.shutdown(socket.SHUT_WR)
        finally:
            kill_descendants()
        return 0

    def answer(self, message: bytes, streams: Sequence[int]) -> dict[str, Any]:
        """Take the task's place, and do what it asks for."""
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
            os.close(stream)
        data = json.loads(message)
        os.environ.clear()
        os.environ.update(data["env"])
        request = Request.of(data["request"])
        session = self.around.session if self.shares_store else Session()
        try:
            return perform(request, request.around(session, self.around.profile, self.around.folder)).data()
        except Exception as error:  # noqa: BLE001  (told to the task's process, which raises it)
            return {"error": f"{type(error).__name__}: {error}"}

    def shut_down(self) -> None:
        """End all tasks and this process."""
        for pid in self.running:
            kill_tree(pid)
        kill_descendants()
        for pid in self.running:
            self.remove_folder(pid)


def _received(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Return the message of a task and its output streams."""
    numbers = array.array("i")
    head, ancillary, _, _ = channel.recvmsg(SIZE.size, socket.CMSG_SPACE(_STREAMS * numbers.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    body = bytearray()
    size = SIZE.unpack(head)[0]
    while len(body) < size:
        part = channel.recv(size - len(body))
        if not part:
            raise ConnectionError("the task's process ended")
        body += part
    return bytes(body), list(numbers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the helper of a run: ``SOCKET STORE FLOW RUN``; ends when its standard input does."""
    path, store, flow, run = arguments if arguments is not None else sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    driver = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    opened = open_store(store)
    session = Session(opened if opened.content.local else None)
    order = WorkOrder(store=store, flow=flow, run=run, step="", backend="metaflow")
    warm(session, order)
    if opened.content.local:
        Rehearsal(session, order).run()
    gc.collect()
    gc.freeze()  # what is loaded now stays shared with the supervisors that are forked
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(128)
        os.write(1, b"ready\n")
        around = Surroundings(session, load_profile(overrides={"store": store}), folder=Path(path).with_name("tasks"))
        Helper(listener, driver, around, shares_store=opened.content.local).serve()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
