"""Folders of this machine for files that were loaded: they last as long as the process, and are removed by the next one if it was killed."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

VARIABLE = "FLOWBRIDGE_TASK_FOLDER"
"""Names the folder of a task to the process that runs it; whoever starts that process removes the folder, however the task ends."""
_PREFIX = "flowbridge-files-"
_LOCK = ".owner"
_mine: tuple[int, Path, IO[bytes]] | None = None


def temporary_folder() -> Path:
    """Return a new, empty folder."""
    return Path(tempfile.mkdtemp(dir=_base()))


def task_folder() -> Path | None:
    """Return the folder that was named to this process, made by the first who needs it; None: nobody named one."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def file_folder() -> Path:
    """Return a folder for files that are soon removed again: the task's, else that of this process. Whatever a killed process leaves there goes."""
    folder = task_folder()
    if folder is None:
        return _base()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def folder_within(parent: Path, prefix: str) -> Path:
    """Return a new, empty folder inside another, which is made if need be, for this user alone."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))


def _base() -> Path:
    global _mine
    if _mine is None or _mine[0] != os.getpid():  # a forked child has its own: it may end before its parent does
        _remove_abandoned()
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = (path / _LOCK).open("wb")
        _lock(lock, wait=True)
        _mine = (os.getpid(), path, lock)
        atexit.register(_remove_mine, os.getpid(), path, lock)
    return _mine[1]


def _remove_mine(pid: int, path: Path, lock: IO[bytes]) -> None:
    if pid == os.getpid():
        lock.close()
        shutil.rmtree(path, ignore_errors=True)


def _remove_abandoned() -> None:
    """Remove the folders of processes that are gone: nobody holds their lock."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (path / _LOCK).open("rb") as lock:
            if _lock(lock, wait=False):
                shutil.rmtree(path, ignore_errors=True)


def _lock(file: IO[bytes], *, wait: bool) -> bool:
    try:
        import fcntl  # noqa: PLC0415  (not on Windows, where such folders are left)
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
