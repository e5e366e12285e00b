"""What a task prints, written to the store while it runs, and passed on to where it would have gone."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TextIO

from flowbridge.errors import StoreError

if TYPE_CHECKING:
    from typing_extensions import Self

    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import Index

PART = 64 * 1024
_LOOK = 0.2
_FLUSH_AT_FIRST = 1.0
_FLUSH_AT_MOST = 10.0
_FULL_SPEED = 60.0
_AFTER_FAILURE = 5.0
"""Seconds after which a part is tried again that could not be written: a step that prints much must not wait for a store in trouble with each line."""
_LONGEST = 200

Write = Callable[[int, bytes], None]
Mode = Literal["fd", "spool", "python", "none"]


class Parts:
    """Numbered parts of a log: cut when there is enough, or when the last one was a while ago.

    A part is due after a second; after a minute's running the wait grows, up to ten seconds, so that a long task leaves
    thousands of small objects nowhere.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._number = 0
        self._held: list[bytes] = []
        self._size = 0
        self._began = self._last = time.monotonic()
        self._rest = 0.0

    def add(self, data: bytes) -> None:
        """Take more output (or none), and write a part if one is due."""
        if data:
            self._held.append(data)
            self._size += len(data)
        self.write_if_due()

    def write_if_due(self) -> None:
        """Write what is held, if it is enough or old enough."""
        now = time.monotonic()
        if now < self._rest:
            return
        wait = min(_FLUSH_AT_FIRST + (now - self._began) / _FULL_SPEED, _FLUSH_AT_MOST)
        if self._size >= PART or (self._size and now - self._last >= wait):
            self.flush()

    def flush(self) -> None:
        """Write what is held; nothing is written where there is nothing."""
        if not self._size:
            return
        data = b"".join(self._held)
        self._held = [data]
        try:
            self._write(self._number, data)
        except StoreError:  # kept, and tried again with the next part
            self._rest = time.monotonic() + _AFTER_FAILURE
            raise
        self._held, self._size = [], 0
        self._number += 1
        self._last = time.monotonic()


def spool_path(flow: str, run: str, step: str, index: Index, attempt: int) -> Path:
    """Return the local file that a task's output is kept in while it runs.

    Its name follows from the task, so that whoever started a process that died can still find its last words.
    """
    name = f"{flow}.{run}.{step}.{'_'.join(map(str, index))}.{attempt}.log".replace("/", "_")
    if len(name.encode()) > _LONGEST:
        name = f"{hashlib.sha256(name.encode()).hexdigest()}.log"
    return _spool_folder() / name


@cache
def _spool_folder() -> Path:
    """Make the folder for spool files, and see that it is this user's own: anybody may make folders beside it.

    Raises:
        StoreError: It belongs to somebody else.
    """
    folder = Path(tempfile.gettempdir()) / f"flowbridge-{os.getuid()}"
    (folder / "output").mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise StoreError(
            f"{folder} belongs to another user, so output cannot be kept there; remove it, or set TMPDIR to a folder of your own"
        )
    folder.chmod(0o700)
    return folder / "output"


