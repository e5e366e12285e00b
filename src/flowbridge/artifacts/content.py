"""Bytes by path, on a local folder or any fsspec URL. What is written is visible whole or not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

CHUNK = 8 << 20
TEMPORARY = ".tmp-"
_counter = itertools.count()


class Content(Protocol):
    """Bytes by path. `local` tells whether paths are files of this machine."""

    url: str
    local: bool

    def put(self, path: str, data: bytes | bytearray | memoryview) -> None:
        """Write bytes; what stood there is replaced at once."""

    def create(self, path: str, data: bytes) -> None:
        """Write bytes where nothing stands yet.

        Raises:
            FileExistsError: Something stands there.
        """

    def put_buffers(self, path: str, buffers: Sequence[memoryview]) -> None:
        """Write bytes that lie in several places of memory, one after the other, without copying them together; in parts where they are many."""

    def put_file(self, path: str, source: Path) -> None:
        """Move a file of this machine into the store; it is gone from where it was."""

    def get(self, path: str) -> bytes:
        """Return the bytes at a path.

        Raises:
            ArtifactNotFoundError: Nothing stands there.
        """

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return some of the bytes at a path."""

    def get_into(self, path: str, target: memoryview) -> None:
        """Fill memory with the bytes at a path, in parts where they are many. The caller knows the size.

        Raises:
            ArtifactNotFoundError: Nothing stands there.
            ArtifactDamagedError: There are fewer bytes.
        """

    def get_file(self, path: str, target: Path, size: int | None = None) -> None:
        """Copy what stands at a path to a file of this machine, in parts where it is large.

        Args:
            path: The path.
            target: The file.
            size: The number of bytes, where the caller knows it; None: the store is asked.

        Raises:
            OSError: The file cannot be written; what is there of it is the caller's to remove.
        """

    def exists(self, path: str) -> bool:
        """Tell whether something stands at a path."""

    def size(self, path: str) -> int | None:
        """Return the number of bytes at a path; None where nothing stands."""

    def paths(self, prefix: str) -> list[str]:
        """Return every path that begins with a prefix (a folder, with or without its slash, or a folder and the start of a name)."""

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly inside a folder."""

    def entries(self, prefix: str, *, temporary: bool | None = False) -> Iterator[tuple[str, int, float]]:
        """Yield path, size in bytes and time of last change (seconds since the epoch) of all that :meth:`paths` returns.

        Args:
            prefix: As for :meth:`paths`.
            temporary: Yield what writers that were cut short left behind instead; None: besides.
        """

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
    protocol, there, path = url.partition("://")
    if not there or protocol in {"file", "local"}:
        from flowbridge.artifacts.local import LocalContent  # noqa: PLC0415  (it imports this module)

        return LocalContent(path if there else url, **dict(options or {}))
    from flowbridge.artifacts.remote import RemoteContent  # noqa: PLC0415  (the same)

    return RemoteContent(url, dict(options or {}))


def temporary_name() -> str:
    """Return a file name that no other writer uses."""
    return f"{TEMPORARY}{os.getpid()}-{next(_counter)}-{os.urandom(4).hex()}"
