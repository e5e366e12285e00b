"""Blobs: bytes named by their digest. Hashed while they are written, verified when they are read."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.artifacts import digests, layout
from flowbridge.artifacts.content import CHUNK
from flowbridge.artifacts.local import LocalContent
from flowbridge.errors import ArtifactDamagedError, ArtifactNotFoundError, StoreFullError, StoreUnavailableError

if TYPE_CHECKING:
    from flowbridge.artifacts.cache import ReadCache
    from flowbridge.artifacts.content import Content
    from flowbridge.artifacts.digests import Hasher

SPILL = 1 << 20
_CACHE_FROM = 64 << 10
_STAMP_FROM = 64 << 20


class Blobs:
    """The blobs of a store.

    Args:
        content: The bytes of the store.
        cache: Copies on this machine, and what was verified before.
    """

    def __init__(self, content: Content, cache: ReadCache) -> None:
        self.content = content
        self.cache = cache

    def put(self, data: bytes | memoryview) -> str:
        """Write bytes and return their digest; bytes that are there already are not written again."""
        digest = digests.digest(data)
        path = layout.blob(digest)
        if self.content.size(path) != len(data):
            self.content.put(path, data)
        return digest

    def writer(self) -> BlobWriter:
        """Return a file-like object to write a blob of any size with; close it with :meth:`BlobWriter.finish`."""
        return BlobWriter(self)

    def get(self, digest: str, *, size: int | None = None) -> bytes:
        """Return the bytes that have a digest.

        Raises:
            ArtifactNotFoundError: They are not in the store.
            ArtifactDamagedError: What stands there is something else.
        """
        if not self.content.local and size is not None and size >= _CACHE_FROM:
            return self.file(digest).read_bytes()
        path = layout.blob(digest)
        data = self.content.get(path)
        if not digests.matches(data, digest):
            raise damaged(self.content, digest)
        return data

    def file(self, digest: str) -> Path:
        """Return a file of this machine with the bytes that have a digest; it must not be changed.

        Raises:
            ArtifactNotFoundError: They are not in the store.
            ArtifactDamagedError: What stands there is something else.
        """
        if isinstance(self.content, LocalContent):
            path = self.content.path_of(layout.blob(digest))
            self._verify_file(path, digest)
            return path
        return self.cache.file(digest, lambda target: self._fetch(digest, target))

    def _fetch(self, digest: str, target: Path) -> None:
        self.content.get_file(layout.blob(digest), target)
        if digests.digest_chunks(chunks_of(target), digest.partition(":")[0]) != digest:
            raise damaged(self.content, digest)

    def _verify_file(self, path: Path, digest: str) -> None:
        """Hash a file, unless it is large and has not changed since it was last hashed or written here."""
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise ArtifactNotFoundError(errno.ENOENT, f"The bytes {digest} are not in the store {self.content.url}", str(path)) from None
        if size >= _STAMP_FROM and self.cache.is_verified(digest, path):
            return
        if digests.digest_chunks(chunks_of(path), digest.partition(":")[0]) != digest:
            raise damaged(self.content, digest)
        if size >= _STAMP_FROM:
            self.cache.note_verified(digest, path)

    def exists(self, digest: str) -> bool:
        """Tell whether the bytes that have a digest are in the store; they are not read."""
        return self.content.exists(layout.blob(digest))


def damaged(content: Content, digest: str) -> ArtifactDamagedError:
    """Make the error for bytes that are not those that were written."""
    return ArtifactDamagedError(
        f"{layout.blob(digest)} in the store {content.url} is damaged: its bytes are not those that were written. "
        "Remove that file and run again: what made it will make it anew"
    )


def chunks_of(path: Path) -> Iterator[memoryview]:
    """Yield the bytes of a file in chunks, each valid until the next."""
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield view[:count]


class BlobWriter:
    """Takes the bytes of one blob, hashing while it writes. Small ones stay in memory; others go to a file that is then moved."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._parts: list[bytes] = []
        self._file: int | None = None
        self._path: Path | None = None
        self._hasher: Hasher = digests.new(threads=True)
        self._pool: ThreadPoolExecutor | None = None
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take in bytes; returns how many."""
        view = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)
        self.size += len(view)
        if self._file is None and self.size <= SPILL:
            self._parts.append(bytes(view))
            return len(view)
        if self._file is None:
            self._spill()
        for start in range(0, len(view), CHUNK):
            self._write_chunk(view[start : start + CHUNK])
        return len(view)

    def flush(self) -> None:
        """Do nothing: writers of some formats call it."""

    def _spill(self) -> None:
        self._path = self._blobs.content.temporary()
        with self._told():
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        held, self._parts = b"".join(self._parts), []
        if held:
            self._write_chunk(memoryview(held))

    def _write_chunk(self, chunk: memoryview) -> None:
        """Hash in a second thread while this one writes: both leave Python's lock to the other."""
        if len(chunk) < SPILL:
            self._hasher.update(chunk)
            self._to_file(chunk)
            return
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="flowbridge-hash")
        hashing = self._pool.submit(self._hasher.update, chunk)
        try:
            self._to_file(chunk)
        finally:
            hashing.result()

    def _to_file(self, chunk: memoryview) -> None:
        assert self._file is not None
        with self._told():
            while chunk:
                chunk = chunk[os.write(self._file, chunk) :]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abandon()
            url = self._blobs.content.url
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StoreFullError(f"No room left while writing to the store {url}. Free some room (flowbridge gc)") from error
            raise StoreUnavailableError(f"Writing to the store {url} failed: {error}") from error

    def finish(self) -> str:
        """Make the blob visible and return its digest."""
        if self._file is None:
            return self._blobs.put(b"".join(self._parts))
        self._release()
        assert self._path is not None
        digest = f"blake3:{self._hasher.hexdigest()}"
        path = layout.blob(digest)
        if self._blobs.content.size(path) == self.size:
            self._path.unlink()
        else:
            self._blobs.content.put_file(path, self._path)
            if isinstance(self._blobs.content, LocalContent) and self.size >= _STAMP_FROM:
                self._blobs.cache.note_verified(digest, self._blobs.content.path_of(path))
        return digest

    def abandon(self) -> None:
        """Remove what was written so far."""
        self._release()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._file is not None:
            os.close(self._file)
            self._file = None
