"""Copies of remote blobs on this machine: read through, bounded, safe between processes. Also: which large files were verified."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

DEFAULT_SIZE = 10 << 30
_TEMPORARY = ".tmp-"
_counter = itertools.count()


def default_folder() -> Path:
    """Return the folder for copies where none is configured."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flowbridge"


class ReadCache:
    """A folder of verified copies, by digest.

    Args:
        folder: Where copies are kept; made when the first one comes.
        limit: Bytes the copies may take together; the ones used longest ago go first.
    """

    def __init__(self, folder: Path | None = None, limit: int = DEFAULT_SIZE) -> None:
        self.folder = folder or default_folder()
        self.limit = limit

    def file(self, digest: str, fetch: Callable[[Path], None]) -> Path:
        """Return the copy of a blob, fetched and verified by `fetch` if it is not there yet."""
        name = digest.rpartition(":")[2]
        path = self.folder / "blobs" / name[:2] / name
        try:
            os.utime(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{_TEMPORARY}{name[:16]}-{os.getpid()}-{next(_counter)}")
            try:
                fetch(temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            self._shrink(keep=path)
        return path

    def _shrink(self, keep: Path) -> None:
        """Remove the copies used longest ago until the rest fits; one process at a time, others go on without."""
        with self._alone() as mine:
            if not mine:
                return
            found = sorted(self._copies())
            total = sum(size for _, size, _ in found)
            for _, size, path in found:
                if total <= self.limit:
                    return
                if path != keep:
                    path.unlink(missing_ok=True)
                    total -= size

    def _copies(self) -> Iterator[tuple[float, int, Path]]:
        for path in (self.folder / "blobs").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                yield stat.st_mtime, stat.st_size, path

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        try:
            import fcntl  # noqa: PLC0415  (not on Windows)
        except ImportError:
            yield True
            return
        with (self.folder / "shrink.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True

    def is_verified(self, digest: str, path: Path) -> bool:
        """Tell whether a file is unchanged since :meth:`note_verified`."""
        try:
            return self._stamp(digest).read_text() == _identity(path)
        except OSError:
            return False

    def note_verified(self, digest: str, path: Path) -> None:
        """Note that a file's bytes have a digest, as long as nobody writes to it."""
        stamp = self._stamp(digest)
        with contextlib.suppress(OSError):  # it is only slower without: the file is hashed again
            stamp.parent.mkdir(parents=True, exist_ok=True)
            temporary = stamp.with_name(f"{_TEMPORARY}{os.getpid()}-{next(_counter)}")
            temporary.write_text(_identity(path))
            temporary.replace(stamp)

    def _stamp(self, digest: str) -> Path:
        return self.folder / "verified" / digest.rpartition(":")[2]


def _identity(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
