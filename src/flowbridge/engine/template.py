"""The template: a process that has imported the flow once, and forks a fresh child for every task.

Where that is unsafe it imports nothing, and starts a new Python for every task instead. Either way it has one thread and no state
but its children, and when its driver goes, by whatever death, it ends all their process trees and itself.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flowbridge.engine.cgroups import enter
from flowbridge.engine.channel import Channel
from flowbridge.engine.child import BEGAN, ENDED, HEAD, LOST, READY, ChildOrder, be_forked, become_clean, run_child
from flowbridge.engine.limits import ChildSetup
from flowbridge.engine.process_tree import adopt_orphans, descendants, kill_descendants, kill_tree
from flowbridge.engine.rehearsal import Rehearsal
from flowbridge.engine.template_setup import TemplateSetup, functions_of, kept_in_memory, session_of, unsafe_to_fork, warm

if TYPE_CHECKING:
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import Session

_AHEAD = 2


class Starter(Protocol):
    """Starts children."""

    def start(self, given: bytes, began: Callable[[int], None]) -> None:
        """Start a child for a pickled `ChildOrder`; its pid is told before it can tell anything itself."""

    def prepare(self) -> bool:
        """Do something ahead for the next child; return False if there is nothing to do."""

    def lose(self, pid: int) -> None:
        """A process that was made ahead has ended."""


class Template:
    """The loop of a template process.

    Args:
        channel: To the driver.
        starter: Starts children.
        folder: Where each child's task has a folder; those of tasks that are ended here are removed here.
    """

    def __init__(self, channel: Channel, starter: Starter, folder: Path | None = None) -> None:
        self.channel = channel
        self.folder = folder
        self.starter = starter
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
        prepared = unsafe != []
        while True:
            ready = {fd for fd, _ in poll.poll(None if prepared else 0)}
            if self.wake_in in ready:
                os.read(self.wake_in, 4096)
                self.reap()
            if self.channel.fileno() in ready:
                self.take_order()
                prepared = False
            elif not ready and not prepared:
                prepared = not self.starter.prepare()

    def take_order(self) -> None:
        """Start a child for the next order."""
        message = self.channel.receive()
        if not message:
            self.shut_down()
        _, number, _ = HEAD.unpack_from(message)

        def began(pid: int) -> None:
            self.children[pid] = number
            self.send(HEAD.pack(BEGAN, number, pid))

        self.starter.start(message[HEAD.size :], began)

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
            if number is None:
                self.starter.lose(pid)
                continue
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
        self.remove_folders()
        os._exit(0)

    def remove_folders(self) -> None:
        """Remove the folders of tasks whose driver is gone, and the folder of all when it is empty."""
        if self.folder is None:
            return
        for number in self.children.values():
            shutil.rmtree(self.folder / str(number), ignore_errors=True)
        with suppress(OSError):  # it was never made, or another template's tasks have files in it
            self.folder.rmdir()


class Forker:
    """Starts a child by forking this process: a moment ahead, so that a task need not wait for it.

    Args:
        channel: To the driver; children tell their records over it.
        make_session: Makes what a child works with; called in the child where the store cannot be shared by a fork.
        rehearse: What a child does while it waits for its order.
        ahead: Number of children that wait for an order.
    """

    def __init__(
        self, channel: Channel, make_session: Callable[[], Session], rehearse: Callable[[], object] | None = None, ahead: int = _AHEAD
    ) -> None:
        self.channel = channel
        self.make_session = make_session
        self.rehearse = rehearse
        self.ahead = ahead
        self.spares: dict[int, Channel] = {}

    def start(self, given: bytes, began: Callable[[int], None]) -> None:
        """Give the order to a child that waits, or fork one."""
        pid = next(iter(self.spares), None) or self.fork()
        spare = self.spares.pop(pid)
        began(pid)
        with suppress(ConnectionError):  # it was killed while it waited, which is told when it is waited for
            spare.send(given)
        spare.close()

    def prepare(self) -> bool:
        """Fork a child ahead."""
        if len(self.spares) >= self.ahead:
            return False
        self.fork()
        return True

    def lose(self, pid: int) -> None:
        """A child that waited has ended."""
        spare = self.spares.pop(pid, None)
        if spare is not None:
            spare.close()

    def fork(self) -> int:
        """Fork a child that waits for an order, and return its pid."""
        ours, theirs = Channel.pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            be_forked(lambda: self.be_child(theirs))
        theirs.close()
        self.spares[pid] = ours
        return pid

    def be_child(self, spare: Channel) -> int:
        """Wait for an order, run it, and return the code to exit with."""
        for other in self.spares.values():
            other.close()
        session = self.make_session()
        ChildSetup().apply()
        if self.rehearse is not None and not select.select([spare], [], [], 0)[0]:
            self.rehearse()
        message = spare.receive()
        if not message:
            return LOST
        given: ChildOrder = pickle.loads(message)
        given.enter(entered=True)
        return run_child(given, session, self.channel.send)


class Anew:
    """Starts a child as a new Python, which reads the set-up from a file in memory and its order from its standard input."""

    def __init__(self, setup: TemplateSetup) -> None:
        self.setup = kept_in_memory(pickle.dumps(setup))

    def start(self, given: bytes, began: Callable[[int], None]) -> None:
        """Start a child."""
        command = [sys.executable, "-m", "flowbridge.engine.spawned", str(self.setup)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[self.setup], start_new_session=True)
        process.returncode = 0  # `Template.reap` waits for it
        began(process.pid)
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin:  # dead already, which is told when it is waited for
                process.stdin.write(given)

    def prepare(self) -> bool:
        """Do nothing: a new Python is not started on the chance that it will be needed."""
        return False

    def lose(self, pid: int) -> None:
        """Do nothing: no process is made ahead."""


def be_forked_template(channel: Channel, session: Session, first: WorkOrder, folder: Path | None, group: Path | None = None) -> None:
    """Be a template, in a process that was just forked from the driver; never returns.

    Args:
        channel: To the driver.
        session: What children work with.
        first: An order of the run.
        folder: Where each task has a folder.
        group: The cgroup to enter, by which the driver finds whatever is left here.
    """
    try:
        if group is not None:
            enter(group)
        os.setsid()
        become_clean()
        drop_descriptors(keep=channel.fileno())
        warm(session, first)
        rehearsal = Rehearsal(session, first)
        rehearsal.run()
        Template(channel, Forker(channel, lambda: session, rehearsal.run), folder).serve(unsafe_to_fork())
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
        Template(channel, Anew(setup), setup.folder).serve([])
    functions = functions_of(setup)
    if setup.shares_store:
        session = session_of(setup, functions)
        warm(session, setup.first, setup.serves)
        rehearsal = Rehearsal(session, setup.first)
        rehearsal.run()
        Template(channel, Forker(channel, lambda: session, rehearsal.run), setup.folder).serve(unsafe_to_fork())
    Template(channel, Forker(channel, lambda: session_of(setup, functions)), setup.folder).serve(unsafe_to_fork())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
