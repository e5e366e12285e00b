"""The fallback: cloudpickle, protocol 5, large buffers beside the pickle so that arrays inside any object are not copied."""

from __future__ import annotations

import json
import pickle
import struct
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source
from flowbridge.artifacts.serializers.picklers import pickler

_TAIL = b"FBPICKLE"
_ALIGN = 64
_PAGE = 4096
_LARGE = 1 << 20
_BESIDE = 4096
_END = struct.Struct("<QQ8s")


class PickleSerializer:
    """Any object. Layout: the pickle; each buffer at a multiple of 64 bytes or of a page; where they are, as JSON; where that is; a mark."""

    name = "pickle"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write pickle and buffers."""
        write_pickle(value, sink)
        return ()

    def load(self, source: Source) -> Any:
        """Make the object again; its large buffers are views of the mapped file."""
        source.require_trust()
        return read_pickle(source.buffer())


class EstimatorSerializer(PickleSerializer):
    """Estimators of scikit-learn: pickled, with the version that made them."""

    name = "sklearn"

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write pickle and buffers."""
        import sklearn  # noqa: PLC0415

        write_pickle(value, sink)
        return (("sklearn", sklearn.__version__),)

    def load(self, source: Source) -> Any:
        """Make the estimator again; scikit-learn itself warns where its version is another."""
        try:
            return super().load(source)
        except (AttributeError, ImportError, ValueError, KeyError, TypeError) as error:
            made = source.meta("sklearn")
            raise type(error)(f"{error} (it was made with scikit-learn {made}; install that version, or train it again)") from error


def write_pickle(value: Any, sink: Sink) -> None:
    """Write an object: not even its large strings are copied whole."""
    buffers: list[memoryview] = []

    def beside(buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer out of the pickle; true means that it stays."""
        try:
            view = buffer.raw()
        except BufferError:
            return True
        if view.nbytes < _BESIDE:
            return True
        buffers.append(view)
        return False

    pickler(sink, beside).dump(value)
    places = [[0, sink.tell()]]
    for view in buffers:
        sink.write(b"\0" * (-sink.tell() % (_PAGE if view.nbytes >= _LARGE else _ALIGN)))
        places.append([sink.tell(), view.nbytes])
        sink.lend(view)
    table = json.dumps(places, separators=(",", ":")).encode()
    start = sink.tell()
    sink.write(table + _END.pack(start, len(table), _TAIL))


def read_pickle(view: memoryview) -> Any:
    """Return the object that a blob of this format holds. Whoever calls it has asked whether the store is trusted."""
    start, length, tail = _END.unpack(view[-_END.size :])
    if tail != _TAIL:
        raise ValueError("these bytes are not in flowbridge's pickle format")
    places = json.loads(bytes(view[start : start + length]))
    pieces = [view[begin : begin + size] for begin, size in places]
    return pickle.loads(pieces[0], buffers=pieces[1:])
