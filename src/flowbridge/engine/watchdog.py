"""Limits kept by looking: the memory of a process tree where there is no cgroup, GPU memory, and the size of a scratch folder.

One thread of this process looks at all tasks that have such a limit; it runs only while there are any.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from flowbridge.engine import gpus
from flowbridge.engine.process_tree import descendants, has_proc, kill_tree, parent_of, read_proc

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from flowbridge.engine.cgroups import MemoryGroup

Over = Literal["memory", "gpu_memory", "disk"]
PERIOD, NEAR_PERIOD = 0.05, 0.01
_NEAR = 0.7
_DISK_PERIOD = 0.5
_GPU_PERIOD = 1.0
_IDLE_SECONDS = 1.0
_TRIES = 5
_NOTABLE = 1.05
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watched:
    """One task that is looked at.

    Attributes:
        pid: Root of its process tree.
        memory: Limit in bytes, where a look has to keep it.
        inherited: Bytes that its root process shares, as a fork of a template, with processes that are no part of it.
        group: Its cgroup, where the kernel keeps the limit; then a look ends what the kernel left of the task, and keeps the peak.
        gpu_memory: Limit in bytes of what its share of a GPU allows.
        folder: Scratch folder.
        disk: Limit in bytes of that folder.
        over: Which limit was exceeded.
        used: Bytes at that moment.
        peak: Most bytes of memory seen.
        gpu_peak: Most bytes of GPU memory seen.
        disk_peak: Most bytes of scratch space seen.
    """

    pid: int
    memory: int | None = None
    inherited: int = 0
    group: MemoryGroup | None = None
    gpu_memory: int | None = None
    folder: Path | None = None
    disk: int | None = None
    over: Over | None = None
    used: int = 0
    peak: int = 0
    gpu_peak: int = 0
    disk_peak: int = 0
    _largest: int = field(default=0, repr=False)
    _next_gpu: float = field(default=0.0, repr=False)

    def look_at_memory(self, now: float) -> float:
        """Look at memory once, killing the task if it is over a limit; return the seconds until the next look."""
        near = self._look_at_group(self.group) if self.group else self._look_at_tree()
        if self.gpu_memory is not None and now >= self._next_gpu:
            self._next_gpu = now + _GPU_PERIOD
            self._look_at_gpu()
        return NEAR_PERIOD if near else PERIOD

    def look_at_disk(self, now: float) -> float:
        """Measure the scratch folder, killing the task if it is over its limit; return the seconds until the next look."""
        if self.folder is not None:
            used = folder_size(self.folder)
            self.disk_peak = max(self.disk_peak, used)
            if self.disk is not None and used > self.disk:
                self._end("disk", used)
        return max(_DISK_PERIOD, 10 * (time.monotonic() - now))

    def _look_at_group(self, group: MemoryGroup) -> bool:
        self.peak = max(self.peak, group.held() or 0)
        if group.oom_kills():
            self._end("memory", group.peak() or group.limit)
        return False

    def _look_at_tree(self) -> bool:
        if self.memory is None:
            return False
        tree = descendants(self.pid)
        resident = sum(_resident(p) for p in tree)
        if resident > self._largest * _NOTABLE or resident > self.memory:  # the exact figure costs milliseconds: only when it may matter
            self._largest = max(self._largest, resident)
            exact = self._measure(tree)
            self.peak = max(self.peak, exact)
            if exact > self.memory:
                self._end("memory", exact)
        return resident > self.memory * _NEAR

    def _measure(self, tree: set[int]) -> int:
        """Return what the tree holds. Where processes ended or began meanwhile, what they shared may have been counted twice: again."""
        exact = held_by(tree, self.inherited)
        for _ in range(_TRIES):
            before, tree = tree, descendants(self.pid)
            if tree == before:
                break
            exact = held_by(tree, self.inherited)
        return exact

    def _look_at_gpu(self) -> None:
        used = gpus.memory_of(descendants(self.pid)) or 0
        self.gpu_peak = max(self.gpu_peak, used)
        if self.gpu_memory is not None and used > self.gpu_memory:
            self._end("gpu_memory", used)

    def _end(self, over: Over, used: int) -> None:
        if self.over is None:
            self.over, self.used = over, used
        kill_tree(self.pid, also=self.group.members if self.group else None)


class Watchdog:
    """One thread that looks, and the tasks that it looks at. It ends when there have been none for a while.

    Args:
        look: Looks at one task, given the time; returns the seconds until the next look.
    """

    def __init__(self, look: Callable[[Watched, float], float]) -> None:
        self._look = look
        self._change = threading.Condition()
        self._watched: list[Watched] = []
        self._thread: threading.Thread | None = None

    def add(self, task: Watched) -> None:
        """Begin to look at a task."""
        with self._change:
            self._watched.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flowbridge-watchdog", daemon=True)
                self._thread.start()
            else:
                self._change.notify()

    def remove(self, task: Watched) -> None:
        """Look at a task no more."""
        with self._change, contextlib.suppress(ValueError):
            self._watched.remove(task)

    def _run(self) -> None:
        while True:
            with self._change:
                if not self._change.wait_for(lambda: self._watched, timeout=_IDLE_SECONDS):
                    self._thread = None
                    return
                tasks = list(self._watched)
            now = time.monotonic()
            time.sleep(min([self._look(t, now) for t in tasks if t.over is None], default=PERIOD))


class Watchdogs:
    """The watchdogs of one process: a slow look at a large folder must not delay the one at memory."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._memory = Watchdog(Watched.look_at_memory)
        self._disk = Watchdog(Watched.look_at_disk)

    def add(self, task: Watched) -> None:
        """Begin to look at a task."""
        if task.memory is not None or task.gpu_memory is not None:
            self._memory.add(task)
        if task.disk is not None:
            self._disk.add(task)

    def remove(self, task: Watched) -> None:
        """Look at a task no more."""
        self._memory.remove(task)
        self._disk.remove(task)


