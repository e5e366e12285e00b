"""Writes one blob of any size: hashed while it is written, in memory as long as it is small, visible once it is whole."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.artifacts import digests, layout, marks
from flowbridge.artifacts.content import CHUNK
from flowbridge.artifacts.trouble import cannot_write

if TYPE_CHECKING:
    from flowbridge.artifacts.content import Content
    from flowbridge.artifacts.digests import Hasher
    from flowbridge.artifacts.sending import Sender

SPILL = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


class BlobWriter:
    """Takes the bytes of one blob.

    Bytes that are *written* may change afterwards: more than a little of them goes to a file, which is then moved or sent. Bytes that are
    *lent* stay as they are until the blob is finished: for a store that is elsewhere they are sent from where they lie.

    Attributes:
        size: Bytes taken so far.
    """

    def __init__(self, content: Content) -> None:
        self.size = 0
        self._content = content
        self._held: list[memoryview] = []
        self._copied = 0
        self._file: int | None = None
        self._path: Path | None = None
        self._hasher: Hasher | None = None
        self._pool: ThreadPoolExecutor | None = None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take in bytes; returns how many."""
        view = _flat(data)
        if self._file is None and self._copied + len(view) <= SPILL:
            self._copied += len(view)
            self._hold(memoryview(bytes(view)))
        else:
            self._to_file(view)
        return len(view)

    def lend(self, data: bytes | bytearray | memoryview) -> int:
        """Take in bytes that stay as they are until the blob is finished; returns how many."""
        view = _flat(data)
        if self._file is None and (not self._content.local or self.size + len(view) <= SPILL):
            self._hold(view)
        else:
            self._to_file(view)
        return len(view)

    def held(self) -> bytes | None:
        """Return all bytes so far, where they are still in memory."""
        return None if self._file is not None else b"".join(self._held)

    def _hold(self, view: memoryview) -> None:
        self.size += len(view)
        self._held.append(view)

    def _to_file(self, view: memoryview) -> None:
        hasher = self._spill() if self._hasher is None else self._hasher
        self.size += len(view)
        if len(view) < SPILL:
            hasher.update(view)
            self._write_file(view)
        else:
            self._write_large(view, hasher)

    def _spill(self) -> Hasher:
        self._path = self._content.temporary()
        try:
            self._file = os.open(self._path, _NEW, 0o666)
        except OSError as error:
            raise cannot_write(self._content.url, str(self._path), error) from error
        self._hasher = digests.new(threads=True)
        for view in self._held:
            self._hasher.update(view)
            self._write_file(view)
        self._held = []
        return self._hasher

    def _write_large(self, view: memoryview, hasher: Hasher) -> None:
        """Hash in a second thread while this one writes: both leave Python's lock to the other, and neither waits before the end."""
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="flowbridge-hash")
        hashing: list[Future[object]] = []
        try:
            for start in range(0, len(view), CHUNK):
                hashing.append(self._pool.submit(hasher.update, view[start : start + CHUNK]))
                self._write_file(view[start : start + CHUNK])
        except BaseException:
            for future in hashing:
                future.cancel()
            raise
        finally:
            wait(hashing)  # whoever gave these bytes may change them afterwards
        for future in hashing:
            future.result()

    def _write_file(self, view: memoryview) -> None:
        assert self._file is not None
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            self.abandon()
            raise cannot_write(self._content.url, "a blob", error) from error

    def finish(self, sender: Sender | None = None) -> str:
        """Make the blob visible and return its digest.

        Args:
            sender: Sends the bytes behind the caller's back, where they are still in memory; None: they are there at the end.
        """
        digest = digests.digest_chunks(self._held) if self._hasher is None else f"blake3:{self._hasher.hexdigest()}"
        path = layout.blob(digest)
        self._release()
        if self._path is None and sender is not None:
            held = b"".join(self._held)  # what was lent may change once this returns
            sender.send(lambda: self._content.put(path, held), len(held))
            self._held = []
            return digest
        if self._path is None:
            if self.size < CHUNK or self._content.size(path) != self.size:  # of many bytes it is worth asking
                self._content.put_buffers(path, self._held)
            self._held = []
            return digest
        if self._content.local:
            if self.size >= marks.FROM:
                marks.mark(self._path, digest)
            self._content.put_file(path, self._path)
        elif self._content.size(path) != self.size:
            self._content.put_file(path, self._path)
        else:
            self._path.unlink()
        self._path = None
        return digest

    def abandon(self) -> None:
        """Remove what was written so far."""
        self._release()
        self._held = []
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _release(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _flat(data: bytes | bytearray | memoryview) -> memoryview:
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")
