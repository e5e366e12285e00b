"""Data frames and series of pandas: Arrow IPC files where Arrow gives back exactly the same, with numbers as views of the mapped file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source
from flowbridge.artifacts.serializers.pickles import read_pickle, write_pickle
from flowbridge.artifacts.serializers.plain import is_exact
from flowbridge.artifacts.serializers.tables import read_table, write_table
from flowbridge.errors import ArtifactDamagedError

if TYPE_CHECKING:
    import pandas as pd

    from flowbridge.ir.base import JsonValue

_KEY = b"flowbridge"
_SHOWN = 100
_LOOKED_AT = 50
_RAW = "biufmM"
_MASKED = frozenset({f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)} | {"Float32", "Float64"})
"""Dtypes of pandas that are numbers and a mask."""
_LABELS = (str, int, float, bool)


class NotExactError(Exception):
    """Arrow would not give back the same frame."""


class PandasSerializer:
    """Data frames and series: as an Arrow IPC file where that gives back exactly the same, else pickled."""

    name = "pandas"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write an Arrow IPC file, or a pickle with the data beside it."""
        columns: list[JsonValue] = [str(c) for c in value.columns[:_SHOWN]] if hasattr(value, "columns") else [str(value.name)]
        meta: Meta = (("shape", list(value.shape)), ("columns", columns))
        try:
            _try(value.iloc[:_LOOKED_AT])
            table = table_of(value)
        except (NotExactError, ImportError):
            write_pickle(value, sink)
            return (*meta, ("pickled", True))
        write_table(table, sink)
        return meta

    def load(self, source: Source) -> Any:
        """Make the frame again."""
        if source.meta("pickled"):
            source.require_trust()
            return read_pickle(source.buffer())
        return _restored(*read_table(source))


def table_of(value: Any) -> Any:
    """Return a frame or series as a table, without copying numbers.

    Raises:
        NotExactError: The same would not come back.
    """
    import pyarrow as pa  # noqa: PLC0415

    series = not hasattr(value, "columns")
    frame = value.to_frame() if series else value
    about: dict[str, Any] = {"series": series, "attrs": frame.attrs, "columns": _labels(frame.columns)}
    arrays, about["index"] = _index_arrays(frame.index)
    names = [f"__index_{i}" for i in range(len(arrays))]
    kinds: list[str] = []
    for position, label in enumerate(frame.columns):
        array, kind = _array(frame.iloc[:, position])
        arrays.append(array)
        kinds.append(kind)
        names.append(str(label))
    about["kinds"] = kinds
    if series:
        about["name"] = value.name
    if not is_exact(about):
        raise NotExactError("something beside the columns")
    schema = pa.schema([pa.field(n, a.type) for n, a in zip(names, arrays, strict=True)], metadata={_KEY: json.dumps(about)})
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(column: pd.Series[Any]) -> tuple[Any, str]:
    """Return a column as an Arrow array, and how to get it back: ``raw`` numbers, ``object`` texts, or as pandas does."""
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    dtype = column.dtype
    try:
        if isinstance(dtype, np.dtype) and dtype.kind in _RAW and dtype.isnative and dtype.itemsize <= 8:  # noqa: PLR2004  (no long double)
            values = column.to_numpy(copy=False)
            if dtype.kind == "b":
                return pa.array(values), "raw:?"
            if dtype.kind in "mM":  # NaT stays the number it is
                unit = np.datetime_data(dtype)[0]
                return pa.array(values.view("i8")).view(pa.timestamp(unit) if dtype.kind == "M" else pa.duration(unit)), f"raw:{dtype.str}"
            return pa.array(values, from_pandas=False), f"raw:{dtype.str}"
        if dtype.kind == "O" and isinstance(dtype, np.dtype):
            return pa.array(column, type=pa.large_string(), from_pandas=True), _missing(column)
        return _one_chunk(pa.Array.from_pandas(column)), f"pandas:{dtype}"
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        raise NotExactError(str(error)) from error


def _one_chunk(array: Any) -> Any:
    return array.combine_chunks() if hasattr(array, "combine_chunks") else array


def _missing(column: pd.Series[Any]) -> str:
    """Return which object stands for missing texts in a column of texts.

    Raises:
        NotExactError: There is something else in it, or more than one such object.
    """
    gaps = set()
    for item in column.array:
        if type(item) is str:
            continue
        if item is None:
            gaps.add("None")
        elif type(item) is float and math.isnan(item):
            gaps.add("nan")
        else:
            raise NotExactError(f"an object of type {type(item).__name__}")
    if len(gaps) > 1:
        raise NotExactError("None beside NaN")
    return f"object:{next(iter(gaps), 'None')}"


def _labels(labels: pd.Index[Any]) -> dict[str, Any]:
    import pandas as pd  # noqa: PLC0415

    about: dict[str, Any] = {"name": labels.name}
    if type(labels) is pd.RangeIndex:
        return about | {"range": [labels.start, labels.stop, labels.step]}
    values = labels.tolist()
    if type(labels) is not pd.Index or not all(type(v) in _LABELS for v in values):
        raise NotExactError("column labels that are no numbers or texts")
    return about | {"values": values, "dtype": str(labels.dtype)}