_here: list[Watchdogs] = []
_making = threading.Lock()


def watchdogs() -> Watchdogs:
    """Return the watchdogs of this process; a forked child gets its own."""
    with _making:
        if not _here or _here[0].pid != os.getpid():
            _here[:] = [Watchdogs()]
        return _here[0]


def held_by(tree: Collection[int], inherited: int = 0) -> int:
    """Return the bytes that some processes hold together and that can't be dropped, what they share among themselves counted once.

    Args:
        tree: Ids of the processes.
        inherited: Bytes of what each may share with others, as the fork of a process that is none of them; that is not theirs. What
            was shared and then written to is a copy of their own, and counts.
    """
    held = [_held(pid) for pid in tree]
    return sum(private for private, _ in held) + max(max((shared for _, shared in held), default=0) - inherited, 0)


def inherited_by(pid: int) -> int:
    """Return the bytes that a process may share with the one that forked it; to be asked while both live."""
    parent = parent_of(pid)
    text = read_proc(parent, "smaps_rollup") if parent is not None else None
    return dict(_sizes(text)).get(b"Anonymous", 0) if text else 0


def _held(pid: int) -> tuple[int, int]:
    """Return the bytes that one process holds alone, and those of its anonymous memory that others have too."""
    text = read_proc(pid, "smaps_rollup")
    if not text:  # not for this user, or no /proc, or just ended
        return _resident(pid), 0
    table = dict(_sizes(text))
    if b"Pss_Anon" not in table:
        return table.get(b"Pss", 0), 0
    anonymous = table.get(b"Anonymous", 0)
    private = min(anonymous, table.get(b"Private_Dirty", 0))  # dirty pages of files that only this process maps are not anonymous
    return private + table.get(b"Pss_Shmem", 0), anonymous - private


def _sizes(text: bytes) -> list[tuple[bytes, int]]:
    lines = (line.split() for line in text.splitlines()[1:])
    return [(words[0].rstrip(b":"), int(words[1]) * 1024) for words in lines if len(words) == 3]  # noqa: PLR2004  (name, number, kB)


def _resident(pid: int) -> int:
    if has_proc():
        text = read_proc(pid, "statm")
        return int(text.split()[1]) * _PAGE if text else 0
    import psutil  # noqa: PLC0415  (systems without /proc only)

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def folder_size(folder: Path | str) -> int:
    """Return the bytes that files in a folder take on disk, those in folders below included; links are not followed."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # it may go away while it is read
        for entry in entries:
            with contextlib.suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    total += folder_size(entry.path)
    return total