class FdCapture:
    """Sends file descriptors 1 and 2 to a local file, which a thread passes on to the old descriptors and to the log.

    A file, not a pipe: what a process wrote just before it was killed is still there for `rescue`.

    Args:
        write: Writes a part of the log.
        spool: The local file.
        echo: Whether output also goes where it would have gone.
        follow: Whether this process passes the output on. If not, whoever started it does, and removes the file (unless it is empty).
    """

    def __init__(self, write: Write, spool: Path, *, echo: bool = True, follow: bool = True) -> None:
        self._parts = Parts(write)
        self._spool = spool
        self._echo = echo
        self._follows = follow
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._position = 0

    def __enter__(self) -> Self:
        self._file = self._open()
        _flush_streams()
        self._old = (os.dup(1), os.dup(2))
        os.dup2(self._file, 1)
        os.dup2(self._file, 2)
        self._streams = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = _text(1), _text(2)
        if self._follows:
            self._thread = threading.Thread(target=self._follow, name="flowbridge-log", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _flush_streams()
        sys.stdout, sys.stderr = self._streams
        for old, number in zip(self._old, (1, 2), strict=True):
            os.dup2(old, number)
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._take()
            self._parts.flush()
        done = self._follows or os.fstat(self._file).st_size == 0
        for descriptor in (*self._old, self._file):
            os.close(descriptor)
        if done:
            with suppress(FileNotFoundError):
                self._spool.unlink()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
        try:
            return os.open(self._spool, flags, 0o600)
        except FileNotFoundError:  # somebody has tidied up the folder for temporary files
            self._spool.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self._spool, flags, 0o600)

    def _follow(self) -> None:
        while not self._stop.wait(_LOOK):
            with suppress(StoreError):  # a store that is away for a moment must not end the task; what is held is written later
                self._take()
                self._parts.write_if_due()

    def _take(self) -> None:
        while data := os.pread(self._file, PART, self._position):
            self._position += len(data)
            if self._echo:
                with suppress(OSError):  # whoever was listening has gone; the log is kept all the same
                    os.write(self._old[0], data)
            self._parts.add(data)


class StreamCapture:
    """Copies what is written to `sys.stdout` and `sys.stderr`; the streams stay those of the process, so debuggers work.

    From the first output on a thread writes what is due, so that a step that then is silent for long, or is killed, has it in the log.

    What this process prints through these two streams is in the log, and nothing else: output of programs that it starts and of processes
    that it forks (`multiprocessing`) goes where the process prints. `FdCapture` has theirs too.
    """

    def __init__(self, write: Write) -> None:
        self._parts = Parts(write)
        self._heard: deque[bytes] = deque()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def __enter__(self) -> Self:
        self._streams = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = _Copying(sys.stdout, self._add), _Copying(sys.stderr, self._add)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        sys.stdout, sys.stderr = self._streams
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._writing:
            self._parts.add(self._taken())
            self._parts.flush()

    def _add(self, text: str) -> None:
        if os.getpid() != self._process:  # the step has forked: parts have one writer, and the lock may be held for ever here
            return
        self._heard.append(text.encode("utf-8", "replace"))
        self._write_due()

    def _write_due(self) -> None:
        """Write what is due, unless that is being done: by another thread, or by this one, and what was just printed is the store's own."""
        if not self._writing.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="flowbridge-log", daemon=True)
                self._thread.start()
            with suppress(StoreError):  # as in `FdCapture`: what is held is written later
                self._parts.add(self._taken())
        finally:
            self._writing.release()

    def _taken(self) -> bytes:
        return b"".join(self._heard.popleft() for _ in range(len(self._heard)))

    def _follow(self) -> None:
        while not self._stop.wait(_LOOK):
            self._write_due()


class _Copying(io.TextIOBase):
    """A text stream that also tells somebody else what is written."""

    def __init__(self, stream: TextIO, copy: Callable[[str], None]) -> None:
        self._stream = stream
        self._copy = copy

    def write(self, text: str) -> int:
        self._copy(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding


def rescue(files: RunFiles, step: str, index: Index, attempt: int) -> bool:
    """Write to the log what a killed process left in its spool file and in no part of the log; return whether there was anything."""
    spool = spool_path(files.flow, files.run_id, step, index, attempt)
    try:
        data = spool.read_bytes()
    except FileNotFoundError:
        return False
    written = len(files.read_log(step, index, attempt))
    if data[written:]:
        files.write_log(step, index, attempt, files.log_parts(step, index, attempt), data[written:])
    spool.unlink(missing_ok=True)
    return bool(data[written:])


def _text(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(ValueError, OSError):  # closed by the user's code, or nobody listens
                stream.flush()
