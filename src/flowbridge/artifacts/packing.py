"""zstd, for stores where the line is slower than the processor; switched on by ``compression = "zstd"`` among the store's options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowbridge.errors import ArtifactDamagedError, ConfigError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowbridge.artifacts.sending import Sender
    from flowbridge.artifacts.writer import BlobWriter

ZSTD = "zstd"
_LEVEL = 3
_STEP = 4 << 20
_PACK_FROM = 64 << 10
_MOST_RATIO = 1 << 17  # zstd reaches about a quarter of that with nothing but zeros


def of_options(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return how blobs are packed, and the options that are left for the file system.

    Raises:
        ConfigError: No such way of packing is known.
        MissingExtraError: It needs a package that is not installed.
    """
    rest = dict(options)
    encoding = rest.pop("compression", None) or ""
    if encoding not in {"", ZSTD}:
        raise ConfigError(f'Unknown compression {encoding!r} in the store options; "zstd" is there, and no compression is the default')
    if encoding:
        _library()
    return encoding, rest


class PackingWriter:
    """Packs what it is given, and writes that to a blob. Little is left as it is.

    Attributes:
        raw_size: Bytes taken so far.
        encoding: How the blob is packed, once it is finished.
    """

    def __init__(self, out: BlobWriter) -> None:
        self.raw_size = 0
        self.encoding = ""
        self._out = out
        self._first: list[bytes] = []
        self._packer: Any = None

    @property
    def size(self) -> int:
        """Bytes of the blob so far."""
        return self.raw_size if self._packer is None else self._out.size

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take in bytes; returns how many."""
        view = memoryview(data)
        view = view if view.format == "B" and view.ndim == 1 else view.cast("B")
        self.raw_size += len(view)
        if self._packer is None and self.raw_size <= _PACK_FROM:
            self._first.append(bytes(view))
            return len(view)
        if self._packer is None:
            self._packer = _library().ZstdCompressor(level=_LEVEL, threads=-1).compressobj()
            self.encoding = ZSTD
            self._out.write(self._packer.compress(b"".join(self._first)))
        for start in range(0, len(view), _STEP):
            self._out.write(self._packer.compress(view[start : start + _STEP]))
        return len(view)

    lend = write

    def held(self) -> bytes | None:
        """Return all bytes so far, where they are few."""
        return b"".join(self._first) if self._packer is None else None

    def finish(self, sender: Sender | None = None) -> str:
        """Make the blob visible and return its digest."""
        self._out.write(self._packer.flush() if self._packer is not None else b"".join(self._first))
        return self._out.finish(sender)

    def abandon(self) -> None:
        """Remove what was written so far."""
        self._out.abandon()


def unpacked(data: memoryview, size: int) -> memoryview:
    """Return what was packed, which has a size that is known.

    Raises:
        ArtifactDamagedError: It has another size; no more memory than that is taken to find out.
    """
    if not 0 <= size <= len(data) * _MOST_RATIO:
        raise ArtifactDamagedError(f"A packed blob of {len(data)} bytes claims to hold {size}, which cannot be")
    target = memoryview(bytearray(size))
    library = _library()
    filled = 0
    try:
        with library.ZstdDecompressor().stream_reader(data) as reader:
            while filled < size and (count := reader.readinto(target[filled : filled + _STEP])):
                filled += count
            more = reader.read(1)
    except library.ZstdError as error:
        raise ArtifactDamagedError(f"A packed blob cannot be unpacked: {error}") from error
    if filled != size or more:
        raise ArtifactDamagedError(f"A packed blob holds {'more' if more else filled} instead of {size} bytes")
    return target


def _library() -> Any:
    try:
        import zstandard  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise MissingExtraError.needed('compression = "zstd" in the store options', "zstandard", "zstd") from error
    return zstandard
