"""What a serializer is: it writes a value to a sink of bytes, and makes it again from a source."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from flowbridge.artifacts.reference import Reference
from flowbridge.errors import ArtifactDamagedError, SerializationError, UntrustedError

if TYPE_CHECKING:
    from flowbridge.artifacts.blobs import Blobs
    from flowbridge.artifacts.packing import PackingWriter
    from flowbridge.artifacts.writer import BlobWriter
    from flowbridge.ir.base import JsonValue

Meta = tuple[tuple[str, "JsonValue"], ...]
MOST_MANIFEST = 256 << 20
"""Bytes of JSON that are read for what a value consists of, whatever a reference says."""


class Serializer(Protocol):
    """One format. `name` and `version` stand in every reference, so that a later version can still read it."""

    name: str
    version: int

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write a value; return what people want to see of it without loading."""

    def load(self, source: Source) -> Any:
        """Make the value again."""


class Sink(io.RawIOBase):
    """Where a serializer writes to: one blob, and whatever else belongs to the value.

    It is an open binary file to everyone who writes formats to files.

    Attributes:
        name: What the value is called in errors.
        total: Bytes of all other blobs together.
        others: References of everything else that belongs to the value.
    """

    def __init__(self, blobs: Blobs, name: str, save: Callable[[Any, str], Reference], *, packing: bool = False) -> None:
        super().__init__()
        self.name = name
        self.total = 0
        self.others: list[Reference] = []
        self.out: BlobWriter | PackingWriter = blobs.packing_writer() if packing else blobs.writer()
        self._blobs = blobs
        self._save = save
        self._taken = 0

    def writable(self) -> bool:
        """Say yes: this is what writers of file formats ask."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._taken

    def write(self, data: Any, /) -> int:
        """Write bytes (or anything with a buffer)."""
        view = memoryview(data)
        self._taken += view.nbytes
        self.out.write(view)
        return view.nbytes

    def lend(self, data: Any, /) -> int:
        """Write bytes that stay as they are until the value is saved, such as those of the value itself: they need not be copied."""
        view = memoryview(data)
        self._taken += view.nbytes
        self.out.lend(view)
        return view.nbytes

    def part(self, data: bytes) -> dict[str, JsonValue]:
        """Write a further blob; return what to keep of it, for :meth:`Source.part`."""
        return self._keep(self._blobs.put(data), len(data))

    def part_from(self, path: Path) -> dict[str, JsonValue]:
        """Write a further blob with the bytes of a file, never whole in memory."""
        return self._keep(*self._blobs.put_from(path))

    def _keep(self, digest: str, size: int) -> dict[str, JsonValue]:
        self.others.append(Reference(digest=digest, size=size, serializer="bytes"))
        self.total += size
        return {"digest": digest, "size": size}

    def save(self, value: Any, what: str) -> dict[str, JsonValue]:
        """Save a value inside this one, in the format of its own type; return what to keep of it, for :meth:`Source.load`."""
        reference = self._save(value, f"{what} of {self.name}" if self.name else what)
        self.others.append(reference)
        self.total += reference.size
        return reference.model_dump(mode="json", exclude_defaults=True)


class Source:
    """Where a serializer reads from.

    Args:
        opener: Reads blobs, and loads values inside this one.
        ref: The reference.
        hint: The annotation of what receives the value.
    """

    def __init__(self, opener: Opener, ref: Reference, hint: Any) -> None:
        self.ref = ref
        self.hint = hint
        self._opener = opener
        self._left = ref.size

    @property
    def trusted(self) -> bool:
        """Whether those who write to the store are trusted: what they wrote is then not looked at for malice."""
        return self._opener.trust

    def read(self) -> bytes:
        """Return the bytes that :meth:`Serializer.save` wrote."""
        return self._opener.read(self.ref)

    def buffer(self) -> memoryview:
        """Return them as memory that may be written to: mapped where they are many, and then never changing the file."""
        return self._opener.view(self.ref)

    def open(self) -> IO[bytes]:
        """Return them as an open file."""
        return self._opener.open(self.ref)

    def manifest(self) -> bytes:
        """Return them, where they only tell what a value consists of.

        Raises:
            ArtifactDamagedError: There are more than that can be.
        """
        size = self.ref.unpacked_size
        if size > MOST_MANIFEST:
            raise ArtifactDamagedError(f"A value of type {self.ref.type} names its parts in {size} bytes, which is too many")
        return self.read()

    def part(self, kept: Any) -> IO[bytes]:
        """Return a further blob as an open file."""
        return self._opener.open(_blob(kept))

    def part_bytes(self, kept: Any) -> bytes:
        """Return a further blob."""
        return self._opener.read(_blob(kept))

    def load(self, kept: Any, hint: Any = None) -> Any:
        """Return a value inside this one.

        Raises:
            ArtifactDamagedError: The values inside are together larger than this one is said to be: they can name one thing very often.
        """
        inner = Reference.model_validate(kept)
        self._left -= max(inner.size, 1)
        if self._left < 0 and not self.trusted:
            raise ArtifactDamagedError(f"{titled(self.ref)} holds more than the {self.ref.size} bytes that its reference tells")
        return self._opener.load(inner, hint)

    def folder(self) -> Path:
        """Return a new folder of this machine for files that belong to the value."""
        return self._opener.folder()

    def meta(self, key: str) -> Any:
        """Return something that :meth:`Serializer.save` returned."""
        return dict(self.ref.meta).get(key)

    def require_trust(self) -> None:
        """Go on only where the store is trusted.

        Raises:
            UntrustedError: It is not; loading this value could run any code.
        """
        if not self._opener.trust:
            raise UntrustedError(
                f"{titled(self.ref)} is a pickle, or names code to import: loading it can run anything, and the profile does not trust the "
                f"store {self._opener.url} (trust = false). Have it written in another format, or set trust = true if all who write there are trusted"
            )


class Opener(Protocol):
    """What a source asks of the store."""

    url: str
    trust: bool

    def read(self, ref: Reference) -> bytes:
        """Return the bytes of a reference, verified and unpacked."""

    def view(self, ref: Reference) -> memoryview:
        """Return them as memory that may be written to."""

    def open(self, ref: Reference) -> IO[bytes]:
        """Return them as an open file."""

    def load(self, ref: Reference, hint: Any) -> Any:
        """Return a value."""

    def folder(self) -> Path:
        """Return a new folder of this machine."""


def _blob(kept: Any) -> Reference:
    return Reference(digest=str(kept["digest"]), size=int(kept["size"]), serializer="bytes")


def titled(ref: Reference) -> str:
    """Return what to call a value at the beginning of a message."""
    kind = f" of type {ref.type}" if ref.type else ""
    return f"{ref.made_by[:1].upper()}{ref.made_by[1:]}{',' if kind else ''}{kind}" if ref.made_by else f"A value{kind}"


def type_name(value: Any) -> str:
    """Return ``module.qualname`` of a value's class."""
    cls = type(value)
    return f"{cls.__module__}.{cls.__qualname__}"


