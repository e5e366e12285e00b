"""Tables as Arrow IPC files: pandas, polars and pyarrow, mapped when they are loaded."""

from __future__ import annotations

from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source, WholeSerializer


def pandas_is_exact(frame: Any) -> bool:
    """Tell whether Arrow gives back exactly this frame: plain column names and dtypes that Arrow has, nothing attached."""
    try:
        import pyarrow as pa  # noqa: PLC0415
    except ImportError:
        return False
    names = list(frame.columns)
    if frame.attrs or len(set(names)) != len(names) or not all(type(n) is str for n in names):
        return False
    if any(str(t) == "object" for t in frame.dtypes) or type(frame.index).__name__ not in {"RangeIndex", "Index", "DatetimeIndex"}:
        return False
    try:
        schema = pa.Schema.from_pandas(frame)
        back = schema.empty_table().to_pandas()
    except (pa.ArrowException, ValueError, TypeError):
        return False
    return bool((back.dtypes == frame.dtypes).all()) and type(frame.columns).__name__ == "Index"


class PandasSerializer(WholeSerializer):
    """Data frames that Arrow holds exactly."""

    name = "pandas"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write an Arrow IPC file."""
        import pyarrow as pa  # noqa: PLC0415

        _write(pa.Table.from_pandas(value), sink)
        return (("shape", list(value.shape)), ("columns", [str(c) for c in value.columns[:100]]))

    def load(self, source: Source) -> Any:
        """Read it."""
        return _read(source).to_pandas()


class ArrowSerializer(WholeSerializer):
    """Tables and record batches of pyarrow."""

    name = "arrow"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write an Arrow IPC file."""
        import pyarrow as pa  # noqa: PLC0415

        batch = isinstance(value, pa.RecordBatch)
        _write(pa.Table.from_batches([value]) if batch else value, sink)
        return (("rows", value.num_rows), ("columns", list(value.schema.names[:100])), ("batch", batch))

    def load(self, source: Source) -> Any:
        """Read it, mapped where it is large."""
        table = _read(source)
        return table.combine_chunks().to_batches()[0] if source.meta("batch") and table.num_rows else table


class PolarsSerializer(WholeSerializer):
    """Data frames and series of polars."""

    name = "polars"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write an Arrow IPC file."""
        frame = value.to_frame() if hasattr(value, "to_frame") else value
        frame.write_ipc(sink)
        return (("shape", list(frame.shape)), ("columns", list(frame.columns[:100])), ("series", hasattr(value, "to_frame")))

    def load(self, source: Source) -> Any:
        """Read it, mapped where it is large."""
        import polars as pl  # noqa: PLC0415

        frame = pl.read_ipc(source.path())
        return frame.to_series() if source.meta("series") else frame


def _write(table: Any, sink: Sink) -> None:
    import pyarrow as pa  # noqa: PLC0415

    with pa.PythonFile(sink, mode="w") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _read(source: Source) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.ipc.open_file(pa.py_buffer(source.buffer())).read_all()
