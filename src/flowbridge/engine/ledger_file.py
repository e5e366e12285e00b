"""The file behind the machine-wide account: events, one JSON array a line, appended under a lock that no dead process can hold.

Every process follows the file from where it last stopped reading, so an operation costs a handful of system calls. Whoever
deletes or replaces the file stops nobody: after taking the lock, a process looks whether the file is still the one at that
path, and starts over on the new one if not. A line torn by a killed process or a full disk is skipped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Event = list[Any]
_COMPACT_SIZE = 64 * 1024
_STUCK_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.00005, 0.002
_OPEN_TRIES = 100


@dataclass
class Changes:
    """What others wrote since this process last looked. `restarted`: the file is a new one and `events` is all of it."""

    restarted: bool = False
    events: list[Event] = field(default_factory=list)


class LedgerFile:
    """One open ledger. Not for use by several threads at once, nor by a forked child (`reopen` there)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._inode = -1
        self._offset = 0
        self._torn = False
        self._compacted = 0

    @property
    def wants_compaction(self) -> bool:
        """Whether the file has grown enough to be worth rewriting."""
        return self._offset > max(_COMPACT_SIZE, 4 * self._compacted)

    def unchanged(self) -> bool:
        """Say, without the lock, whether nobody wrote since this process last looked."""
        try:
            now = self.path.stat()
        except OSError:
            return False
        return now.st_ino == self._inode and now.st_size == self._offset

    @contextlib.contextmanager
    def locked(self) -> Iterator[Changes]:
        """Hold the lock; gives what others wrote since the last time."""
        changes = Changes()
        size = self._lock(changes)
        try:
            if size != self._offset:
                changes.events = self._read(size)
            yield changes
        finally:
            self._unlock()

    def append(self, events: Sequence[Event]) -> None:
        """Write events at the end. Only while locked.

        Raises:
            OSError: The disk is full or failing; readers skip what was written in part.
        """
        text = "".join(json.dumps(e, separators=(",", ":")) + "\n" for e in events)
        data = ("\n" + text if self._torn else text).encode()
        written = os.write(self._fd, data)
        self._offset += written
        self._torn = written != len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def replace(self, events: Sequence[Event]) -> None:
        """Put a new file that holds only these events in the place of this one. Only while locked; the lock passes on to it."""
        spare = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        old = self._fd
        self._fd = os.open(spare, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            self._begin()
            self.append(events)
            spare.rename(self.path)
            self._compacted = self._offset
        except OSError:
            os.close(self._fd)
            self._fd, self._inode, self._offset = old, -1, 0
            with contextlib.suppress(OSError):
                spare.unlink()
            raise
        if old >= 0:
            os.close(old)

    def close(self) -> None:
        """Close the file; the next operation opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._inode, self._offset, self._torn = -1, -1, 0, False

    def _lock(self, changes: Changes) -> int:
        """Take the lock of the file that is at the path now; return its size."""
        for _ in range(_OPEN_TRIES):
            if self._fd < 0:
                self._open()
                changes.restarted = True
            if not self._wait_for_lock():
                changes.restarted = True
                return self._break()
            size = self._size_if_current()
            if size is not None:
                return size
            self.close()
        raise ConfigError(
            f"The account of this machine, {self.path}, is replaced faster than it can be opened; is another program using it?"
        )

    def _size_if_current(self) -> int | None:
        """Return the size of the file at the path, if it is the one that is open and nobody has cut it."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return None
        return now.st_size if now.st_ino == self._inode and now.st_size >= self._offset else None

    def _wait_for_lock(self) -> bool:
        """Take the lock; False if its holder keeps it for seconds, which only a stopped process does."""
        if self._try_lock():
            return True
        pause, give_up = _FIRST_PAUSE, time.monotonic() + _STUCK_SECONDS
        while time.monotonic() < give_up:
            time.sleep(pause)
            if self._try_lock():
                return True
            pause = min(pause * 2, _LONGEST_PAUSE)
        return False

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _break(self) -> int:
        """Go on with a copy of the file, since a stopped process holds the lock of this one; return the copy's size."""
        self._offset = 0
        self.replace(self._read(os.fstat(self._fd).st_size))
        size, self._offset = self._offset, 0
        return size

    def _unlock(self) -> None:
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self.path, flags)
        except FileNotFoundError:
            make_shared(self.path.parent)
            self._fd = os.open(self.path, flags | os.O_CREAT, 0o666)
            with contextlib.suppress(OSError):  # another user's file, made in the same moment: already open to all
                os.fchmod(self._fd, 0o666)
        self._begin()

    def _begin(self) -> None:
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            self._fd = -1
            raise ConfigError(f"{self.path} is not a regular file; remove it, or set FLOWBRIDGE_ACCOUNT_DIR to another folder.")
        self._inode, self._offset, self._torn = status.st_ino, 0, False

    def _read(self, size: int) -> list[Event]:
        data = b""
        while len(data) < size - self._offset:
            piece = os.pread(self._fd, size - self._offset - len(data), self._offset + len(data))
            if not piece:
                break
            data += piece
        self._offset += len(data)
        self._torn = bool(data) and not data.endswith(b"\n")
        return [e for e in (_parse(line) for line in data.split(b"\n") if line) if e is not None]


def make_shared(folder: Path) -> None:
    """Make a folder that all users may write to, if it is not there.

    Raises:
        OSError: It cannot be made.
    """
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:  # torn by a killed process
        return None
    return event if isinstance(event, list) and event and isinstance(event[0], str) else None
