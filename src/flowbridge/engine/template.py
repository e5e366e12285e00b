"""The template: a process that has imported the flow once, and forks a fresh child for every task.

It has one thread and no state but its children. When its driver goes, by whatever death, it ends all their process trees and itself.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.engine.child import BEGAN, ENDED, HEAD, READY, ChildOrder, become_clean, end, run_child
from flowbridge.engine.process_tree import adopt_orphans, descendants, kill_descendants, kill_tree
from flowbridge.packaging.loader import open_bundle
from flowbridge.worker.session import Session

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile
    from flowbridge.worker.order import WorkOrder

LARGEST = 1 << 20
_PIECE = 1 << 16
_LOST = 70


@dataclass(frozen=True)
class TemplateSetup:
    """What a template needs to know; sent to one that is not forked from the driver.

    Attributes:
        first: An order of the run, from which the store, the flow and the run are known.
        graph: The flow.
        profile: The settings in force.
        bundle: The code bundle; None where the functions are in memory.
        path: Import path of the driver.
        shares_store: The store may be opened before a fork: it is a folder of this machine, so there are no connections and no threads.
        echo: What tasks print also goes to where the driver prints.
    """

    first: WorkOrder
    graph: FlowGraph
    profile: Profile
    bundle: bytes | None = None
    path: tuple[str, ...] = ()
    shares_store: bool = False
    echo: bool = False


class Template:
    """The loop of a template process.

    Args:
        channel: To the driver; one message per packet.
        make_session: Makes what a child works with; called in the child where the store cannot be shared by a fork.
        shared: The session that all children start from, where it can be.
    """

    def __init__(self, channel: socket.socket, make_session: Callable[[], Session], shared: Session | None) -> None:
        self.channel = channel
        self.make_session = make_session
        self.shared = shared
        self.children: dict[int, int] = {}
        self.wake_in, self.wake_out = os.pipe()

    def serve(self) -> None:
        """Fork children as ordered, and tell how they end, until the driver is gone."""
        os.set_blocking(self.wake_out, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.shut_down())
        signal.set_wakeup_fd(self.wake_out, warn_on_full_buffer=False)
        adopt_orphans()
        gc.collect()
        gc.freeze()
        self.channel.send(HEAD.pack(READY, 0, os.getpid()) + ",".join(unsafe_to_fork()).encode())
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.wake_in, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.wake_in in ready:
                os.read(self.wake_in, 4096)
                self.reap()
            if self.channel.fileno() in ready and not self.take_order():
                self.shut_down()

    def take_order(self) -> bool:
        """Fork a child for the next order; return False if the driver is gone."""
        try:
            message = self.channel.recv(LARGEST)
        except ConnectionError:
            return False
        if not message:
            return False
        given: ChildOrder = pickle.loads(message)  # noqa: S301  (from the driver, over a socket that only it holds)
        pid = os.fork()
        if pid == 0:
            self.be_child(given)
        self.children[pid] = given.number
        self.send(HEAD.pack(BEGAN, given.number, pid))
        return True

    def be_child(self, given: ChildOrder) -> None:
        """Run the task; never returns."""
        code = _LOST
        try:
            os.setsid()
            os.close(self.wake_in)
            os.close(self.wake_out)
            session = self.shared or self.make_session()
            code = run_child(given, session, self.channel)
        except BaseException as error:  # noqa: BLE001  (whatever it is, this process must not go on as a second template)
            sys.stderr.write(f"flowbridge: the task's process failed: {type(error).__name__}: {error}\n")
        finally:
            end(code)

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
        """Tell the driver something; that it is gone is noticed when the channel is read."""
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


def unsafe_to_fork() -> list[str]:
    """Return why this process should not be forked: threads of its own, or a GPU context. Empty: it can be."""
    found = []
    others = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
    if others:
        found.append(f"threads were started when the flow was imported ({' '.join(others[:3])})")
    if _has_gpu_context():
        found.append("a GPU was used when the flow was imported")
    return found


def _has_gpu_context() -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return True
    fds = Path("/proc/self/fd")
    if not fds.exists():
        return False
    return any(_target(fd).startswith("/dev/nvidia") for fd in fds.iterdir())


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed in the meantime
        return ""


def be_forked_template(channel: socket.socket, session: Session, first: WorkOrder) -> None:
    """Be a template, in a process that was just forked from the driver; never returns."""
    try:
        os.setsid()
        become_clean()
        drop_descriptors(keep={channel.fileno()})
        warm(session, first)
        Template(channel, lambda: session, session).serve()
    except BaseException as error:  # noqa: BLE001  (this process must not go on as a second driver)
        sys.stderr.write(f"flowbridge: the template process failed: {type(error).__name__}: {error}\n")
    finally:
        os._exit(_LOST)


def drop_descriptors(keep: set[int]) -> None:
    """Point every inherited descriptor but the standard ones at nothing.

    They are not closed: an object of the driver's that is collected here would close whatever had got its number since.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    folder = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")
    for number in [int(entry.name) for entry in folder.iterdir()]:
        if number > 2 and number not in keep and number != nothing:  # noqa: PLR2004  (the standard streams)
            try:
                os.fstat(number)
            except OSError:  # the folder's own descriptor
                continue
            os.dup2(nothing, number, inheritable=False)


