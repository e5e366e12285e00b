"""Process trees: who belongs to one, and ending all of it, so that no orphan is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_ROUNDS = 50
_PAUSE = 0.002
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class ProcessInfo(NamedTuple):
    """One process, as the system lists it: `state` a letter (R, S, D, T, Z ...), `started` in clock ticks since boot, 0 if not known."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    started: int = 0


_NOBODY = ProcessInfo(0, "X", 0, 0, 0)


def kill_tree(pid: int, *, also: Callable[[], Iterable[int]] | None = None, patience: float = 10.0) -> bool:
    """Kill a process, all its descendants, its process group and its session, and wait until none of them runs.

    All are stopped before any is killed, so that none can start another or slip away from a dying parent. This process
    and its ancestors are spared. A list of processes is never of one moment: one that was seen dying may have forked another
    since, so it takes a look without such to be done.

    Args:
        pid: The root; it may be dead already.
        also: Gives further processes that belong to the tree, such as the members of a cgroup.
        patience: Seconds to wait for the last one; a process stuck in the kernel can't be killed.

    Returns:
        Whether none is left.
    """
    tree = _Tree(pid, also)
    for _ in range(_ROUNDS):
        new = tree.look() - tree.known
        if not new and tree.settled:
            break
        tree.signal(new, signal.SIGSTOP)
    tree.signal(tree.known, signal.SIGKILL)
    deadline = time.monotonic() + patience
    while (left := tree.look()) or not tree.settled:
        tree.signal(left, signal.SIGKILL)
        if time.monotonic() > deadline:
            return not left
        time.sleep(_PAUSE)
    return True


