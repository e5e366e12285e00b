"""Any fsspec URL as a store. Every request is tried a few times; objects appear whole, by one request or one finished upload."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flowbridge.artifacts import folders, transfer, uploads
from flowbridge.artifacts.content import TEMPORARY, temporary_name
from flowbridge.artifacts.options import of_gcs, of_s3, refuse_slips
from flowbridge.artifacts.patience import Patience
from flowbridge.artifacts.s3parts import is_s3
from flowbridge.artifacts.transfer import PART, FilePieces, MemoryPieces, Pieces
from flowbridge.artifacts.trouble import GARBLED, not_found
from flowbridge.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_MANY = 1000
_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "ocilake", "memory"})
"""Kinds of stores in which an object appears only once all of it is there. Elsewhere it is written beside its place, and moved."""
_METADATA = {"s3": "Metadata", "s3a": "Metadata", "gs": "metadata", "gcs": "metadata"}
"""What metadata of an object are called when it is written. In them a writer knows its own again where the clients of these stores, which try
again by themselves, were told that the object exists."""
_SIGNATURE = "flowbridge-writer"
_ONE_AT_A_TIME = frozenset({"ftp"})
"""Kinds of stores whose file system has one connection, and lets several threads talk into it at once."""
Result = TypeVar("Result")


class RemoteContent:
    """A place that fsspec knows.

    Args:
        url: The place.
        options: What its fsspec file system takes.

    Raises:
        ConfigError: The URL or its options are not understood.
        MissingExtraError: The package for this kind of URL is not installed.
    """

    local = False

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = _place(url)
        self._protocol = self.url.partition("://")[0]
        self._options = options
        self._pid = os.getpid()
        self._fs, self._root = _open(self.url, options)
        self._whole = self._protocol in _WHOLE
        self._turn = self._new_turn()
        self._patience = Patience(self.url)

    def _filesystem(self) -> AbstractFileSystem:
        """Return the file system, a new one after a fork: its sockets and threads are not shared."""
        if self._pid != os.getpid():
            self._fs, self._root = _open(self.url, self._options)
            self._turn = self._new_turn()
            self._pid = os.getpid()
        return self._fs

    def _new_turn(self) -> contextlib.AbstractContextManager[Any]:
        return threading.Lock() if self._protocol in _ONE_AT_A_TIME else contextlib.nullcontext()

    def _full(self, path: str) -> str:
        return f"{self._root}{path}"

    # --- requests -------------------------------------------------------------------------------------------------------------

    def _try(self, what: str, path: str, request: Callable[[AbstractFileSystem], Result]) -> Result:
        def ask() -> Result:
            fs = self._filesystem()
            with self._turn:
                return request(fs)

        return self._patience.ask(what, path, ask)

    # --- writing --------------------------------------------------------------------------------------------------------------

    def put(self, path: str, data: bytes | bytearray | memoryview) -> None:
        self._send(path, MemoryPieces([memoryview(data)]))

    def put_buffers(self, path: str, buffers: Sequence[memoryview]) -> None:
        self._send(path, MemoryPieces(buffers))

    def put_file(self, path: str, source: Path) -> None:
        try:
            with FilePieces(source) as pieces:
                self._send(path, pieces)
        finally:
            source.unlink(missing_ok=True)

    def _send(self, path: str, pieces: Pieces) -> None:
        whole = self._full(path)
        place = whole if self._whole else self._beside(path)

        def request(fs: AbstractFileSystem) -> None:
            self._make_folder(fs, path)
            transfer.upload(fs, place, pieces, lambda ask: self._patience.ask("write", path, ask))

        try:
            self._try("write", path, request)
            if place != whole:
                self._try("write", path, lambda fs: _move(fs, place, whole))
        except BaseException:
            if place != whole:
                with contextlib.suppress(Exception):  # the store is in trouble: what is left is removed by gc
                    self._filesystem().rm_file(place)
            raise

    def _beside(self, path: str) -> str:
        return f"{self._full(path).rpartition('/')[0]}/{temporary_name()}"

    def _make_folder(self, fs: AbstractFileSystem, path: str) -> None:
        if not self._whole or self._root.startswith("/"):  # object stores have no folders; that in memory has some
            fs.invalidate_cache()  # another process may have made the folder: some remember a listing, and fail to make it again
            fs.makedirs(self._full(path).rpartition("/")[0], exist_ok=True)

    def create(self, path: str, data: bytes) -> None:
        signature = os.urandom(16).hex()
        signed = {name: {_SIGNATURE: signature}} if (name := _METADATA.get(self._protocol)) else {}
        attempts = 0

        def request(fs: AbstractFileSystem) -> None:
            nonlocal attempts
            attempts += 1
            self._make_folder(fs, path)
            try:
                fs.pipe_file(self._full(path), data, mode="create", **signed)
            except FileExistsError:  # perhaps as an answer to ourselves was lost
                if signed:
                    if self._signature(fs, path) != signature:
                        raise
                elif attempts == 1 or bytes(fs.cat_file(self._full(path))) != data:
                    raise
            except (TypeError, ValueError, NotImplementedError) as error:  # an fsspec, or a store, that cannot do so in one request
                if isinstance(error, GARBLED):
                    raise
                if fs.exists(self._full(path)):
                    raise FileExistsError(errno.EEXIST, "exists already", path) from None
                fs.pipe_file(self._full(path), data)

        self._try("write", path, request)

    def _signature(self, fs: Any, path: str) -> str | None:
        fs.invalidate_cache()
        found: str | None = fs.getxattr(self._full(path), _SIGNATURE)
        return found

    # --- reading --------------------------------------------------------------------------------------------------------------

    def get(self, path: str) -> bytes:
        return bytes(self._try("read", path, lambda fs: fs.cat_file(self._full(path))))

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        return bytes(self._try("read", path, lambda fs: fs.cat_file(self._full(path), start=start, end=stop)))

    def get_into(self, path: str, target: memoryview) -> None:
        def store(start: int, data: bytes) -> None:
            target[start : start + len(data)] = data

        self._receive(path, len(target), store)

    def get_file(self, path: str, target: Path, size: int | None = None) -> None:
        size = self.size(path) if size is None else size
        if size is None:
            raise not_found(self.url, path)
        with target.open("wb") as file:
            os.truncate(file.fileno(), size)
            self._receive(path, size, lambda start, data: _write_at(file.fileno(), data, start))

    def _receive(self, path: str, size: int, store: Callable[[int, bytes], None]) -> None:
        if size <= PART:
            store(0, self._try("read", path, lambda fs: transfer.checked(bytes(fs.cat_file(self._full(path))), size)))
            return

        def part(start: int) -> None:
            stop = min(start + PART, size)
            store(
                start,
                self._try("read", path, lambda fs: transfer.checked(transfer.fetch_part(fs, self._full(path), start, stop), stop - start)),
            )

        transfer.in_parallel(part, range(0, size, PART), transfer.threads_of(self._filesystem()))

    def exists(self, path: str) -> bool:
        return self.size(path) is not None

    def size(self, path: str) -> int | None:
        def request(fs: AbstractFileSystem) -> dict[str, Any] | None:
            fs.invalidate_cache()  # a listing from before would tell of what others removed since
            try:
                return dict(fs.info(self._full(path)))
            except FileNotFoundError:
                return None

        info = self._try("look at", path, request)
        return int(info["size"]) if info is not None and info["type"] == "file" else None

    # --- listing --------------------------------------------------------------------------------------------------------------

    def paths(self, prefix: str) -> list[str]:
        return sorted(path for path, _ in self._found(prefix, temporary=False))

    def entries(self, prefix: str, *, temporary: bool | None = False) -> Iterator[tuple[str, int, float]]:
        for path, info in self._found(prefix, temporary=temporary):
            yield path, self._bytes(path, info), _changed(info)
        if temporary is not False and is_s3(self._filesystem()):
            found = self._try("list the unfinished uploads of", prefix, lambda fs: list(uploads.unfinished(fs, self._full(prefix))))
            for full, info in found:
                yield self._relative(full), int(info["size"]), _changed(info)

    def _bytes(self, path: str, info: dict[str, Any]) -> int:
        """Return the size of an object; the listing of a web server tells none."""
        return int(info["size"]) if info["size"] is not None else self.size(path) or 0

    def _found(self, prefix: str, *, temporary: bool | None) -> list[tuple[str, dict[str, Any]]]:
        folder = prefix.rstrip("/")
        found = self._find(folder)
        if not any(path.startswith(f"{folder}/") for path, _ in found) and not prefix.endswith("/"):
            found = [(path, info) for path, info in self._find(prefix.rpartition("/")[0]) if path.startswith(prefix)]
        return [(p, i) for p, i in found if p.startswith(folder) and temporary in {None, p.rpartition("/")[2].startswith(TEMPORARY)}]

    def _find(self, folder: str) -> list[tuple[str, dict[str, Any]]]:
        def request(fs: AbstractFileSystem) -> dict[str, dict[str, Any]]:
            fs.invalidate_cache()
            try:
                return dict(fs.find(self._full(folder) if folder else self._root.rstrip("/") or self._root, detail=True))
            except FileNotFoundError:
                return {}

        return [(self._relative(full), info) for full, info in self._try("list", folder, request).items() if info["type"] == "file"]

    def _relative(self, full: str) -> str:
        return full.lstrip("/")[len(self._root.lstrip("/")) :]

    def folders(self, prefix: str) -> list[str]:
        def request(fs: AbstractFileSystem) -> list[dict[str, Any]]:
            fs.invalidate_cache()
            try:
                return list(fs.ls(self._full(prefix), detail=True))
            except FileNotFoundError:
                return []

        found = self._try("list", prefix, request)
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory")

    def delete(self, paths: Iterable[str]) -> None:
        wanted = [self._full(p) for p in paths]
        open_ones = [p for p in wanted if uploads.is_upload(p)]
        if open_ones:
            self._try("end", f"{len(open_ones)} uploads", lambda fs: uploads.end(fs, open_ones))
        full = [p for p in wanted if not uploads.is_upload(p)]
        for start in range(0, len(full), _MANY):
            part = full[start : start + _MANY]
            self._try("delete", f"{len(part)} objects", lambda fs, part=part: _remove(fs, part))  # type: ignore[misc]

    def temporary(self) -> Path:
        return folders.file_folder() / temporary_name()


def _place(url: str) -> str:
    """Return a URL without slashes at its end.

    Raises:
        ConfigError: It names no place: an object store would take the store's folders for buckets.
    """
    protocol, _, path = url.partition("://")
    if not path.strip("/") and protocol in _WHOLE - {"memory"}:
        raise ConfigError(f"The store {url!r} names no bucket: write {protocol}://BUCKET/FOLDER")
    return url.rstrip("/") if path.strip("/") else f"{protocol}://"


def _file_system(url: str, protocol: str, options: dict[str, Any]) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs  # noqa: PLC0415  (a local store does without fsspec)

    if protocol in {"gs", "gcs"} and "::" not in url:
        # not the class that fsspec knows: unless told otherwise before it is first imported, it asks over gRPC for the kind of every bucket,
        # which emulators and many networks do not answer
        from gcsfs.core import GCSFileSystem  # noqa: PLC0415  (an extra)

        return GCSFileSystem(**options), str(GCSFileSystem._strip_protocol(url))  # noqa: SLF001  (as `url_to_fs` does)
    found: tuple[AbstractFileSystem, str] = url_to_fs(url, **options)
    return found


def _open(url: str, options: dict[str, Any]) -> tuple[AbstractFileSystem, str]:
    protocol = url.partition("://")[0].partition("::")[0]
    if protocol in {"s3", "s3a"}:
        options = of_s3(options)
    elif protocol in {"gs", "gcs"}:
        options = of_gcs(options)
    try:
        refuse_slips(url, options)
        fs, root = _file_system(url, protocol, {**options, "skip_instance_cache": True})
    except ImportError as error:
        if protocol not in _EXTRAS:
            raise MissingExtraError(f"The store {url} needs a package that is not installed: {error}") from error
        raise MissingExtraError.needed(f"The store {url}", *_EXTRAS[protocol]) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The store {url!r} cannot be opened: {error}") from error
    if "max_concurrency" not in options and hasattr(fs, "max_concurrency"):
        fs.max_concurrency = 1  # else s3fs asks for the size before each read: two requests; what is large is read in parts anyway
    if is_s3(fs):
        fs.retries = 1  # of s3fs itself, around those of botocore
    return fs, f"{root.rstrip('/')}/" if root else root  # nothing: paths are relative to the root, as in an archive


def _move(fs: AbstractFileSystem, source: str, target: str) -> None:
    try:
        fs.mv(source, target)
    except FileExistsError:  # some do not replace; what stands there has the same name, so it is old or equal
        fs.rm_file(target)
        fs.mv(source, target)


def _remove(fs: AbstractFileSystem, paths: list[str]) -> None:
    try:
        fs.rm(paths)
    except Exception:  # noqa: BLE001  (one that is gone already must not keep the others; FTP has one answer for that and all else)
        for path in paths:
            try:
                fs.rm_file(path)
            except Exception:
                if fs.exists(path):
                    raise


def _write_at(descriptor: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, start)
        view, start = view[count:], start + count


def _changed(info: dict[str, Any]) -> float:
    """Return when an object was last changed, by whichever name its file system tells it."""
    for key in ("LastModified", "last_modified", "mtime", "updated", "created", "timeCreated"):
        value = info.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    return time.time()
