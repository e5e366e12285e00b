"""The template: a process that has imported the flow once, and forks a fresh child for every task.

Where that is unsafe it imports nothing, and starts a new Python for every task instead. Either way it has one thread and no state
but its children, and when its driver goes, by whatever death, it ends all their process trees and itself.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.engine.channel import Channel
from flowbridge.engine.child import BEGAN, ENDED, HEAD, READY, ChildOrder, become_clean, end, run_child
from flowbridge.engine.process_tree import adopt_orphans, descendants, kill_descendants, kill_tree
from flowbridge.engine.template_setup import TemplateSetup, functions_of, kept_in_memory, session_of, unsafe_to_fork, warm

if TYPE_CHECKING:
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import Session

LOST = 70
"""Exit code of a process in which flowbridge itself failed."""

Start = Callable[[ChildOrder], int]


class Template:
    """The loop of a template process.

    Args:
        channel: To the driver.
        start: Starts a child and returns its pid.
    """

    def __init__(self, channel: Channel, start: Start) -> None:
        self.channel = channel
        self.start = start
        self.children: dict[int, int] = {}
        self.wake_in, self.wake_out = os.pipe()

    def serve(self, unsafe: list[str]) -> None:
        """Start children as ordered, and tell how they end, until the driver is gone; never returns.

        Args:
            unsafe: Why this process should not be forked after all; the driver decides.
        """
        os.set_blocking(self.wake_in, False)
        os.set_blocking(self.wake_out, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.shut_down())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self.wake_out, warn_on_full_buffer=False)
        adopt_orphans()
        gc.collect()
        gc.freeze()
        self.send(HEAD.pack(READY, 0, os.getpid()) + "\n".join(unsafe).encode())
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.wake_in, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.wake_in in ready:
                os.read(self.wake_in, 4096)
                self.reap()
            if self.channel.fileno() in ready:
                self.take_order()

    def take_order(self) -> None:
        """Start a child for the next order."""
        message = self.channel.receive()
        if not message:
            self.shut_down()
        given: ChildOrder = pickle.loads(message)
        pid = self.start(given)
        self.children[pid] = given.number
        self.send(HEAD.pack(BEGAN, given.number, pid))

    def reap(self) -> None:
        """Tell of the children that have ended, and end what those that were killed left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self.children.pop(pid, None)
            if number is not None:
                code = os.waitstatus_to_exitcode(status)
                if code < 0:
                    self.end_leftovers()
                self.send(HEAD.pack(ENDED, number, code))

    def end_leftovers(self) -> None:
        """Kill processes that dead children left; living ones keep their own orphans, so whatever is here belongs to the dead."""
        own = os.getpid()
        alive: set[int] = set().union(*(descendants(pid) for pid in self.children)) if self.children else set()
        for pid in descendants(own) - alive - {own} - set(self.children):
            kill_tree(pid)

    def send(self, message: bytes) -> None:
        """Tell the driver something."""
        try:
            self.channel.send(message)
        except ConnectionError:
            self.shut_down()

    def shut_down(self) -> None:
        """End all process trees and this process."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for pid in list(self.children):
            kill_tree(pid)
        kill_descendants()
        os._exit(0)


class Forker:
    """Starts a child by forking this process.

    Args:
        channel: To the driver; children tell their records over it.
        make_session: Makes what a child works with; called in the child where the store cannot be shared by a fork.
    """

    def __init__(self, channel: Channel, make_session: Callable[[], Session]) -> None:
        self.channel = channel
        self.make_session = make_session

    def __call__(self, given: ChildOrder) -> int:
        """Start a child."""
        pid = os.fork()
        if pid == 0:
            self.be_child(given)
        return pid

    def be_child(self, given: ChildOrder) -> None:
        """Run the task; never returns."""
        code = LOST
        try:
            os.setsid()
            become_clean()
            given.enter()
            code = run_child(given, self.make_session(), self.channel.send)
        except BaseException as error:  # noqa: BLE001  (whatever it is, this process must not go on as a second template)
            sys.stderr.write(f"flowbridge: the task's process failed: {type(error).__name__}: {error}\n")
        finally:
            end(code)


class Starter:
    """Starts a child as a new Python, which reads the set-up from a file in memory and its order from its standard input."""

    def __init__(self, setup: TemplateSetup) -> None:
        self.setup = kept_in_memory(pickle.dumps(setup))

    def __call__(self, given: ChildOrder) -> int:
        """Start a child."""
        command = [sys.executable, "-m", "flowbridge.engine.spawned", str(self.setup)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[self.setup], start_new_session=True, env={**os.environ, **dict(given.env)}
        )
        process.returncode = 0  # `Template.reap` waits for it
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin:  # dead already, which is told when it is waited for
                process.stdin.write(pickle.dumps(given))
        return process.pid


def be_forked_template(channel: Channel, session: Session, first: WorkOrder) -> None:
    """Be a template, in a process that was just forked from the driver; never returns."""
    try:
        os.setsid()
        become_clean()
        drop_descriptors(keep=channel.fileno())
        warm(session, first)
        Template(channel, Forker(channel, lambda: session)).serve(unsafe_to_fork())
    except BaseException as error:  # noqa: BLE001  (this process must not go on as a second driver)
        sys.stderr.write(f"flowbridge: the template process failed: {type(error).__name__}: {error}\n")
    finally:
        os._exit(LOST)


def drop_descriptors(keep: int) -> None:
    """Point every inherited descriptor but standard output and error at nothing.

    They are not closed: an object of the driver's that is collected here would close whatever had got its number since.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number not in {keep, nothing} and _is_open(number):  # noqa: PLR2004  (the standard streams)
            os.dup2(nothing, number, inheritable=False)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:  # that of the listing itself
        return False
    return True


def main() -> int:
    """Be a template that was not forked: the set-up comes over the channel, whose descriptor is the only argument."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    setup: TemplateSetup = pickle.loads(channel.receive_long())
    if not setup.fork:
        Template(channel, Starter(setup)).serve([])
    functions = functions_of(setup)
    if setup.shares_store:
        session = session_of(setup, functions)
        warm(session, setup.first)
        Template(channel, Forker(channel, lambda: session)).serve(unsafe_to_fork())
    Template(channel, Forker(channel, lambda: session_of(setup, functions))).serve(unsafe_to_fork())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
