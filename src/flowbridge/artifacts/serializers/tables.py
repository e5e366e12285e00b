"""Tables of pyarrow and polars as Arrow IPC files: mapped when they are loaded."""

from __future__ import annotations

import importlib.util
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source

_SHOWN = 100


class ArrowSerializer:
    """Tables and record batches of pyarrow."""

    name = "arrow"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write an Arrow IPC file."""
        import pyarrow as pa  # noqa: PLC0415

        batch = isinstance(value, pa.RecordBatch)
        write_table(pa.Table.from_batches([value]) if batch else value, sink)
        meta: Meta = (("rows", value.num_rows), ("columns", list(value.schema.names[:_SHOWN])))
        return (*meta, ("batch", True)) if batch else meta

    def load(self, source: Source) -> Any:
        """Read it: its columns are views of the mapped file."""
        import pyarrow as pa  # noqa: PLC0415

        table, _ = read_table(source)
        if not source.meta("batch"):
            return table
        batches = table.to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


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
        """Read it."""
        import polars as pl  # noqa: PLC0415

        with source.open() as file:
            data = file.read()
        if not source.trusted and importlib.util.find_spec("pyarrow"):  # polars ends the process over some that pyarrow only refuses
            import pyarrow as pa  # noqa: PLC0415

            _checked(source, pa.ipc.open_file(pa.py_buffer(data)).read_all())
        try:
            frame = pl.read_ipc(data)
        except BaseException as error:  # what polars panics with is no Exception
            if type(error).__name__ != "PanicException":
                raise
            raise ValueError(f"polars gave up on it: {error}") from error
        return frame.to_series() if source.meta("series") else frame


def write_table(table: Any, sink: Sink) -> None:
    """Write a table as an Arrow IPC file. Its columns are not copied."""
    import pyarrow as pa  # noqa: PLC0415

    with pa.PythonFile(_Lending(sink), mode="w") as file, pa.ipc.new_file(file, table.schema) as writer:
        if table.num_rows:
            writer.write_table(table)
        else:  # of no rows it would write no batch, and categories stand in batches
            columns = [pa.array([], c.type) if not c.num_chunks else c.chunk(0) for c in table.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=table.schema))


def read_table(source: Source) -> tuple[Any, memoryview]:
    """Return a table, and the memory that its columns are views of."""
    import pyarrow as pa  # noqa: PLC0415

    view = source.buffer()
    return _checked(source, pa.ipc.open_file(pa.py_buffer(view)).read_all()), view


def _checked(source: Source, table: Any) -> Any:
    """Look at the offsets and indices in a table where the store is not trusted: Arrow follows them wherever they lead.

    Raises:
        ArrowInvalid: One leads outside the table.
    """
    if not source.trusted:
        table.validate(full=True)
    return table


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
