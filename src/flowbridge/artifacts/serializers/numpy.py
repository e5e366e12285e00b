"""numpy arrays in numpy's own ``.npy`` format: mapped when they are loaded, never copied whole when they are saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source, WholeSerializer

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 8 << 20


class NumpySerializer(WholeSerializer):
    """Arrays of any dtype but object, in C or Fortran order."""

    name = "numpy"
    version = 1

    def save(self, value: np.ndarray[Any, Any], sink: Sink) -> Meta:
        """Write header and data; an array that is not contiguous goes through a buffer of 8 MiB."""
        import numpy as np  # noqa: PLC0415
        from numpy.lib import format as npy  # noqa: PLC0415

        npy.write_array_header_2_0(sink, npy.header_data_from_array_1_0(value))
        data = value.T if value.flags.f_contiguous and not value.flags.c_contiguous else value
        if data.flags.c_contiguous:
            if data.nbytes:
                sink.write(memoryview(data.reshape(-1).view(np.uint8)))
        else:
            size = max(_CHUNK // max(data.itemsize, 1), 1)
            for chunk in np.nditer(data, flags=["external_loop", "buffered", "zerosize_ok"], buffersize=size, order="C"):
                sink.write(np.ascontiguousarray(chunk).tobytes())
        return (("shape", list(value.shape)), ("dtype", str(value.dtype)))

    def load(self, source: Source) -> np.ndarray[Any, Any]:
        """Return an array over the file; writing to it changes the copy in memory only."""
        import io  # noqa: PLC0415

        import numpy as np  # noqa: PLC0415
        from numpy.lib import format as npy  # noqa: PLC0415

        view = source.buffer()
        head = io.BytesIO(bytes(view[: 64 << 10]))
        npy.read_magic(head)
        shape, fortran, dtype = npy.read_array_header_2_0(head)
        count = int(np.prod(shape, dtype=np.int64))
        array: np.ndarray[Any, Any] = np.frombuffer(view, dtype=dtype, count=count, offset=head.tell()) if count else np.empty(0, dtype)
        return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
