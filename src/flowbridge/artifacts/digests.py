"""Digests of bytes: BLAKE3 for what is written, SHA-256 understood too. `docs/decisions/0002-digest.md` says why."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import Protocol

from blake3 import blake3

from flowbridge.errors import ArtifactDamagedError

_PARALLEL_FROM = 1 << 20
_MOST_THREADS = 4
_CHUNK = 8 << 20
_SHAPE = re.compile(r"(?:blake3|sha256):([0-9a-f]{64})")


class Hasher(Protocol):
    """What `hashlib` and `blake3` share."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


def new(algorithm: str = "blake3", *, threads: bool = False) -> Hasher:
    """Return a hasher.

    Args:
        algorithm: ``blake3`` or ``sha256``.
        threads: Hash large chunks with some threads, which takes 0.1 ms to set up.

    Raises:
        ArtifactDamagedError: No such algorithm is known here; a reference that names one was damaged or made by a later version.
    """
    if algorithm == "blake3":
        # not blake3.AUTO: its threads are those of the process, and a child forked after they have started waits for them forever
        return blake3(max_threads=_threads()) if threads else blake3()
    if algorithm == "sha256":
        return hashlib.sha256()
    raise ArtifactDamagedError(f"A reference names the digest {algorithm!r}, which this version of flowbridge does not know")


def digest(data: bytes | bytearray | memoryview) -> str:
    """Return the digest of bytes as ``blake3:<hex>``."""
    return digest_chunks([memoryview(data)], "blake3")


def digest_chunks(chunks: Sequence[memoryview], algorithm: str = "blake3") -> str:
    """Return the digest of bytes that lie in several places, as ``<algorithm>:<hex>``."""
    hasher = new(algorithm, threads=any(len(chunk) > _PARALLEL_FROM for chunk in chunks))
    for chunk in chunks:
        for start in range(0, len(chunk), _CHUNK):
            hasher.update(chunk[start : start + _CHUNK])
    return f"{algorithm}:{hasher.hexdigest()}"


def name_of(digest: str) -> str:
    """Return the part of a digest that files are named by.

    Raises:
        ArtifactDamagedError: It is none. Whoever wrote it may want a file outside the store to be read, or removed.
    """
    found = _SHAPE.fullmatch(digest)
    if found is None:
        raise ArtifactDamagedError(
            f"A reference or record names the digest {digest[:100]!r}, which is none that this version of flowbridge knows"
        )
    return found[1]


def matches(data: bytes | bytearray | memoryview, wanted: str) -> bool:
    """Tell whether bytes have a digest."""
    return digest_chunks([memoryview(data)], wanted.partition(":")[0]) == wanted


def _threads() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, _MOST_THREADS)
