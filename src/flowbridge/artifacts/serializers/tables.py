"""Tables of pyarrow and polars as Arrow IPC files: mapped when they are loaded."""

from __future__ import annotations

import functools
import importlib.util
import pickle
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source

_SHOWN = 100
_LITTLE = 4096
_KINDS = {"batch": "RecordBatch", "array": "Array", "chunked": "ChunkedArray"}
_STREAM = b"\xff\xff\xff\xff"
"""How a stream of Arrow begins; a file has its name there."""


class ArrowSerializer:
    """Tables, record batches and arrays of pyarrow."""

    name = "arrow"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write an Arrow IPC file; arrays as a table of one column."""
        table, kind = _as_table(value)
        write_table(table, sink)
        meta: Meta = (("rows", table.num_rows), ("columns", list(table.schema.names[:_SHOWN])))
        return (*meta, (kind, True)) if kind else meta

    def load(self, source: Source) -> Any:
        """Read it: its columns are views of the mapped file."""
        return _from_table(read_table(source)[0], next((kind for kind in _KINDS if source.meta(kind)), ""))


def _as_table(value: Any) -> tuple[Any, str]:
    import pyarrow as pa  # noqa: PLC0415

    kind = next((kind for kind, name in _KINDS.items() if isinstance(value, getattr(pa, name))), "")
    if kind == "batch":
        return pa.Table.from_batches([value]), kind
    return (pa.table([value], names=[""]) if kind else value), kind


def _from_table(table: Any, kind: str) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if kind == "chunked":
        return table.column(0)
    if kind == "array":
        column = table.column(0)
        return column.chunk(0) if column.num_chunks else pa.array([], column.type)
    if kind == "batch":
        batches = table.to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
    return table


@functools.cache
def reducers() -> dict[type, Any]:
    """Return how to pickle values of pyarrow, by type: pyarrow itself writes all memory that a slice was taken from."""
    import pyarrow as pa  # noqa: PLC0415

    kinds = [pa.Table, pa.RecordBatch, pa.ChunkedArray, *_subclasses(pa.Array)]
    return dict.fromkeys((kind for kind in kinds if kind.__module__ == "pyarrow.lib"), _reduce)


def _subclasses(cls: type) -> list[type]:
    found: list[type] = cls.__subclasses__()
    return found + [inner for sub in found for inner in _subclasses(sub)]


def _reduce(value: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    try:
        is_slice = value.get_total_buffer_size() > 2 * value.nbytes + _LITTLE
    except pa.ArrowException:  # not known of every type
        is_slice = False
    if not is_slice:
        return value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    table, kind = _as_table(value)
    size = pa.MockOutputStream()
    _write(table, size)
    data = pa.allocate_buffer(size.size())  # a buffer that grows would take twice as much
    _write(table, pa.FixedSizeBufferWriter(data))
    return value_of, (pickle.PickleBuffer(data), kind)


def value_of(data: Any, kind: str) -> Any:
    """Return what was taken apart for a pickle."""
    return _from_table(_read(memoryview(data)), kind)


class PolarsSerializer:
    """Data frames and series of polars."""

    name = "polars"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write an Arrow IPC file."""
        series = hasattr(value, "to_frame")
        frame = value.to_frame() if series else value
        frame.write_ipc(sink)
        meta: Meta = (("shape", list(frame.shape)), ("columns", list(frame.columns[:_SHOWN])))
        return (*meta, ("series", True)) if series else meta

    def load(self, source: Source) -> Any:
        """Read it: polars reads the file itself, as bytes of it would be in memory beside the frame."""
        import polars as pl  # noqa: PLC0415

        if not source.trusted and importlib.util.find_spec("pyarrow"):  # polars ends the process over some that pyarrow only refuses
            read_table(source)
        try:
            with source.open() as file:
                frame = pl.read_ipc(file)
        except BaseException as error:  # what polars panics with is no Exception
            if type(error).__name__ != "PanicException":
                raise
            raise ValueError(f"polars gave up on it: {error}") from error
        return frame.to_series() if source.meta("series") else frame


def write_table(table: Any, sink: Sink) -> None:
    """Write a table as an Arrow IPC file, or as a stream where chunks have categories of their own. Its columns are not copied."""
    import pyarrow as pa  # noqa: PLC0415

    with pa.PythonFile(_Lending(sink), mode="w") as file:
        _write(table, file)


def _write(table: Any, file: Any) -> None:
    import pyarrow as pa  # noqa: PLC0415

    new = pa.ipc.new_stream if table.num_rows and _has_several_dictionaries(table) else pa.ipc.new_file
    with new(file, table.schema) as writer:
        if table.num_rows:
            writer.write_table(table)
        else:  # of no rows it would write no batch, and categories stand in batches
            columns = [c.chunk(0) if c.num_chunks and _has_dictionary(c.type) else pa.array([], c.type) for c in table.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=table.schema))


def read_table(source: Source) -> tuple[Any, memoryview]:
    """Return a table, and the memory that its columns are views of."""
    view = source.buffer()
    return _checked(source, _read(view)), view


def _checked(source: Source, table: Any) -> Any:
    """Look at the offsets and indices in a table where the store is not trusted: Arrow follows them wherever they lead.

    Raises:
        ArrowInvalid: One leads outside the table.
    """
    if not source.trusted:
        table.validate(full=True)
    return table


def _read(view: memoryview) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    opened = pa.ipc.open_stream if view[: len(_STREAM)] == _STREAM else pa.ipc.open_file
    return opened(pa.py_buffer(view)).read_all()


def _has_several_dictionaries(table: Any) -> bool:
    return any(column.num_chunks > 1 and _has_dictionary(column.type) for column in table.columns)


def _has_dictionary(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(kind, pa.BaseExtensionType):
        return _has_dictionary(kind.storage_type)
    return pa.types.is_dictionary(kind) or any(_has_dictionary(kind.field(i).type) for i in range(kind.num_fields))


class _Lending:
    """A file that lends what is written to it: Arrow hands over buffers that nobody changes."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: Any) -> int:
        return self._sink.lend(data)

    def tell(self) -> int:
        return self._sink.tell()

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: the sink is closed by who opened it."""
