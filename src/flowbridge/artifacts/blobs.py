"""Blobs: bytes named by their digest. Hashed while they are written, verified when they are read."""

from __future__ import annotations

import io
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from flowbridge.artifacts import digests, layout, marks
from flowbridge.artifacts.content import CHUNK
from flowbridge.artifacts.local import LocalContent
from flowbridge.artifacts.packing import PackingWriter
from flowbridge.artifacts.trouble import not_found, writing
from flowbridge.artifacts.writer import BlobWriter
from flowbridge.errors import ArtifactDamagedError, StoreError

if TYPE_CHECKING:
    from flowbridge.artifacts.cache import ReadCache
    from flowbridge.artifacts.content import Content

_MAP_FROM = 1 << 20
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class Blobs:
    """The blobs of a store.

    Args:
        content: The bytes of the store.
        cache: Copies on this machine; None: remote blobs are read into memory, or into files that are gone once they are closed.
    """

    def __init__(self, content: Content, cache: ReadCache | None) -> None:
        self.content = content
        self.cache = cache

    # --- writing --------------------------------------------------------------------------------------------------------------

    def put(self, data: bytes | bytearray) -> str:
        """Write bytes in one request and return their digest. What stands there already is replaced: it may be damaged."""
        digest = digests.digest(data)
        self.content.put(layout.blob(digest), data)
        return digest

    def writer(self) -> BlobWriter:
        """Return a file-like object to write a blob of any size with; end it with `finish` or `abandon`."""
        return BlobWriter(self.content)

    def packing_writer(self) -> PackingWriter:
        """Return one that packs what it is given."""
        return PackingWriter(BlobWriter(self.content))

    def put_from(self, path: Path) -> tuple[str, int]:
        """Write the bytes of a file, which stays where it is; return their digest and number."""
        writer = self.writer()
        try:
            if self.content.local:
                for chunk in chunks_of(path):
                    writer.write(chunk)
            else:
                with path.open("rb") as file:
                    writer.lend(mapped(file, read_only=True))
            return writer.finish(), writer.size
        except BaseException:
            writer.abandon()
            raise

    # --- reading --------------------------------------------------------------------------------------------------------------

    def get(self, digest: str, *, most: int | None = None) -> bytes:
        """Return the bytes that have a digest.

        Args:
            digest: Of the bytes.
            most: How many there can be; of an object that has more, no more are fetched. None: any number.

        Raises:
            ArtifactNotFoundError: They are not in the store.
            ArtifactDamagedError: What stands there is something else.
        """
        path = layout.blob(digest)
        return self._sound(digest, lambda: self.content.get(path) if most is None else self.content.get_range(path, 0, most + 1))

    def view(self, digest: str, size: int) -> memoryview:
        """Return bytes as memory that may be written to without changing what is stored: mapped where they are many.

        Args:
            digest: Of the bytes.
            size: How many there are; other sizes are refused unread.
        """
        if size < _MAP_FROM:
            return memoryview(bytearray(self._small(digest, size)))
        with self.open(digest, size) as file:
            return mapped(file)

    def read(self, digest: str, size: int) -> bytes:
        """Return bytes that have a digest, from the copy on this machine where there is one."""
        if size < _MAP_FROM:
            return self._small(digest, size)
        with self.open(digest, size) as file:
            return file.read()

    def _small(self, digest: str, size: int) -> bytes:
        if self.content.local or self.cache is None:
            return self._whole(digest, size)
        copy = self.cache.read(digest, 0, size + 1) if size >= 0 else None
        if copy is not None and len(copy) == size and digests.matches(copy, digest):
            return copy
        data = self._whole(digest, size)
        self.cache.keep(digest, data)
        return data

    def range(self, digest: str, start: int, size: int, wanted: str) -> bytes:
        """Return some bytes of a blob, which have a digest of their own, from the copy on this machine where there is one."""
        copy = None if self.content.local or self.cache is None else self.cache.read(digest, start, size)
        if copy is not None and digests.matches(copy, wanted):
            return copy
        data = self.content.get_range(layout.blob(digest), start, start + size)
        if len(data) != size or not digests.matches(data, wanted):
            raise damaged(self.content.url, digest)
        return data

    def open(self, digest: str, size: int) -> IO[bytes]:
        """Return a file with the bytes that have a digest, open for reading and verified.

        Raises:
            ArtifactNotFoundError: They are not in the store.
            ArtifactDamagedError: What stands there is something else.
        """
        if isinstance(self.content, LocalContent):
            path = layout.blob(digest)
            return self._verified(self.content.open(path), self.content.path_of(path), digest, size)
        if self.cache is None:
            return self._unnamed(digest, size)
        try:
            return self._copy(self.cache, digest, size)
        except StoreError:  # which are OSErrors too, and not about copies
            raise
        except OSError:  # the folder for copies is full, or not to be written
            return self._unnamed(digest, size)

    def _copy(self, cache: ReadCache, digest: str, size: int) -> IO[bytes]:
        file = cache.open(digest, size, lambda target: self._fetch(digest, size, target))
        try:
            return self._verified(file, cache.path_of(digest), digest, size)
        except ArtifactDamagedError:
            cache.forget(digest)
        file = cache.open(digest, size, lambda target: self._fetch(digest, size, target))
        return self._verified(file, cache.path_of(digest), digest, size)

    def _verified(self, file: IO[bytes], path: Path, digest: str, size: int) -> IO[bytes]:
        """Hash an open file, unless it is large and nobody wrote to it since it was hashed."""
        try:
            before = os.fstat(file.fileno())
            if size < marks.FROM or not marks.is_marked(before, digest):
                self._hash(file, digest, size)
                if size >= marks.FROM and os.fstat(file.fileno()).st_mtime_ns == before.st_mtime_ns:
                    marks.mark(path, digest)
            elif before.st_size != size:
                raise wrong_size(self.content.url, digest, before.st_size, size)  # noqa: TRY301  (the file is closed below)
        except BaseException:
            file.close()
            raise
        return file

    def _hash(self, file: IO[bytes], digest: str, size: int) -> None:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise wrong_size(self.content.url, digest, found, size)
        if not digests.matches(mapped(file, read_only=True), digest):
            raise damaged(self.content.url, digest)

    def _fetch(self, digest: str, size: int, target: Path) -> None:
        path = layout.blob(digest)
        if size < CHUNK:  # in one request, and verified before it becomes a file
            target.write_bytes(self._whole(digest, size))
            return
        self._look_at(digest, size)
        self.content.get_file(path, target, size)
        with target.open("rb") as file:
            self._hash(file, digest, size)
        marks.mark(target, digest)

    def _sound(self, digest: str, read: Callable[[], bytes], size: int | None = None) -> bytes:
        """Read bytes that have a digest, and once more where others came from elsewhere: they may have been cut short on their way.

        Raises:
            ArtifactDamagedError: What stands there is something else, or has another size than it should have.
        """
        data = read()
        sound = digests.matches(data, digest)
        if not sound and not self.content.local:
            data = read()
            sound = digests.matches(data, digest)
        if sound:
            return data
        if size is not None and len(data) != size:
            self._look_at(digest, size)
        raise damaged(self.content.url, digest)

    def _whole(self, digest: str, size: int) -> bytes:
        """Return all bytes that have a digest; of an object that is larger than it should be, no more are fetched."""
        if size <= 0:  # of nothing, no part can be asked for
            self._look_at(digest, size)
            return self._sound(digest, lambda: b"")
        data = self._sound(digest, lambda: self.content.get_range(layout.blob(digest), 0, size + 1), size)
        if len(data) != size:
            raise wrong_size(self.content.url, digest, len(data), size)
        return data

    def _look_at(self, digest: str, size: int) -> None:
        """Refuse a blob that has not the size it should have.

        Raises:
            ArtifactNotFoundError: It is not in the store.
            ArtifactDamagedError: It has another size.
        """
        found = self.content.size(layout.blob(digest))
        if found is None:
            raise not_found(self.content.url, layout.blob(digest))
        if found != size:
            raise wrong_size(self.content.url, digest, found, size)

    def _unnamed(self, digest: str, size: int) -> IO[bytes]:
        """Return bytes of which no copy is kept, in memory where they are few."""
        if size < CHUNK:
            return io.BytesIO(self._whole(digest, size))
        path = self.content.temporary()
        try:
            with writing(str(path.parent), path.name):
                self._fetch(digest, size, path)
                return path.open("rb")
        finally:
            path.unlink(missing_ok=True)

    def exists(self, digest: str) -> bool:
        """Tell whether the bytes that have a digest are in the store; they are not read."""
        return self.content.exists(layout.blob(digest))