class _Tree:
    """The processes that belong to a root, as they are found.

    Attributes:
        known: All that were found so far.
        settled: In the last look nobody was seen dying who had not been before.
    """

    def __init__(self, pid: int, also: Callable[[], Iterable[int]] | None) -> None:
        self.pid = pid
        self.known: set[int] = set()
        self.settled = False
        self._also = also
        self._dead: set[int] = set()
        self._groups: set[int] = set()

    def look(self) -> set[int]:
        """Return the living."""
        everyone = list(processes())
        living = [p for p in everyone if p.state not in "ZX"]
        roots = self.known | {self.pid, *(self._also() if self._also else ())}
        related = {p.pid for p in everyone if self.pid in (p.pid, p.session, p.group)}
        spared = _spared(living)
        found = ((related | roots) & {p.pid for p in living} | _descendants_by_scan(roots, living)) - spared
        dead = {p.pid for p in everyone if p.state in "ZX" and (p.pid in related or p.parent in roots or p.pid in roots)}
        self.settled = dead <= self._dead
        self._dead |= dead
        self._groups = {p.group for p in living if p.pid in found} & (roots | found) - {p.group for p in living if p.pid in spared}
        return found

    def signal(self, pids: Iterable[int], number: int) -> None:
        """Send a signal to some of them, and to the groups that are theirs alone: a group is reached as one, whoever forks meanwhile."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        signal_all(pids, number)
        self.known |= set(pids)


def descendants(pid: int) -> set[int]:
    """Return a process and all its living descendants; cheap where the kernel lists children."""
    found = {pid} if _running(pid) else set()
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        if children is None:
            return _descendants_by_scan({pid}, list(processes()))
        new = [c for c in children if c not in found]
        found.update(c for c in new if _running(c))
        waiting += new
    return found


def processes() -> Iterator[ProcessInfo]:
    """Give all processes that this user can see."""
    if not has_proc():
        yield from _processes_by_psutil()
        return
    with os.scandir("/proc") as entries:
        names = [e.name for e in entries]
    for name in names:
        info = _info(int(name)) if name.isdigit() else None
        if info is not None:
            yield info


def adopt_orphans() -> None:
    """Make this process the parent of orphaned descendants, so that none escapes from its tree. Linux only; elsewhere nothing."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have this process killed when its parent ends. Linux only; elsewhere nothing."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_descendants() -> None:
    """Kill all descendants of this process, orphans that it adopted included."""
    own = os.getpid()
    for _ in range(_ROUNDS):
        left = descendants(own) - {own}
        if not left:
            return
        signal_all(left, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(_PAUSE)


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to processes, passing over those that have just ended or turned into another user's."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _spared(everyone: list[ProcessInfo]) -> set[int]:
    parents = {p.pid: p.parent for p in everyone}
    spared, pid = {0, 1}, os.getpid()
    while pid not in spared:
        spared.add(pid)
        pid = parents.get(pid, 0)
    return spared


def _descendants_by_scan(roots: set[int], everyone: list[ProcessInfo]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in everyone:
        children.setdefault(process.parent, []).append(process.pid)
    found = roots & {p.pid for p in everyone if p.state not in "ZX"}
    waiting = list(roots)
    while waiting:
        new = [c for c in children.get(waiting.pop(), ()) if c not in found]
        found.update(new)
        waiting += new
    return found


def _children(pid: int) -> list[int] | None:
    """Return the children of a process; None where the kernel does not list them."""
    if not _lists_children():
        return None
    return [child for thread in _threads(pid) for child in _children_of(pid, thread)]


def _threads(pid: int) -> list[int]:
    try:
        with os.scandir(f"/proc/{pid}/task") as entries:
            return [int(t.name) for t in entries]
    except OSError:  # it has just ended
        return []


def _children_of(pid: int, thread: int) -> list[int]:
    return [int(child) for child in (read_proc(pid, f"task/{thread}/children") or b"").split()]


@cache
def _lists_children() -> bool:
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def read_proc(pid: int, name: str) -> bytes | None:
    """Return a file of a process in /proc, up to 64 KiB; None if it ended or the file is not for this user."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 65536)
    except OSError:
        return None
    finally:
        os.close(fd)


def started_at(pid: int) -> int:
    """Return when a process started, in a unit that only tells processes of one id apart; 0 if not known."""
    if has_proc():
        info = _info(pid)
        return info.started if info else 0
    import psutil  # noqa: PLC0415  (systems without /proc only)

    try:
        return int(psutil.Process(pid).create_time() * 1000)
    except psutil.Error:
        return 0


def start_of_now() -> int:
    """Return what `started_at` says of a process that starts at this moment."""
    if has_proc():
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
    return int(time.time() * 1000)


def kill_started_since(start: int) -> None:
    """Kill what this thread, and the threads that began since, have started from a moment (`start_of_now`) on, each with its whole tree.

    The system tells which thread forked a child (a marked environment would not: all threads share it, and a fork does not show it). So
    what others in this process start meanwhile is left alone, threads of flowbridge's own with the templates of other runs among them.
    Where the system does not list children (anything but Linux) nothing is killed: what belongs to whom can't be told there.
    """
    own = os.getpid()
    if not _lists_children():
        return
    others = {t.native_id for t in threading.enumerate() if t.name.startswith("flowbridge-")}
    young = {t for t in _threads(own) if t not in others and (_info(own, f"task/{t}/stat") or _NOBODY).started >= start}
    for thread in {threading.get_native_id(), *young}:
        for pid in _children_of(own, thread):
            if started_at(pid) >= start:
                kill_tree(pid)


def is_alive(pid: int, started: int) -> bool:
    """Say whether the process that had this id when it started then still runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's: it is there
        pass
    if not has_proc():
        return started_at(pid) in (0, started)
    info = _info(pid)
    return info is None or (info.state not in "ZX" and started in (0, info.started))


def parent_of(pid: int) -> int | None:
    """Return the parent of a process; None if it ended, or where there is no /proc."""
    info = _info(pid)
    return info.parent if info else None


@cache
def has_proc() -> bool:
    """Say whether this system has /proc."""
    return Path("/proc/self/stat").exists()


def _running(pid: int) -> bool:
    info = _info(pid) if has_proc() else next((p for p in _processes_by_psutil() if p.pid == pid), None)
    return info is not None and info.state not in "ZX"


def _info(pid: int, name: str = "stat") -> ProcessInfo | None:
    text = read_proc(pid, name)
    if not text:
        return None
    fields = text[text.rindex(b")") + 2 :].split(None, 20)
    return ProcessInfo(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _processes_by_psutil() -> Iterator[ProcessInfo]:
    import psutil  # noqa: PLC0415  (systems without /proc only)

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            state = "Z" if process.status() == psutil.STATUS_ZOMBIE else "S"
            yield ProcessInfo(process.pid, state, process.ppid(), os.getpgid(process.pid), os.getsid(process.pid))


@cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _prctl(option: int, value: int) -> None:
    libc = _libc()
    if libc is not None and libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
