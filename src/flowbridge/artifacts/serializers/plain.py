"""JSON for values that it holds exactly (what comes back is equal in value and in type), long text, and bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source

KINDS = frozenset({type(None), bool, int, float, str, list, dict})
LONG_TEXT = 64 << 10
_PLAIN = frozenset({float, bool, type(None)})
_LEAVES = frozenset({str, int, float, bool, bytes, type(None)})
_DEEPEST = 100
_MOST_INT = 10**300  # longer ones hit Python's limit for numbers in text
_CHUNK = 4 << 20
_DEEPEST_PARTS = 50
_MANY = 10_000


def is_exact(value: Any, depth: int = 0) -> bool:
    """Tell whether JSON gives back exactly this: no tuples, no keys but text, no subclasses. NaN and infinity are written as Python does."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is str:
        return value.isascii() or _is_unicode(value)
    if kind is int:
        return bool(-_MOST_INT < value < _MOST_INT)
    if kind is list:
        return depth <= _DEEPEST and all(is_exact(v, depth + 1) for v in value)
    if kind is dict:
        return depth <= _DEEPEST and all(type(k) is str and is_exact(k) and is_exact(v, depth + 1) for k, v in value.items())
    return False


def is_tangled(value: Any) -> bool:
    """Tell whether a value is a part of itself, or has parts too deep, or the same ones again and again: only a pickle can keep that.

    Looked at are lists, tuples, dicts, dataclasses and pydantic models, which may be saved part by part.
    """
    met: set[int] = set()
    visits = 0
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        met.add(id(part))
        visits += 1
        if depth > _DEEPEST_PARTS or visits > _MANY + 2 * len(met):
            return True
        waiting += [(inner, depth + 1) for inner in _parts_of(part) if type(inner) not in _LEAVES]
    return False


def _parts_of(value: Any) -> Iterable[Any]:
    kind = type(value)
    if kind is list or isinstance(value, tuple):
        return value  # type: ignore[no-any-return]
    if isinstance(value, dict):
        return value.values()
    if hasattr(kind, "model_fields") or hasattr(kind, "__dataclass_fields__"):
        names = getattr(kind, "__dataclass_fields__", None) or value.__dict__
        return [getattr(value, name, None) for name in names]
    return ()


def _is_unicode(text: str) -> bool:
    """Tell whether a text has no halves of characters: two of them in a row would come back as one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def exact_text(value: Any) -> str | None:
    """Return a value as JSON; None where that would not give back exactly this, or where it is a long text."""
    if type(value) is str and len(value) > LONG_TEXT:
        return None
    return json.dumps(value, separators=(",", ":")) if is_exact(value) else None


class JsonSerializer:
    """Text, numbers, lists and dicts of them."""

    name = "json"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write compact JSON."""
        sink.write(json.dumps(value, separators=(",", ":")).encode())
        return ()

    def load(self, source: Source) -> Any:
        """Read it."""
        return json.loads(source.read())


class TextSerializer:
    """Long text as UTF-8."""

    name = "text"
    version = 1

    def save(self, value: str, sink: Sink) -> Meta:
        """Write it, some of it at a time."""
        for part in _parts(value):
            sink.write(part.encode(errors="surrogatepass"))
        return (("characters", len(value)),)

    def load(self, source: Source) -> str:
        """Read it."""
        return str(source.buffer(), "utf-8", "surrogatepass")


class BytesSerializer:
    """Bytes as they are."""

    name = "bytes"
    version = 1

    def save(self, value: bytes | bytearray, sink: Sink) -> Meta:
        """Write them."""
        sink.lend(value)
        return (("mutable", True),) if isinstance(value, bytearray) else ()

    def load(self, source: Source) -> bytes | bytearray:
        """Read them."""
        return bytearray(source.buffer()) if source.meta("mutable") else source.read()


def _parts(text: str) -> Iterator[str]:
    return (text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK))
