"""A reference: all that records, orders and backends ever carry of a value."""

from __future__ import annotations

from flowbridge.ir.base import FrozenModel, JsonValue

LIST = "list"
"""The format of lists that are read item by item: their main blob names pages, which are blobs too."""


class Reference(FrozenModel):
    """Where a value is and how to read it back.

    Attributes:
        digest: ``<algorithm>:<hex>`` of the bytes of the main blob (of `inline` or `data`, where one of them holds the value).
        size: Bytes of the whole value as stored, parts included.
        serializer: Name of the format, such as ``numpy``.
        version: Version of that format.
        type: ``module.qualname`` of the value's class, for people.
        inline: The value itself as JSON text, where it is small and JSON holds it exactly; no blob is then written.
        data: The bytes of the main blob in base64, where they are few; no blob is then written.
        length: Number of items, where the value can be read item by item.
        main_size: Bytes of the main blob, where `size` counts further ones too.
        pack: Digest of the blob that the bytes lie in, where they share one with others; None: they are a blob of their own.
        pack_size: Bytes of that blob.
        offset: Where in that blob they begin.
        parts: Digest of a blob that lists everything else the value consists of; None: it is one blob.
        encoding: How the bytes are packed, such as ``zstd``; `digest` and `size` are those of the packed bytes.
        raw_size: Bytes when unpacked.
        made_by: What the value was called when it was saved, such as ``output 'train' of step load``; for error messages.
        meta: What people want to see without loading: shape, dtype, columns, names of the files in a folder.
    """

    digest: str
    size: int
    serializer: str
    version: int = 1
    type: str = ""
    inline: str | None = None
    data: str | None = None
    length: int | None = None
    main_size: int | None = None
    pack: str | None = None
    pack_size: int | None = None
    offset: int = 0
    parts: str | None = None
    encoding: str = ""
    raw_size: int | None = None
    made_by: str = ""
    meta: tuple[tuple[str, JsonValue], ...] = ()

    @property
    def has_blob(self) -> bool:
        """Whether the value has a main blob in the store, of its own or shared."""
        return self.inline is None and self.data is None

    @property
    def blob_size(self) -> int:
        """Bytes of the main blob."""
        return self.size if self.main_size is None else self.main_size

    @property
    def unpacked_size(self) -> int:
        """Bytes of the main blob as stored, or as unpacked, whichever is more: what reading it takes at most."""
        return max(self.blob_size, self.raw_size or 0)

    @property
    def owns_blobs(self) -> bool:
        """Whether any of the value is in the store: a main blob, or parts or pages although the main bytes stand in the reference."""
        return self.has_blob or self.parts is not None or (self.inline is None and self.serializer == LIST)
