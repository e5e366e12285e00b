"""Large objects in parts, several at a time, each tried again by itself; memory stays within some parts."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flowbridge.artifacts.s3parts import CONNECTIONS, is_s3, parts_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PART = 5 << 20
"""Bytes of a part: the least that S3 takes, so that as many as can go at a time: on most lines each connection has a limit of its own."""
_FEWER = 4
"""Parts at a time through a client of fsspec, which holds each two or three times: below 64 MiB together, as ten are on S3, where they come
as they are."""
_SLICE = 1 << 20
_S3_PARTS = 9000  # S3 takes 10,000
_COMPOSED = 32  # Google Cloud Storage puts that many objects together at once
_COMPOSE_FROM = 64 << 20
Item = TypeVar("Item")
Result = TypeVar("Result")
Again = Callable[[Callable[[], Any]], Any]


class Pieces(Protocol):
    """Bytes to be sent, any part of them at any time."""

    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Return some of the bytes."""

    def view(self, start: int, stop: int) -> memoryview:
        """Return some of the bytes where they lie; together in one place, where they do not."""


class MemoryPieces:
    """Bytes in several places of memory, one after the other. They are not copied together."""

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self._buffers = [b if b.format == "B" and b.ndim == 1 else b.cast("B") for b in buffers if b.nbytes]
        self.size = sum(len(b) for b in self._buffers)

    def read(self, start: int, stop: int) -> bytes:  # noqa: D102  (as in Pieces)
        if start == 0 and stop == self.size and len(self._buffers) == 1 and isinstance(self._buffers[0].obj, bytes):
            return self._buffers[0].obj if len(self._buffers[0].obj) == stop else bytes(self._buffers[0])
        return b"".join(self._within(start, stop))

    def view(self, start: int, stop: int) -> memoryview:  # noqa: D102  (as in Pieces)
        found = list(self._within(start, stop))
        return found[0] if len(found) == 1 else memoryview(b"".join(found))

    def _within(self, start: int, stop: int) -> Iterator[memoryview]:
        position = 0
        for buffer in self._buffers:
            first, last = max(start - position, 0), min(stop - position, len(buffer))
            if first < last:
                yield buffer[first:last]
            position += len(buffer)


