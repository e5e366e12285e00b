"""Copies of remote blobs on this machine: read through, bounded, safe between processes."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from flowbridge.artifacts import digests, marks
from flowbridge.artifacts.content import TEMPORARY, temporary_name

if TYPE_CHECKING:
    from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: writers of one copy may then fetch it twice
    fcntl = None

DEFAULT_SIZE = 10 << 30
_LOCK_FROM = 4 << 20
_ROOM = 0.9
"""Part of the limit that is left full when old copies are removed, so that this is not done again for the next one."""


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
        self._unlooked = 0  # bytes that this process added since it last looked at the whole folder
        self._looked = False

    def path_of(self, digest: str) -> Path:
        """Return where the copy of a blob is, or would be."""
        name = digests.name_of(digest)
        return self.folder / "blobs" / name[:2] / name

    def open(self, digest: str, size: int, fetch: Callable[[Path], None]) -> IO[bytes]:
        """Return the copy of a blob as an open file, which stays readable whatever others remove.

        Args:
            digest: Of the blob.
            size: Of the blob.
            fetch: Writes the blob to a path, and raises where it is not what it should be.

        Raises:
            OSError: The folder for copies is full, or not to be written: there is no copy.
        """
        path = self.path_of(digest)
        found = self._opened(path)
        if found is not None:
            return found
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(path, size):
            found = self._opened(path)  # another process may have fetched it while this one waited
            if found is not None:
                return found
            temporary = path.with_name(temporary_name())
            try:
                fetch(temporary)
                found = temporary.open("rb")
                if size <= self.limit:
                    temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        self._note(size)
        return found

    def read(self, digest: str, start: int = 0, size: int = -1) -> bytes | None:
        """Return the copy of a small blob, or some bytes of that of any, as it stands there, perhaps damaged; None where there is none."""
        found = self._opened(self.path_of(digest))
        if found is None:
            return None
        with found:
            found.seek(start)
            return found.read(size)

    def keep(self, digest: str, data: bytes) -> None:
        """Keep a copy of a small blob, in the place of the one that is there; where there is no room for it, there is none."""
        if len(data) > self.limit:
            return
        path = self.path_of(digest)
        temporary = path.with_name(temporary_name())
        with contextlib.suppress(OSError):  # full, or not ours to write: who asks next reads from the store again
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(data)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        self._note(len(data))

    @staticmethod
    def _opened(path: Path) -> IO[bytes] | None:
        try:
            file = path.open("rb")
        except OSError:  # there is none, or it is not ours to read
            return None
        with contextlib.suppress(OSError):  # removed meanwhile, or somebody else's: then they tell how long it stays
            marks.touch(path)
        return file

    def forget(self, digest: str) -> None:
        """Remove a copy, such as one that was damaged."""
        self.path_of(digest).unlink(missing_ok=True)

    # --- room -----------------------------------------------------------------------------------------------------------------

    def _note(self, size: int) -> None:
        """Look for copies to remove, now and then: at the first copy, and when a part of the limit has been added."""
        self._unlooked += size
        if self._looked and self._unlooked < self.limit * (1 - _ROOM) * random.uniform(0.3, 1):  # noqa: S311  (not all processes at once)
            return
        self._looked = True
        with contextlib.suppress(OSError):  # copies that are not ours to remove: whose they are looks after them
            self._look()

    def _look(self) -> None:
        if self.shrink():  # else another process is at it, and may not see what this one added: look again after the next copy
            self._unlooked = 0

    def shrink(self) -> bool:
        """Remove the copies used longest ago where all of them are too large; one process at a time.

        Others go on without, unless they have added so much that they wait for their turn.

        Returns:
            Whether this process looked.
        """
        with self._alone(wait=self._unlooked >= self.limit * (1 - _ROOM)) as mine:
            if mine:
                self._remove_oldest()
            return mine

    def _remove_oldest(self) -> None:
        found = sorted(self._copies())
        total = sum(size for _, size, _ in found)
        if total <= self.limit:
            return
        for _, size, path in found:
            if total <= self.limit * _ROOM:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _copies(self) -> Iterator[tuple[float, int, Path]]:
        for path in (self.folder / "blobs").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if path.suffix != ".lock" and not (path.name.startswith(TEMPORARY) and _is_young(stat.st_mtime)):
                    yield stat.st_atime, stat.st_size, path

    @contextlib.contextmanager
    def _locked(self, path: Path, size: int) -> Iterator[None]:
        """Let one process fetch a large blob while the others that want it wait."""
        if fcntl is None or size < _LOCK_FROM:
            yield
            return
        place = path.with_name(f"{path.name}.lock")
        with place.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                place.unlink(missing_ok=True)  # who waits holds the old one, and finds the copy there

    @contextlib.contextmanager
    def _alone(self, *, wait: bool) -> Iterator[bool]:
        if fcntl is None:
            yield True
            return
        with (self.folder / "shrink.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except OSError:
                yield False
                return
            yield True


def _is_young(changed: float) -> bool:
    import time  # noqa: PLC0415

    return time.time() - changed < 3600  # noqa: PLR2004  (an hour: a fetch that takes longer is begun again)
