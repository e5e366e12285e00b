"""Bytes by path, on a local folder or any fsspec URL. What is written is visible whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flowbridge.errors import (
    ArtifactNotFoundError,
    ConfigError,
    MissingExtraError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CHUNK = 8 << 20
TEMPORARY = ".tmp-"
_ATTEMPTS = 4
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
_counter = itertools.count()
Result = TypeVar("Result")


class Content(Protocol):
    """Bytes by path. `local` tells whether paths are files of this machine."""

    url: str
    local: bool

    def put(self, path: str, data: bytes | memoryview) -> None:
        """Write bytes; what stood there is replaced at once."""

    def create(self, path: str, data: bytes) -> None:
        """Write bytes where nothing stands yet.

        Raises:
            FileExistsError: Something stands there.
        """

    def put_file(self, path: str, source: Path) -> None:
        """Move a file of this machine into the store; it is gone from where it was."""

    def get(self, path: str) -> bytes:
        """Return the bytes at a path.

        Raises:
            ArtifactNotFoundError: Nothing stands there.
        """

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return some of the bytes at a path."""

    def get_file(self, path: str, target: Path) -> None:
        """Copy what stands at a path to a file of this machine."""

    def exists(self, path: str) -> bool:
        """Tell whether something stands at a path."""

    def size(self, path: str) -> int | None:
        """Return the number of bytes at a path; None where nothing stands."""

    def list(self, prefix: str) -> list[str]:
        """Return every path that begins with a prefix (a folder, with or without its slash, or a folder and the start of a name)."""

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly inside a folder."""

    def entries(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        """Yield path, size in bytes and time of last change (seconds since the epoch) of all that :meth:`list` returns."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove what stands at paths; those that are gone already are no error."""

    def temporary(self) -> Path:
        """Return the path of a new file of this machine, from which :meth:`put_file` is cheap; the caller makes and removes it."""


def open_content(url: str, options: Mapping[str, Any] | None = None) -> Content:
    """Open the bytes of a store.

    Args:
        url: A folder of this machine, or any URL that fsspec knows.
        options: What the fsspec file system takes.

    Raises:
        ConfigError: The URL or its options are not understood.
        MissingExtraError: The package for this kind of URL is not installed.
    """
    protocol = url.partition("://")[0] if "://" in url else "file"
    if protocol in {"file", "local"}:
        return LocalContent(url.partition("://")[2] if "://" in url else url)
    return RemoteContent(url, dict(options or {}))


