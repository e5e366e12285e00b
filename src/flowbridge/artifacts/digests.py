"""Digests of bytes: BLAKE3 for what is written, SHA-256 understood too.

BLAKE3 is as safe as SHA-256 for this use and several times faster, on one core and more so on many; `docs/performance.md` has the figures.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from blake3 import blake3

from flowbridge.errors import ArtifactDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PARALLEL_FROM = 1 << 20


class Hasher(Protocol):
    """What `hashlib` and `blake3` share."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


def new(algorithm: str = "blake3", *, threads: bool = False) -> Hasher:
    """Return a hasher.

    Raises:
        ArtifactDamagedError: No such algorithm is known here; a reference that names one was damaged or made by a later version.
    """
    if algorithm == "blake3":
        return blake3(max_threads=blake3.AUTO) if threads else blake3()
    if algorithm == "sha256":
        return hashlib.sha256()
    raise ArtifactDamagedError(f"A reference names the digest {algorithm!r}, which this version of flowbridge does not know")


def digest(data: bytes | memoryview) -> str:
    """Return the digest of bytes as ``blake3:<hex>``."""
    return "blake3:" + blake3(data, max_threads=blake3.AUTO if len(data) > _PARALLEL_FROM else 1).hexdigest()


def digest_chunks(chunks: Iterable[bytes | memoryview], algorithm: str = "blake3") -> str:
    """Return the digest of bytes that come in chunks, as ``<algorithm>:<hex>``."""
    hasher = new(algorithm, threads=True)
    for chunk in chunks:
        hasher.update(chunk)
    return f"{algorithm}:{hasher.hexdigest()}"


def matches(data: bytes | memoryview, wanted: str) -> bool:
    """Tell whether bytes have a digest."""
    algorithm, _, hexed = wanted.partition(":")
    hasher = new(algorithm, threads=len(data) > _PARALLEL_FROM)
    hasher.update(data)
    return hasher.hexdigest() == hexed
