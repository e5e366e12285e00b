"""JSON, for values that it holds exactly: what comes back is equal in value and in type."""

from __future__ import annotations

import json
import math
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source, WholeSerializer

_PLAIN = frozenset({str, bool, type(None)})
_DEEPEST = 100
_LARGEST: int = 10**300  # longer ones hit Python's limit for numbers as text


def is_exact(value: Any, depth: int = 0) -> bool:
    """Tell whether JSON gives back exactly this: no tuples, no keys but text, no subclasses, no NaN or infinity."""
    kind = type(value)
    if kind is list:
        return depth < _DEEPEST and all(is_exact(v, depth + 1) for v in value)
    if kind is dict:
        return depth < _DEEPEST and all(type(k) is str and is_exact(v, depth + 1) for k, v in value.items())
    if kind is float:
        return math.isfinite(value)
    return kind in _PLAIN or (kind is int and -_LARGEST < value < _LARGEST)


class JsonSerializer(WholeSerializer):
    """Text, numbers, lists and dicts of them."""

    name = "json"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write compact JSON."""
        sink.write(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass"))
        return ()

    def load(self, source: Source) -> Any:
        """Read it."""
        return json.loads(source.bytes().decode(errors="surrogatepass"))


class BytesSerializer(WholeSerializer):
    """Bytes as they are."""

    name = "bytes"
    version = 1

    def save(self, value: bytes, sink: Sink) -> Meta:
        """Write them."""
        sink.write(value)
        return ()

    def load(self, source: Source) -> bytes:
        """Read them."""
        return source.bytes()
