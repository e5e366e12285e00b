"""Where the account is kept, and how one who waits for something in it is woken."""

from __future__ import annotations

import contextlib
import glob
import os
import select
import stat
import tempfile
import time
from pathlib import Path

from flowbridge.engine.ledger_file import make_shared
from flowbridge.engine.process_tree import is_alive
from flowbridge.errors import ConfigError

VARIABLE = "FLOWBRIDGE_ACCOUNT_DIR"
_FOLDER = "flowbridge-account"
_BLIND_PAUSE = 0.02
_PIPE = ".wake-"


def account_path(directory: Path | None = None) -> Path:
    """Return the file of the account, its folder made.

    By default all users of the machine share a folder of temporary files; where another user's folder there can't be written,
    each user has his own. Processes that can't see each other (containers that share the folder only) have a file each.

    Raises:
        ConfigError: The folder that was asked for cannot be used.
    """
    asked = directory or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    problem: str | None = None
    if asked is not None:
        problem = _unusable(asked)
        if problem:
            raise ConfigError(f"The folder for the account of this machine, {asked}, cannot be used: {problem}.")
        return asked / _file_name()
    base = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())  # noqa: S108  (all users' on purpose; see _unusable)
    for folder in (base / _FOLDER, base / f"{_FOLDER}-{os.getuid()}"):
        problem = _unusable(folder)
        if not problem:
            return folder / _file_name()
    raise ConfigError(f"The account of this machine cannot be kept in {base}: {problem}. Set {VARIABLE} to a folder that can be written.")


def _file_name() -> str:
    try:
        return f"ledger-{Path('/proc/self/ns/pid').stat().st_ino}.jsonl"
    except OSError:  # no /proc: one world of processes
        return "ledger.jsonl"


def _unusable(folder: Path) -> str | None:
    """Make a folder that all may write; return why it can't be used."""
    try:
        make_shared(folder)
    except OSError as error:
        return error.strerror or str(error)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a folder"
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return "it cannot be written"
    file = folder / _file_name()
    if file.exists() and not os.access(file, os.R_OK | os.W_OK):
        return f"{file.name} in it cannot be written"
    return None


class Waker:
    """A pipe with a name, by which others wake one who waits; made when he first has to wait."""

    def __init__(self, account: Path, owner: str) -> None:
        self._path = _pipe(account, owner)
        self._fd = -1

    def open(self) -> None:
        """Make the pipe, if there is none yet; where it can't be made, `wait` looks around often instead."""
        if self._fd >= 0:
            return
        with contextlib.suppress(OSError):
            os.mkfifo(self._path, 0o622)
            self._path.chmod(0o622)  # whatever the umask: other users wake us too
            self._fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor to select on, or -1."""
        self.open()
        return self._fd

    def wait(self, timeout: float) -> None:
        """Wait until woken, `timeout` seconds at most."""
        self.open()
        if self._fd < 0:
            time.sleep(min(timeout, _BLIND_PAUSE))
            return
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if poll.poll(max(timeout, 0) * 1000):
            with contextlib.suppress(BlockingIOError):
                while os.read(self._fd, 4096):
                    pass

    def abandon(self) -> None:
        """Close without removing the pipe, which is another process's."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Close and remove the pipe."""
        if self._fd >= 0:
            self.abandon()
            with contextlib.suppress(OSError):
                self._path.unlink()

    @staticmethod
    def sweep(account: Path) -> None:
        """Remove the pipes that dead processes left; another user's may be beyond us.

        They are found by their names: a process that holds nothing and waits for nothing has a pipe, but no place in the book.
        All users may write to the folder, so a file there may have any name: one that names no process is left.
        """
        for pipe in account.parent.glob(f"{glob.escape(account.stem)}{_PIPE}*"):
            pid, started, *_ = (*pipe.name.rpartition(_PIPE)[2].split("."), "")
            with contextlib.suppress(OSError, ValueError, OverflowError):
                if not is_alive(int(pid), int(started)):
                    pipe.unlink()


def wake(account: Path, owner: str) -> None:
    """Wake one who waits, if his pipe is there and has room."""
    with contextlib.suppress(OSError, ValueError):
        fd = os.open(_pipe(account, owner), os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(fd, b".")
        finally:
            os.close(fd)


def _pipe(account: Path, owner: str) -> Path:
    """Return the pipe of an owner, beside the account: processes that can't see each other keep theirs apart as well."""
    if "/" in owner or owner.startswith("."):
        raise ValueError(owner)
    return account.with_name(f"{account.stem}{_PIPE}{owner}")