def is_importable(cls: type) -> bool:
    """Tell whether another process gets the same class by importing it."""
    import sys  # noqa: PLC0415

    found: Any = sys.modules.get(cls.__module__)
    if found is None or cls.__module__ == "__main__" or "<" in cls.__qualname__:
        return False
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


def class_of(source: Source) -> type:
    """Return the class that a value was saved as: found in the annotation of who receives it, or imported from a trusted store.

    Raises:
        UntrustedError: It would have to be imported, and the store is not trusted.
        SerializationError: It is not there any more.
    """
    hinted = next((cls for cls in classes_in(source.hint) if f"{cls.__module__}.{cls.__qualname__}" == source.ref.type), None)
    if hinted is not None:
        return hinted
    source.require_trust()  # importing what a reference names runs code
    import importlib  # noqa: PLC0415

    module, _, qualname = str(source.meta("class")).partition(":")
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, type):
        raise SerializationError(f"{titled(source.ref)} was saved as the class {qualname} of {module}, which has no such class now")
    return found


def class_path(value: Any) -> tuple[str, JsonValue]:
    """Return the entry of a reference's `meta` that :func:`class_of` reads."""
    return "class", f"{type(value).__module__}:{type(value).__qualname__}"


def classes_in(hint: Any) -> list[type]:
    """Return the classes that an annotation names, those inside unions and `Annotated` too."""
    from typing import get_args  # noqa: PLC0415

    found = [hint] if isinstance(hint, type) else []
    return found + [cls for arg in get_args(hint) for cls in classes_in(arg)]
