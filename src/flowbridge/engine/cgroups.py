"""Groups of processes by cgroup, v2 or v1: to limit the memory of a task, and to find all that belongs to a run however it hides.

They are made beside or below the group that this process is in.

Facts: `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst` of the Linux kernel.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from flowbridge.engine.capacity import cgroup_folders
from flowbridge.engine.process_tree import is_alive, signal_all, started_at

Version = Literal[1, 2]
_PREFIX = "flowbridge-"
_PROBE_LIMIT = 2**30
_REMOVE_SECONDS = 2.0
_PAUSE = 0.002
_numbers = itertools.count()


@dataclass(frozen=True)
class MemoryGroup:
    """A cgroup, mostly one with a memory limit.

    Attributes:
        folder: Of the group.
        version: Of cgroups.
        limit: Bytes; 0 for none.
    """

    folder: Path
    version: Version
    limit: int

    @property
    def door(self) -> Path:
        """The file that the id of a process is written to, for it to enter."""
        return self.folder / "cgroup.procs"

    def take(self, pid: int) -> None:
        """Have another process enter, with all its threads; its children of later will be here too."""
        _write(self.door, pid)

    def peak(self) -> int | None:
        """Return the most bytes ever charged, page cache included; None on kernels that do not keep it."""
        return self._number("memory.peak" if self.version == 2 else "memory.max_usage_in_bytes")  # noqa: PLR2004

    def held(self) -> int | None:
        """Return the bytes that can't be dropped at need: anonymous and shared memory, without the page cache."""
        stat = self._table("memory.stat")
        names = ("anon", "shmem") if self.version == 2 else ("total_rss", "total_shmem")  # noqa: PLR2004
        return sum(stat.get(n, 0) for n in names) if stat else None

    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed here for memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"  # noqa: PLR2004
        return self._table(name).get("oom_kill", 0)

    def members(self) -> list[int]:
        """Return the processes in the group."""
        try:
            return [int(p) for p in (self.folder / "cgroup.procs").read_text().split()]
        except OSError:  # removed
            return []

    def kill(self) -> None:
        """Kill all members."""
        with contextlib.suppress(OSError):  # kernels before 5.14, and v1
            (self.folder / "cgroup.kill").write_text("1")
        signal_all(self.members(), signal.SIGKILL)

    def remove(self, patience: float = _REMOVE_SECONDS) -> bool:
        """Kill what is left in the group and remove it, within `patience` seconds; say whether it is gone."""
        deadline = time.monotonic() + patience
        while not self._removed():
            if time.monotonic() > deadline:
                return False
            self.kill()
            time.sleep(_PAUSE)
        return True

    def _removed(self) -> bool:
        try:
            self.folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:  # processes are left in it
            return False
        return True

    def _number(self, name: str) -> int | None:
        try:
            return int((self.folder / name).read_text())
        except (OSError, ValueError):
            return None

    def _table(self, name: str) -> dict[str, int]:
        try:
            lines = (self.folder / name).read_text().splitlines()
        except OSError:
            return {}
        pairs = (line.split() for line in lines)
        return {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[1].isdigit()}  # noqa: PLR2004  (name and number)


@dataclass(frozen=True)
class Base:
    """A folder in which this process can make groups that limit memory."""

    folder: Path
    version: Version


def make_group(limit: int = 0) -> MemoryGroup | None:
    """Make a group for one task, or without a limit for all processes of a run; None where this process can't."""
    base = find_base(os.getpid())
    if base is None:
        return None
    folder = base.folder / f"{_PREFIX}{_own_name(os.getpid())}-{next(_numbers)}"
    try:
        return _make(folder, base.version, limit)
    except OSError:  # the limit is beyond what the group around allows, or the right was taken away
        with contextlib.suppress(OSError):
            folder.rmdir()
        return None


def enter(folder: Path) -> None:
    """Have this process enter a group. On v1 a process of one thread takes the short way: moving it as a thread waits for no grace period (5 ms)."""
    tasks = folder / "tasks"
    alone = tasks.exists() and len(list(Path("/proc/self/task").iterdir())) == 1
    fd = os.open(tasks if alone else folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


@cache
def find_base(_process: int) -> Base | None:
    """Return where this process can make groups, tried for real; groups that dead processes left there are removed."""
    for base in _candidates():
        probe = base.folder / f"{_PREFIX}{_own_name(os.getpid())}-probe"
        try:
            group = _make(probe, base.version, _PROBE_LIMIT)
        except OSError:
            with contextlib.suppress(OSError):
                probe.rmdir()
            continue
        group.remove()
        sweep(base)
        return base
    return None


def sweep(base: Base) -> list[Path]:
    """Kill and remove the groups of processes that are dead; return those removed."""
    gone = []
    for folder in base.folder.glob(f"{_PREFIX}*"):
        parts = folder.name.removeprefix(_PREFIX).split("-")
        if len(parts) != 4 or parts[0] != _namespace() or not (parts[1] + parts[2]).isdigit():  # noqa: PLR2004  (as in _own_name)
            continue
        if not is_alive(int(parts[1]), int(parts[2])) and MemoryGroup(folder, base.version, 0).remove():
            gone.append(folder)
    return gone


def _candidates() -> list[Base]:
    """Folders to try. v2: groups may not hold both processes and limited groups, so the nearest group around is as near as it gets."""
    found: list[Base] = []
    for folder in cgroup_folders("memory"):
        if (folder / "memory.limit_in_bytes").exists():
            found.append(Base(folder, 1))
        elif "memory" in _words(folder / "cgroup.subtree_control"):
            found.append(Base(folder, 2))
    return sorted(found, key=lambda b: -b.version)


def _make(folder: Path, version: Version, limit: int) -> MemoryGroup:
    folder.mkdir()
    if not limit:
        pass
    elif version == 2:  # noqa: PLR2004
        _write(folder / "memory.max", limit)
        _write_if_there(folder / "memory.swap.max", 0)
        _write_if_there(folder / "memory.oom.group", 1)
    else:
        _write(folder / "memory.limit_in_bytes", limit)
        _write_if_there(folder / "memory.memsw.limit_in_bytes", limit)
    group = MemoryGroup(folder, version, limit)
    if not os.access(group.door, os.W_OK):
        raise PermissionError(f"{group.door} cannot be written")
    return group


def _write(path: Path, value: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # no O_CREAT: these are files of the kernel
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _write_if_there(path: Path, value: int) -> None:
    """Write a setting that not all kernels have (swap accounting, whole-group kills)."""
    with contextlib.suppress(FileNotFoundError):
        _write(path, value)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


@cache
def _own_name(pid: int) -> str:
    return f"{_namespace()}-{pid}-{started_at(pid)}"


@cache
def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "0"
