"""What a serializer is: it writes a value to a sink of bytes, and makes it again from a source."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flowbridge.errors import UntrustedError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from flowbridge.artifacts.blobs import Blobs, BlobWriter
    from flowbridge.artifacts.reference import Reference
    from flowbridge.artifacts.store import Store
    from flowbridge.ir.base import JsonValue

Meta = tuple[tuple[str, "JsonValue"], ...]
_MAP_FROM = 1 << 20


class Serializer(Protocol):
    """One format. `name` and `version` stand in every reference, so that a later version can still read it."""

    name: str
    version: int

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write a value; return what people want to see of it without loading."""

    def load(self, source: Source) -> Any:
        """Make the value again."""

    def parts(self, source: Source) -> Iterable[str]:
        """Return the digests of further blobs that belong to the value."""


class Sink(io.RawIOBase):
    """Where a serializer writes to: a blob, and further blobs for parts.

    Attributes:
        digest: Of the main blob, once it is finished.
        total: Bytes of all blobs together.
    """

    def __init__(self, blobs: Blobs, name: str) -> None:
        super().__init__()
        self.blobs = blobs
        self.name = name
        self.digest = ""
        self.total = 0
        self.file: BlobWriter = blobs.writer()

    def writable(self) -> bool:
        """Say yes: this is what writers of file formats ask."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self.file.size

    def write(self, data: Any, /) -> int:
        """Write bytes (or anything with a buffer) of the main blob."""
        return self.file.write(data)

    def part(self, chunks: Iterable[bytes | memoryview]) -> tuple[str, int]:
        """Write a further blob; return its digest and size."""
        writer = self.blobs.writer()
        try:
            for chunk in chunks:
                writer.write(chunk)
            digest = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        self.total += writer.size
        return digest, writer.size

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Make the main blob visible, or leave nothing where something was raised."""
        if kind is not None:
            self.file.abandon()
            return
        self.digest = self.file.finish()
        self.total += self.file.size


class Source:
    """Where a serializer reads from."""

    def __init__(self, store: Store, ref: Reference, hint: Any) -> None:
        self.store = store
        self.ref = ref
        self.hint = hint

    def bytes(self) -> bytes:
        """Return the main blob, verified."""
        return self.store.blobs.get(self.ref.digest, size=self.ref.size)

    def path(self) -> Path:
        """Return a file of this machine that holds the main blob, verified; it must not be changed."""
        return self.store.blobs.file(self.ref.digest)

    def buffer(self) -> memoryview:
        """Return the main blob as memory that may be written to: mapped where it is large, and then never changing the file."""
        if self.ref.size < _MAP_FROM:
            return memoryview(bytearray(self.bytes()))
        with self.path().open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))

    def meta(self, key: str) -> Any:
        """Return something that :meth:`Serializer.save` returned."""
        return dict(self.ref.meta).get(key)

    def require_trust(self) -> None:
        """Go on only where the store is trusted.

        Raises:
            UntrustedError: It is not; loading this value could run any code.
        """
        if not self.store.trust:
            raise UntrustedError(
                f"A value of type {self.ref.type} is a pickle, and loading one can run any code; the profile does not trust the store "
                f"{self.store.url} (trust = false). Have it written in another format, or set trust = true if all who write there are trusted"
            )


class WholeSerializer:
    """Base of serializers whose values are one blob."""

    def parts(self, source: Source) -> Iterable[str]:
        """Return nothing: there are no further blobs."""
        del source
        return ()


def type_name(value: Any) -> str:
    """Return ``module.qualname`` of a value's class."""
    cls = type(value)
    return f"{cls.__module__}.{cls.__qualname__}"