def warm(session: Session, first: WorkOrder) -> None:
    """Import the functions of all steps, so that children find them; what can't be imported is told by the task that needs it."""
    run = session.run(first)
    for node in run.graph.steps:
        if node.code is None:
            continue
        try:
            run.hints(node)
        except (Exception, SystemExit):  # noqa: BLE001, S112  (the task's own attempt meets it again, and records it)
            continue
    _ = run.record, run.locator


def main() -> int:
    """Be a template that was not forked: the set-up comes over the channel, whose descriptor is the only argument."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    setup: TemplateSetup = pickle.loads(receive_all(channel))  # noqa: S301  (from the driver, over a socket that only it holds)
    functions = functions_of(setup)
    shared = session_of(setup, functions) if setup.shares_store else None
    if shared is not None:
        warm(shared, setup.first)
    Template(channel, lambda: session_of(setup, functions), shared).serve()
    return 0


def session_of(setup: TemplateSetup, functions: Mapping[str, Callable[..., Any]]) -> Session:
    """Open the store and return what tasks work with."""
    from flowbridge.artifacts.store import Store  # noqa: PLC0415  (fsspec may start threads: not before it is known who forks)

    profile = setup.profile
    cache = Path(profile.cache_dir).expanduser() if profile.cache_dir else None
    store = Store.open(
        setup.first.store, options=profile.store_options, trust=profile.trust, cache_dir=cache, cache_size=profile.cache_size
    )
    return Session(store, functions=functions, graph=setup.graph, capture="fd", echo=setup.echo)


def functions_of(setup: TemplateSetup, only: str | None = None) -> dict[str, Callable[..., Any]]:
    """Import the functions of the steps (or of one) from the code bundle; those that can't be are left to the tasks that need them."""
    sys.path[:0] = [p for p in setup.path if p not in sys.path]
    if setup.bundle is None:
        return {}
    cache = setup.profile.cache_dir
    folder = Path(cache).expanduser() if cache else Path(tempfile.gettempdir()) / "flowbridge-code"
    found: dict[str, Callable[..., Any]] = {}
    for node in setup.graph.steps:
        if node.code is None or only not in {None, node.id} or (node.code.by_value and not setup.profile.trust):
            continue
        try:
            found[node.id] = open_bundle(setup.bundle, folder).step(node.id, node.code)
        except (Exception, SystemExit):  # noqa: BLE001, S112  (the task's own attempt meets it again, and records it)
            continue
    return found


def receive_all(channel: socket.socket) -> bytes:
    """Receive one pickled set-up, however many packets it takes."""
    size = int.from_bytes(channel.recv(8), "little")
    parts: list[bytes] = []
    while size > 0 and (part := channel.recv(LARGEST)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def send_all(channel: socket.socket, content: bytes) -> None:
    """Send one pickled set-up."""
    channel.sendall(len(content).to_bytes(8, "little"))
    for start in range(0, len(content), _PIECE):
        channel.sendall(content[start : start + _PIECE])


if __name__ == "__main__":
    raise SystemExit(main())