class FilePieces:
    """The bytes of a file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size
        self._mapped: memoryview | None = None

    def read(self, start: int, stop: int) -> bytes:  # noqa: D102  (as in Pieces)
        return os.pread(self._descriptor, stop - start, start)

    def view(self, start: int, stop: int) -> memoryview:  # noqa: D102  (as in Pieces)
        if self._mapped is None:
            self._mapped = memoryview(mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ))
        return self._mapped[start:stop]

    def __enter__(self) -> FilePieces:  # noqa: PYI034  (there are no subclasses)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._descriptor)


def upload(fs: AbstractFileSystem, path: str, pieces: Pieces, again: Again) -> None:
    """Send bytes to a path: small ones in one request, others in parts. The path shows nothing before the last byte is there.

    Args:
        fs: The file system.
        path: In it.
        pieces: The bytes.
        again: Makes one of many requests, again where it fails.
    """
    kind = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    if pieces.size <= 2 * PART or kind == "memory":  # memory would show a file while it is being written
        fs.pipe_file(path, pieces.read(0, pieces.size))
    elif is_s3(fs):
        _upload_s3(fs, path, pieces, again)
    elif kind in {"gs", "gcs"} and hasattr(fs, "merge") and pieces.size >= _COMPOSE_FROM:
        _upload_composed(fs, path, pieces)
    else:
        _stream(fs, path, pieces, 0, pieces.size)


def threads_of(fs: AbstractFileSystem) -> int:
    """Return how many parts may go at a time."""
    return _FEWER if parts_of(fs) is None else CONNECTIONS


def fetch_part(fs: Any, path: str, start: int, stop: int) -> bytes:
    """Return some of the bytes of a large object."""
    direct = parts_of(fs)
    if direct is None:
        return bytes(fs.cat_file(path, start=start, end=stop))
    bucket, key, _ = fs.split_path(path)
    return direct.fetch(bucket, key, start, stop)


def _upload_s3(fs: Any, path: str, pieces: Pieces, again: Again) -> None:
    bucket, key, _ = fs.split_path(path)
    target = {"Bucket": bucket, "Key": key}
    direct = parts_of(fs)
    upload_id = again(lambda: fs.call_s3("create_multipart_upload", **target))["UploadId"]
    step = max(PART, -(-pieces.size // _S3_PARTS))

    def send(number: int) -> dict[str, Any]:
        start = (number - 1) * step
        stop = min(start + step, pieces.size)
        if direct is not None:
            return {"PartNumber": number, "ETag": again(lambda: direct.send(bucket, key, number, upload_id, pieces.view(start, stop)))}
        body = pieces.read(start, stop)
        answer = again(lambda: fs.call_s3("upload_part", **target, PartNumber=number, UploadId=upload_id, Body=body))
        return {"PartNumber": number, "ETag": answer["ETag"]}

    try:
        parts = in_parallel(send, range(1, -(-pieces.size // step) + 1), threads_of(fs))
        again(lambda: _complete(fs, path, pieces.size, {**target, "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}))
    except BaseException:
        with contextlib.suppress(Exception):  # the store is in trouble already; gc ends what is left
            fs.call_s3("abort_multipart_upload", **target, UploadId=upload_id)
        raise
    fs.invalidate_cache(path)


def _complete(fs: Any, path: str, size: int, request: dict[str, Any]) -> None:
    try:
        fs.call_s3("complete_multipart_upload", **request)
    except FileNotFoundError:  # no such upload: perhaps it was completed before, and the answer was lost
        fs.invalidate_cache(path)
        if fs.info(path)["size"] != size:
            raise


def _upload_composed(fs: Any, path: str, pieces: Pieces) -> None:
    """Send parts as objects of their own and have the store put them together: it has no other way to take parts at the same time."""
    from flowbridge.artifacts.content import temporary_name  # noqa: PLC0415  (rarely needed)

    step = max(2 * PART, -(-pieces.size // _COMPOSED))
    starts = range(0, pieces.size, step)
    folder = path.rpartition("/")[0]
    names = [f"{folder}/{temporary_name()}" for _ in starts]
    try:
        in_parallel(lambda i: _stream(fs, names[i], pieces, starts[i], min(starts[i] + step, pieces.size)), range(len(names)), _FEWER)
        fs.merge(path, names)
    finally:
        with contextlib.suppress(Exception):  # what is left is hidden by its name, and removed by gc
            fs.rm(names)
    fs.invalidate_cache()


def _stream(fs: AbstractFileSystem, path: str, pieces: Pieces, start: int, stop: int) -> None:
    file = fs.open(path, "wb", block_size=PART)
    try:
        for position in range(start, stop, _SLICE):
            file.write(pieces.read(position, min(position + _SLICE, stop)))
    except BaseException:
        with contextlib.suppress(Exception):  # closing would show what is there so far
            file.discard()
        with contextlib.suppress(AttributeError):  # some are closed by discarding them, and do not let themselves be told
            file.closed = True
        raise
    file.close()


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """Do work on each item, some at a time; what is not begun when one fails is left."""
    with ThreadPoolExecutor(threads, thread_name_prefix="flowbridge-transfer") as pool:
        running = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in running]
        except BaseException:
            for future in running:
                future.cancel()
            raise


def checked(data: bytes, size: int) -> bytes:
    """Return bytes of the size that was asked for.

    Raises:
        OSError: There are fewer or more: the connection was cut, or the object was replaced.
    """
    if len(data) != size:
        raise OSError(errno.EIO, f"{len(data)} instead of {size} bytes came; they were cut short, or the object was replaced")
    return data
