"""The fallback: cloudpickle, protocol 5, large buffers beside the pickle so that arrays inside any object are not copied."""

from __future__ import annotations

import json
import pickle
import struct
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source, WholeSerializer

_MAGIC = b"FBPICKLE"
_ALIGN = 64


class PickleSerializer(WholeSerializer):
    """Any object. Layout: magic, length of the header, header (JSON: sizes), pickle, buffers each at a multiple of 64 bytes."""

    name = "pickle"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write pickle and buffers."""
        import cloudpickle  # noqa: PLC0415  (half of all values do without)

        buffers: list[pickle.PickleBuffer] = []
        body = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        raw = [b.raw() for b in buffers]
        header = json.dumps({"pickle": len(body), "buffers": [len(r) for r in raw]}).encode()
        sink.write(_MAGIC + struct.pack("<I", len(header)) + header + body)
        position = len(_MAGIC) + 4 + len(header) + len(body)
        for view in raw:
            padding = -position % _ALIGN
            sink.write(b"\0" * padding)
            sink.write(view)
            position += padding + len(view)
        return ()

    def load(self, source: Source) -> Any:
        """Make the object again; its large buffers are views of the mapped file."""
        source.require_trust()
        return loads(source.buffer())


def loads(view: memoryview) -> Any:
    """Return the object that a blob of this format holds."""
    if bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise ValueError("these bytes are not in flowbridge's pickle format")
    start = len(_MAGIC) + 4
    (length,) = struct.unpack("<I", view[len(_MAGIC) : start])
    header = json.loads(bytes(view[start : start + length]))
    position = start + length + header["pickle"]
    body = view[start + length : position]
    buffers = []
    for size in header["buffers"]:
        position += -position % _ALIGN
        buffers.append(view[position : position + size])
        position += size
    return pickle.loads(body, buffers=buffers)