class LocalContent:
    """A folder of this machine, without fsspec in between."""

    local = True

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))  # noqa: PTH100, PTH111  (kept as text: this is a hot path)
        self.url = self.root

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def put(self, path: str, data: bytes | memoryview) -> None:
        full = self._full(path)
        temporary = self._write(full, data)
        with _told(self, path, temporary):
            os.replace(temporary, full)  # noqa: PTH105

    def create(self, path: str, data: bytes) -> None:
        full = self._full(path)
        temporary = self._write(full, data)
        try:
            os.link(temporary, full)  # noqa: PTH200  (fails where something stands, and shows the file whole)
        except FileExistsError:
            raise
        except OSError:
            if os.path.exists(full):  # noqa: PTH110
                raise FileExistsError(errno.EEXIST, "exists already", full) from None
            os.replace(temporary, full)  # noqa: PTH105  (a file system without hard links)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108

    def _write(self, full: str, data: bytes | memoryview) -> str:
        """Write to a temporary name beside the place, and return that name."""
        folder, _, name = full.rpartition("/")
        temporary = f"{folder}/{TEMPORARY}{name[:40]}-{os.getpid()}-{next(_counter)}"
        with _told(self, full, temporary):
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                _write_all(descriptor, data)
            finally:
                os.close(descriptor)
        return temporary

    def put_file(self, path: str, source: Path) -> None:
        full = self._full(path)
        with _told(self, path, str(source)):
            os.makedirs(full.rpartition("/")[0], exist_ok=True)  # noqa: PTH103
            os.replace(source, full)  # noqa: PTH105

    def get(self, path: str) -> bytes:
        try:
            with open(self._full(path), "rb", buffering=0) as file:  # noqa: PTH123
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ArtifactNotFoundError(errno.ENOENT, f"Nothing stands at {path} in the store {self.url}", path) from None
        except OSError as error:
            raise StoreUnavailableError(f"Reading {path} in the store {self.url} failed: {error}") from error

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        try:
            with open(self._full(path), "rb", buffering=0) as file:  # noqa: PTH123
                file.seek(start)
                return file.read(stop - start)
        except FileNotFoundError:
            raise ArtifactNotFoundError(errno.ENOENT, f"Nothing stands at {path} in the store {self.url}", path) from None

    def get_file(self, path: str, target: Path) -> None:
        with _told(self, path, str(target)):
            try:
                shutil.copyfile(self._full(path), target)
            except FileNotFoundError:
                raise ArtifactNotFoundError(errno.ENOENT, f"Nothing stands at {path} in the store {self.url}", path) from None

    def path_of(self, path: str) -> Path:
        """Return the file of this machine that stands for a path."""
        return Path(self._full(path))

    def exists(self, path: str) -> bool:
        return os.path.isfile(self._full(path))  # noqa: PTH113

    def size(self, path: str) -> int | None:
        try:
            return os.stat(self._full(path)).st_size  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, prefix: str) -> list[str]:
        return sorted(path for path, _ in self._files(prefix))

    def entries(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        for path, entry in self._files(prefix):
            with contextlib.suppress(FileNotFoundError):
                stat = entry.stat()
                yield path, stat.st_size, stat.st_mtime

    def _files(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        folder = prefix.rstrip("/") if os.path.isdir(self._full(prefix)) else prefix.rpartition("/")[0]  # noqa: PTH112
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            try:
                entries = list(os.scandir(self._full(current)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                path = f"{current}/{entry.name}" if current else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif path.startswith(prefix) and not entry.name.startswith(TEMPORARY):
                    yield path, entry

    def folders(self, prefix: str) -> list[str]:
        try:
            return sorted(e.name for e in os.scandir(self._full(prefix)) if e.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._full(path))  # noqa: PTH108

    def temporary(self) -> Path:
        folder = Path(self._full("blobs"))
        with _told(self, "blobs", None):
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{TEMPORARY}{os.getpid()}-{next(_counter)}"


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)
    while view:
        view = view[os.write(descriptor, view[: 1 << 30]) :]


@contextlib.contextmanager
def _told(content: LocalContent, path: str, temporary: str | None) -> Iterator[None]:
    """Turn what the file system says into errors that tell what to do, and leave nothing half-written."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
        if error.errno in _FULL:
            raise StoreFullError(
                f"The store {content.url} is full: writing {path} failed. Free some room (flowbridge gc), or set another store"
            ) from error
        raise StoreUnavailableError(
            f"The store {content.url} cannot be written: {error.strerror or error}. "
            "Check that the folder exists and is yours, or set another with --store or FLOWBRIDGE_STORE"
        ) from error


class RemoteContent:
    """Any fsspec URL. Every request is tried a few times; objects appear whole, by one request or one finished upload."""

    local = False

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = url.rstrip("/")
        self._options = options
        self._pid = 0
        self._fs: AbstractFileSystem | None = None
        self._root = ""
        self._filesystem()

    def _filesystem(self) -> AbstractFileSystem:
        """Return the file system, a new one after a fork: its sockets and threads are not shared."""
        if self._fs is None or self._pid != os.getpid():
            self._fs, self._root = _open_fsspec(self.url, {**self._options, "skip_instance_cache": True})
            self._pid = os.getpid()
        return self._fs

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _try(self, what: str, path: str, request: Callable[[AbstractFileSystem], Result]) -> Result:
        """Make a request, again after a pause where the store did not answer properly."""
        for attempt in range(_ATTEMPTS):
            try:
                return request(self._filesystem())
            except FileExistsError:
                raise
            except FileNotFoundError as error:
                raise ArtifactNotFoundError(errno.ENOENT, f"Nothing stands at {path} in the store {self.url}", path) from error
            except PermissionError as error:
                raise StoreUnavailableError(
                    f"The store {self.url} does not allow to {what} {path}: {error}. Check the credentials of the profile"
                ) from error
            except Exception as error:
                if isinstance(error, OSError) and error.errno in _FULL:
                    raise StoreFullError(f"The store {self.url} is full: cannot {what} {path}") from error
                if attempt == _ATTEMPTS - 1:
                    raise StoreUnavailableError(
                        f"The store {self.url} did not {what} {path}, tried {_ATTEMPTS} times: {type(error).__name__}: {error}"
                    ) from error
                time.sleep(0.2 * 3**attempt)
        raise AssertionError  # pragma: no cover  (the last attempt returns or raises)

    def put(self, path: str, data: bytes | memoryview) -> None:
        self._try("write", path, lambda fs: self._pipe(fs, path, bytes(data)))

    def _pipe(self, fs: AbstractFileSystem, path: str, data: bytes, **options: Any) -> None:
        if not getattr(fs, "async_impl", False):
            fs.makedirs(fs._parent(self._full(path)), exist_ok=True)  # noqa: SLF001  (fsspec's own name for it)
        fs.pipe_file(self._full(path), data, **options)

    def create(self, path: str, data: bytes) -> None:
        def request(fs: AbstractFileSystem) -> None:
            try:
                self._pipe(fs, path, data, mode="create")
            except (TypeError, ValueError, NotImplementedError):
                if fs.exists(self._full(path)):
                    raise FileExistsError(errno.EEXIST, "exists already", path) from None
                self._pipe(fs, path, data)

        self._try("write", path, request)

    def put_file(self, path: str, source: Path) -> None:
        def request(fs: AbstractFileSystem) -> None:
            if not getattr(fs, "async_impl", False):
                fs.makedirs(fs._parent(self._full(path)), exist_ok=True)  # noqa: SLF001
            fs.put_file(str(source), self._full(path))

        self._try("write", path, request)
        source.unlink(missing_ok=True)

    def get(self, path: str) -> bytes:
        return bytes(self._try("read", path, lambda fs: fs.cat_file(self._full(path))))

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        return bytes(self._try("read", path, lambda fs: fs.cat_file(self._full(path), start=start, end=stop)))

    def get_file(self, path: str, target: Path) -> None:
        self._try("read", path, lambda fs: fs.get_file(self._full(path), str(target)))

    def exists(self, path: str) -> bool:
        return self.size(path) is not None

    def size(self, path: str) -> int | None:
        try:
            info = self._try("look at", path, lambda fs: fs.info(self._full(path)))
        except ArtifactNotFoundError:
            return None
        return int(info["size"] or 0) if info.get("type") == "file" else None

    def list(self, prefix: str) -> list[str]:
        return sorted(path for path, _ in self._found(prefix))

    def entries(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        for path, info in self._found(prefix):
            yield path, int(info.get("size") or 0), _changed(info)

    def _found(self, prefix: str) -> list[tuple[str, dict[str, Any]]]:
        folder = prefix.rstrip("/") if prefix.endswith("/") or "." not in prefix.rpartition("/")[2] else prefix.rpartition("/")[0]

        def request(fs: AbstractFileSystem) -> dict[str, dict[str, Any]]:
            fs.invalidate_cache()
            return dict(fs.find(self._full(folder), detail=True))

        try:
            found = self._try("list", prefix, request)
        except ArtifactNotFoundError:
            return []
        start = len(self._root.lstrip("/")) + 1
        named = [(full.lstrip("/")[start:], info) for full, info in found.items()]
        return [(path, info) for path, info in named if path.startswith(prefix)]

    def folders(self, prefix: str) -> list[str]:
        def request(fs: AbstractFileSystem) -> list[dict[str, Any]]:
            fs.invalidate_cache()
            return list(fs.ls(self._full(prefix), detail=True))

        try:
            found = self._try("list", prefix, request)
        except ArtifactNotFoundError:
            return []
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory")

    def delete(self, paths: Iterable[str]) -> None:
        full = [self._full(p) for p in paths]

        def request(fs: AbstractFileSystem) -> None:
            with contextlib.suppress(FileNotFoundError):
                fs.rm(full)

        if full:
            self._try("delete", f"{len(full)} objects", request)

    def temporary(self) -> Path:
        import tempfile  # noqa: PLC0415  (only for stores that are elsewhere)

        folder = Path(tempfile.gettempdir()) / f"flowbridge-upload-{os.getuid() if hasattr(os, 'getuid') else 0}"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{TEMPORARY}{os.getpid()}-{next(_counter)}"


def _changed(info: dict[str, Any]) -> float:
    """Return when an object was last changed, by whichever name its file system tells it."""
    for key in ("LastModified", "mtime", "updated", "created"):
        value = info.get(key)
        if hasattr(value, "timestamp"):
            return float(value.timestamp())
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            from datetime import datetime  # noqa: PLC0415  (only gcsfs tells times as text)

            return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    return time.time()


def _open_fsspec(url: str, options: dict[str, Any]) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs  # noqa: PLC0415  (a local store does without fsspec)

    protocol = url.partition("://")[0]
    try:
        fs, root = url_to_fs(url, **options)
    except ImportError as error:
        package, extra = _EXTRAS.get(protocol.partition("::")[0], (f"for {protocol}://", "all"))
        raise MissingExtraError.needed(f"The store {url}", package, extra) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The store {url!r} cannot be opened: {error}") from error
    return fs, root.rstrip("/")
