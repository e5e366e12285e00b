"""numpy arrays in numpy's own ``.npy`` format: mapped when they are loaded, never copied whole when they are saved."""

from __future__ import annotations

import io
import math
import struct
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 8 << 20
_ALIGN = 64
_PAGE = 4096
_LARGE = 1 << 20
_HEAD = 64 << 10
_LONGEST_DESCR = 6000
"""Characters that a dtype takes in a header at most: numpy refuses to read one of 10,000."""


def is_plain(value: Any) -> bool:
    """Tell whether the format gives back exactly this array or scalar: no objects, no dtypes of other libraries, nothing attached."""
    dtype = value.dtype
    return _is_plain_dtype(dtype) and (hasattr(value, "__array_finalize__") or type(value) is dtype.type)


def _is_plain_dtype(dtype: Any) -> bool:
    if dtype.isbuiltin == 1 and dtype.kind in "biufc" and not dtype.metadata:  # nearly all: the rest takes as long as a small array
        return True
    from numpy.lib import format as npy  # noqa: PLC0415

    if dtype.hasobject or dtype.kind not in "biufcSUVmM" or _has_metadata(dtype):
        return False
    try:
        descr = npy.dtype_to_descr(dtype)
        back = npy.descr_to_dtype(descr)
    except (TypeError, ValueError):
        return False
    return bool(
        back == dtype
        and repr(back) == repr(dtype)  # equal dtypes may be aligned or not, and have records or not
        and (dtype.kind != "V" or dtype.names is not None or type(dtype).__module__ == "numpy.dtypes")
        and (text := repr(descr)).isascii()  # numpy reads a header of this version as Latin-1
        and len(text) <= _LONGEST_DESCR
    )


def _has_metadata(dtype: Any) -> bool:
    inner = [dtype.base] if dtype.subdtype else [field[0] for field in (dtype.fields or {}).values()]
    return bool(dtype.metadata) or any(map(_has_metadata, inner))


class NumpySerializer:
    """Arrays of any dtype but object, in C or Fortran order, and scalars of numpy."""

    name = "numpy"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write header and data; an array that is not contiguous goes through a buffer of 8 MiB."""
        import numpy as np  # noqa: PLC0415

        scalar = isinstance(value, np.generic)
        array = np.asarray(value)
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        sink.write(_header(array, fortran=fortran))
        write_array(array.T if fortran else array, sink)
        meta: Meta = (("shape", list(array.shape)), ("dtype", str(array.dtype)))
        return (*meta, ("scalar", True)) if scalar else meta

    def load(self, source: Source) -> Any:
        """Return an array over the file; writing to it changes the copy in memory only."""
        array = read_array(source.buffer())
        return array[()] if source.meta("scalar") else array


def write_array(array: np.ndarray[Any, Any], sink: Sink) -> None:
    """Write the data of an array in C order."""
    import numpy as np  # noqa: PLC0415

    if not array.nbytes:
        return
    if array.flags.c_contiguous:
        sink.lend(memoryview(array.reshape(-1).view(np.uint8)))
        return
    size = max(_CHUNK // array.itemsize, 1)
    for chunk in np.nditer(array, flags=["external_loop", "buffered", "zerosize_ok"], buffersize=size, order="C"):
        sink.write(memoryview(np.ascontiguousarray(chunk).view(np.uint8)))


def read_array(view: memoryview) -> np.ndarray[Any, Any]:
    """Return the array that bytes hold, over the same memory.

    Raises:
        ValueError: The header tells of more data than there is, or of objects.
    """
    import numpy as np  # noqa: PLC0415
    from numpy.lib import format as npy  # noqa: PLC0415

    head = io.BytesIO(bytes(view[:_HEAD]))
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(head)]
    shape, fortran, dtype = read(head)
    count = math.prod(shape)
    if dtype.hasobject or count * dtype.itemsize != len(view) - head.tell():
        raise ValueError(f"the header tells of an array {dtype}{list(shape)}, and {len(view) - head.tell()} bytes follow")
    if not count or not dtype.itemsize:
        return np.ndarray(
            shape, dtype, bytearray(), order="F" if fortran else "C"
        )  # not `empty`: it gives texts of no length one byte each
    array: np.ndarray[Any, Any] = np.frombuffer(view, dtype=dtype, offset=head.tell())
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def _header(array: np.ndarray[Any, Any], *, fortran: bool) -> bytes:
    """Return a header of numpy's format, long enough that the data of a large array begin at a page of memory."""
    from numpy.lib import format as npy  # noqa: PLC0415

    shown = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": bool(fortran), "shape": array.shape}
    text = repr(shown).encode("ascii")
    fixed = len(npy.magic(2, 0)) + 4
    length = fixed + len(text) + 1
    length += -length % (_PAGE if array.nbytes >= _LARGE else _ALIGN)
    return bytes(npy.magic(2, 0)) + struct.pack("<I", length - fixed) + text.ljust(length - fixed - 1) + b"\n"
