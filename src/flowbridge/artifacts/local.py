"""A folder of this machine as a store, without fsspec in between."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from flowbridge.artifacts.content import CHUNK, TEMPORARY, temporary_name
from flowbridge.artifacts.trouble import cannot_write, reading, writing
from flowbridge.errors import ArtifactDamagedError, ConfigError, StoreUnavailableError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)
_STALE = 60.0
_TRIES = 5
Result = TypeVar("Result")


class LocalContent:
    """A folder of this machine.

    Args:
        root: The folder; it need not exist yet.
        fsync: Wait for the disk with every write. Without, a machine that loses its power may lose what was written in the last seconds
            (which is then noticed by its digest); a process that is killed loses nothing.
    """

    local = True

    def __init__(self, root: str, *, fsync: bool = False, **unknown: object) -> None:
        if unknown:
            raise ConfigError.unknown_key(next(iter(unknown)), ["fsync"], "the store options of a local folder")
        self.root = os.path.abspath(os.path.expanduser(root))
        self.url = self.root
        self._fsync = fsync

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def put(self, path: str, data: bytes | bytearray | memoryview) -> None:
        self.put_buffers(path, [memoryview(data)])

    def put_buffers(self, path: str, buffers: Sequence[memoryview]) -> None:
        full = self._full(path)
        temporary = f"{full.rpartition('/')[0]}/{temporary_name()}"
        with writing(self.url, path, temporary):
            self._write(temporary, buffers)
            os.replace(temporary, full)

    def create(self, path: str, data: bytes) -> None:
        full = self._full(path)
        temporary = f"{full.rpartition('/')[0]}/{temporary_name()}"
        with writing(self.url, path, temporary):
            self._write(temporary, [memoryview(data)])
        try:
            os.link(temporary, full)  # it fails where something stands, and shows the file whole
        except FileExistsError:
            raise
        except OSError as error:
            try:
                _claim(temporary, full, error)
            except FileExistsError:
                raise
            except OSError as refused:
                raise cannot_write(self.url, path, refused) from refused
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _write(self, temporary: str, buffers: Sequence[memoryview]) -> None:
        descriptor = _in_folder(temporary, lambda: os.open(temporary, _NEW, 0o666))
        try:
            for buffer in buffers:
                write_all(descriptor, buffer)
            if self._fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def put_file(self, path: str, source: Path) -> None:
        full = self._full(path)
        with writing(self.url, path, str(source)):
            if self._fsync:
                _sync(source)
            _in_folder(full, lambda: os.replace(source, full))

    def get(self, path: str) -> bytes:
        with self.open(path) as file, reading(self.url, path):
            return file.readall()

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        with self.open(path) as file, reading(self.url, path):
            file.seek(start)
            return b"".join(_read(file, stop - start))

    def open(self, path: str) -> io.FileIO:
        """Open a file for reading: one that holds bytes. A pipe would be waited for, and a device has no end."""
        with reading(self.url, path):
            file = io.FileIO(self._full(path), opener=_opened)
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                file.close()
                raise OSError("it is no file that holds bytes")
            return file

    def get_into(self, path: str, target: memoryview) -> None:
        with self.open(path) as file, reading(self.url, path):
            view = target
            while view:
                count = file.readinto(view)
                if not count:
                    raise ArtifactDamagedError(
                        f"{path} in the store {self.url} ends after {len(target) - len(view)} of {len(target)} bytes"
                    )
                view = view[count:]

    def get_file(self, path: str, target: Path, size: int | None = None) -> None:  # noqa: ARG002  (as in Content)
        full = self._full(path)
        if not os.path.isfile(full):
            with reading(self.url, path):
                raise FileNotFoundError
        shutil.copyfile(full, target)

    def path_of(self, path: str) -> Path:
        """Return the file of this machine that stands for a path."""
        return Path(self._full(path))

    def exists(self, path: str) -> bool:
        return os.path.isfile(self._full(path))

    def size(self, path: str) -> int | None:
        try:
            return os.stat(self._full(path)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def paths(self, prefix: str) -> list[str]:
        return sorted(path for path, _ in self._files(prefix, temporary=False))

    def entries(self, prefix: str, *, temporary: bool | None = False) -> Iterator[tuple[str, int, float]]:
        for path, entry in self._files(prefix, temporary=temporary):
            with contextlib.suppress(FileNotFoundError):
                stat = entry.stat()
                yield path, stat.st_size, stat.st_mtime

    def _files(self, prefix: str, *, temporary: bool | None) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield what lies in the store itself: neither links nor what they lead to, which may be files of anybody's."""
        folder, start = (prefix.rstrip("/"), "") if os.path.isdir(self._full(prefix)) else (prefix.rpartition("/")[0], prefix)
        self._follow_no_link(folder)
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            for entry in self._scanned(current):
                path = f"{current}/{entry.name}" if current else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif not entry.is_symlink() and path.startswith(start) and temporary in {None, entry.name.startswith(TEMPORARY)}:
                    yield path, entry

    def folders(self, prefix: str) -> list[str]:
        self._follow_no_link(prefix.rstrip("/"))
        return sorted(e.name for e in self._scanned(prefix) if e.is_dir(follow_symlinks=False))

    def _scanned(self, folder: str) -> list[os.DirEntry[str]]:
        with reading(self.url, folder):
            try:
                with os.scandir(self._full(folder)) as entries:
                    return list(entries)
            except (FileNotFoundError, NotADirectoryError):
                return []

    def _follow_no_link(self, folder: str) -> None:
        """Refuse a folder that is, or lies behind, a link: whoever made it may want files elsewhere to be shown, or removed.

        Raises:
            StoreUnavailableError: It is one.
        """
        while folder:
            if os.path.islink(self._full(folder)):
                raise StoreUnavailableError(
                    f"{folder} in the store {self.url} is a link, and nothing is listed or removed behind links. "
                    "Move what it leads to into the store (or mount it there), or remove the link"
                )
            folder = folder.rpartition("/")[0]

    def delete(self, paths: Iterable[str]) -> None:
        seen = None
        for path in paths:
            folder = path.rpartition("/")[0]
            if folder != seen:
                self._follow_no_link(folder)
                seen = folder
            with writing(self.url, path), contextlib.suppress(FileNotFoundError):
                os.unlink(self._full(path))
                self._prune(folder)

    def _prune(self, folder: str) -> None:
        """Remove folders that nothing is left in. A writer that finds its folder gone makes it again."""
        while folder:
            try:
                os.rmdir(self._full(folder))
            except OSError:
                return
            folder = folder.rpartition("/")[0]

    def temporary(self) -> Path:
        folder = self._full("blobs")
        with writing(self.url, "blobs"):
            os.makedirs(folder, exist_ok=True)
        return Path(folder) / temporary_name()