def mapped(file: IO[bytes], *, read_only: bool = False) -> memoryview:
    """Return a file as memory. Unless it is read-only it may be written to, which changes the memory and never the file."""
    if isinstance(file, io.BytesIO):
        return memoryview(bytearray(file.getbuffer()))
    size = os.fstat(file.fileno()).st_size
    if not size:
        return memoryview(b"" if read_only else bytearray())
    if read_only:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if sys.platform == "win32":
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    # without NORESERVE the kernel would refuse to map files larger than the memory of the machine, as all of it might be written to
    return memoryview(mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | _NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE))


def chunks_of(path: Path) -> Iterator[memoryview]:
    """Yield the bytes of a file in chunks, each valid until the next."""
    view = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(view):
            yield view[:count]


def damaged(url: str, digest: str) -> ArtifactDamagedError:
    """Make the error for bytes that are not those that were written."""
    return ArtifactDamagedError(
        f"{layout.blob(digest)} in the store {url} is damaged: its bytes are not those that were written. "
        "Remove that file and run again: the task that made it will make it anew"
    )


def wrong_size(url: str, digest: str, found: int, size: int) -> ArtifactDamagedError:
    """Make the error for a blob of another size than its reference tells."""
    return ArtifactDamagedError(
        f"{layout.blob(digest)} in the store {url} has {found} bytes instead of {size}. "
        "Remove that file and run again: the task that made it will make it anew"
    )
