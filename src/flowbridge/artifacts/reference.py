"""A reference: all that records, orders and backends ever carry of a value."""

from __future__ import annotations

from flowbridge.ir.base import FrozenModel, JsonValue


class Reference(FrozenModel):
    """Where a value is and how to read it back.

    Attributes:
        digest: ``<algorithm>:<hex>`` of the bytes of the main blob (of `inline`, where that holds the value).
        size: Bytes of the whole value as stored, parts included.
        serializer: Name of the format, such as ``numpy``.
        version: Version of that format.
        type: ``module.qualname`` of the value's class, for people.
        inline: The value itself as JSON text, where it is small and JSON holds it exactly; no blob is then written.
        length: Number of items, where the value can be read item by item.
        meta: What people want to see without loading: shape, dtype, columns, names of the files in a folder.
    """

    digest: str
    size: int
    serializer: str
    version: int = 1
    type: str = ""
    inline: str | None = None
    length: int | None = None
    meta: tuple[tuple[str, JsonValue], ...] = ()