def _claim(temporary: str, full: str, error: OSError) -> None:
    """Move a file to a name that is free, on a file system without hard links: who makes the claim beside it may."""
    if error.errno not in _NO_LINKS:
        raise error
    folder, _, name = full.rpartition("/")
    claim = f"{folder}/{TEMPORARY}claim-{name}"
    with contextlib.suppress(FileNotFoundError):
        if time.time() - os.stat(claim).st_mtime > _STALE:  # its maker died
            os.unlink(claim)
    os.close(os.open(claim, _NEW | os.O_EXCL, 0o666))
    try:
        if os.path.exists(full):
            raise FileExistsError(errno.EEXIST, "exists already", full)
        os.replace(temporary, full)
    finally:
        os.unlink(claim)


def _in_folder(path: str, make: Callable[[], Result]) -> Result:
    """Make a file, and its folder where that is missing; whoever deletes the last file of a folder removes it, perhaps just now."""
    for _ in range(_TRIES):
        try:
            return make()
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
    return make()


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | _WITHOUT_WAITING)


def _read(file: io.FileIO, size: int) -> Iterator[bytes]:
    """Yield up to so many bytes of a file, however many it was said to have."""
    while size > 0 and (data := file.read(min(size, CHUNK))):
        size -= len(data)
        yield data


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_all(descriptor: int, buffer: memoryview) -> None:
    """Write all of a buffer to an open file."""
    view = buffer if buffer.format == "B" and buffer.ndim == 1 else buffer.cast("B")
    while view:
        view = view[os.write(descriptor, view[: 1 << 30]) :]