def _index_arrays(index: pd.Index[Any]) -> tuple[list[Any], dict[str, Any]]:
    import pandas as pd  # noqa: PLC0415

    about: dict[str, Any] = {"name": index.name}
    if type(index) is pd.RangeIndex:
        return [], about | {"range": [index.start, index.stop, index.step]}
    if type(index) not in {pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex}:
        raise NotExactError(f"a {type(index).__name__}")
    array, kind = _array(index.to_series())
    freq = getattr(index, "freq", None)
    return [array], about | {"kind": kind, "freq": freq.freqstr if freq is not None else None}


# --- back ---------------------------------------------------------------------------------------------------------------------


def _restored(table: Any, view: memoryview | None) -> Any:
    import pandas as pd  # noqa: PLC0415

    about = json.loads(table.schema.metadata[_KEY])
    columns = table.columns
    if len(columns) != len(about["kinds"]) + ("kind" in about["index"]):
        raise ArtifactDamagedError(f"A data frame has {len(columns)} columns, and {len(about['kinds'])} were expected")
    index = _restored_index(columns, about["index"], view)
    arrays = [_values(c, kind, view) for c, kind in zip(columns[len(columns) - len(about["kinds"]) :], about["kinds"], strict=True)]
    if about["series"]:
        made: Any = pd.Series(arrays[0], index=index, name=about["name"], copy=False)
    else:
        made = pd.DataFrame(dict(enumerate(arrays)), index=index, copy=False)
        made.columns = _restored_labels(about["columns"])
    made.attrs.update(about["attrs"])
    return made


def _restored_index(columns: Sequence[Any], about: dict[str, Any], view: memoryview | None) -> Any:
    import pandas as pd  # noqa: PLC0415

    if "range" in about:
        return pd.RangeIndex(*about["range"], name=about["name"])
    made: Any = pd.Index(_values(columns[0], about["kind"], view), name=about["name"])
    if about["freq"] is not None:
        made.freq = about["freq"]
    return made


def _restored_labels(about: dict[str, Any]) -> Any:
    import pandas as pd  # noqa: PLC0415

    if "range" in about:
        return pd.RangeIndex(*about["range"], name=about["name"])
    return pd.Index(about["values"], dtype=about["dtype"], name=about["name"])


def _values(column: Any, kind: str, view: memoryview | None) -> Any:
    """Return a column as what pandas makes a column of."""
    how, _, what = kind.partition(":")
    if how == "raw":
        return _numbers(column, what, view)
    if how == "object":
        values = column.to_numpy(zero_copy_only=False).astype(object)
        if what == "nan" and column.null_count:
            values[[v is None for v in values]] = float("nan")
        return values
    from pandas.api.types import pandas_dtype  # noqa: PLC0415

    dtype: Any = pandas_dtype(what) if what != "category" else None
    if what in _MASKED:
        gaps = column.is_null().to_numpy(zero_copy_only=False)  # pandas itself would copy the numbers twice
        return dtype.construct_array_type()(_numbers(column, dtype.numpy_dtype.str, view), gaps)
    made = column.to_pandas(types_mapper=lambda _: dtype) if dtype is not None and hasattr(dtype, "__from_arrow__") else column.to_pandas()
    return made.array


def _numbers(column: Any, dtype: str, view: memoryview | None) -> Any:
    """Return a column of numbers over the memory it was read from, which may be written to; pyarrow's own arrays may not."""
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    if dtype == "?":
        return column.to_numpy(zero_copy_only=False).astype(bool, copy=False)
    wanted = np.dtype(dtype)
    if view is not None and column.num_chunks == 1 and len(column):
        chunk = column.chunk(0)
        data = chunk.buffers()[1]
        offset = data.address + chunk.offset * wanted.itemsize - pa.py_buffer(view).address
        if 0 <= offset <= len(view) - len(chunk) * wanted.itemsize:
            return np.frombuffer(view, wanted, len(chunk), offset)
    whole = column.combine_chunks()
    whole = whole.chunk(0) if hasattr(whole, "num_chunks") and whole.num_chunks else whole
    return np.array(
        whole.view(pa.from_numpy_dtype(wanted if wanted.kind not in "mM" else np.dtype("i8"))).to_numpy(zero_copy_only=False)
    ).view(wanted)


def _try(head: Any) -> None:
    """Make the first rows again, and see that they are the same in everything that pandas tells apart.

    Raises:
        NotExactError: They are not.
    """
    import pandas as pd  # noqa: PLC0415

    table = table_of(head)
    try:
        back = _restored(table, None)
        if back.ndim == 1:
            pd.testing.assert_series_equal(back, head, check_exact=True, check_index_type="exact")
        else:
            pd.testing.assert_frame_equal(back, head, check_exact=True, check_index_type="exact", check_column_type="exact")
    except Exception as error:
        raise NotExactError(str(error)) from error
