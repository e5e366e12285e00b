"""cloudpickle's pickler, with better ways for values that it copies, changes or takes too much of; and what in a value it cannot write."""

from __future__ import annotations

import collections
import functools
import io
import pickle
import reprlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import SecretBytes, SecretStr

_DEEPEST = 10


def pickler(file: Any, buffer_callback: Callable[[pickle.PickleBuffer], object]) -> Any:
    """Return a pickler of protocol 5, with better ways for values of libraries that were imported."""
    return _kind("torch" in sys.modules, "pyarrow" in sys.modules)(file, protocol=5, buffer_callback=buffer_callback)


@functools.cache
def _kind(tensors: bool, tables: bool) -> Any:  # noqa: FBT001  (private: which libraries are there)
    import cloudpickle  # noqa: PLC0415  (half of all values do without)

    base = _tensors_too(cloudpickle.Pickler) if tensors else cloudpickle.Pickler
    ways: dict[type, Any] = {
        io.TextIOWrapper: functools.partial(_reduce_file, base.dispatch_table[io.TextIOWrapper]),
        memoryview: _reduce_view,
        SecretStr: _refuse_secret,
        SecretBytes: _refuse_secret,
    }
    if tables:
        from flowbridge.artifacts.serializers.tables import reducers  # noqa: PLC0415  (only where pyarrow is)

        ways |= reducers()
    own, *others = base.dispatch_table.maps  # one more map to look in would cost every object of every pickle
    return type("Pickler", (base,), {"dispatch_table": collections.ChainMap({**own, **ways}, *others)})


def _reduce_file(otherwise: Callable[[Any], Any], file: Any) -> Any:
    """Refuse an open file: cloudpickle would make a text in memory of it."""
    if file in {sys.stdout, sys.stderr}:
        return otherwise(file)
    raise TypeError(f"cannot pickle the open file {file.name!r}")


def _refuse_secret(value: Any) -> Any:
    """Refuse what pydantic keeps out of texts and logs: whoever reads the store would have it in plain text."""
    raise TypeError(
        f"a {type(value).__name__} is a secret, and values are written to the store. "
        "Give it to the steps that need it: @step(secrets={'VARIABLE': 'name/key'})"
    )


def _reduce_view(view: memoryview) -> Any:
    """Keep a view a view: cloudpickle would make bytes of it."""
    return view_of, (pickle.PickleBuffer(view) if view.c_contiguous else view.tobytes(), view.format, view.shape)


def view_of(data: Any, kind: str, shape: tuple[int, ...]) -> memoryview:
    """Return what :func:`pickler` took apart."""
    flat = memoryview(data).cast("B")
    return flat if (kind, len(shape)) == ("B", 1) else flat.cast(kind, shape)  # type: ignore[call-overload]


def _tensors_too(pickler: Any) -> Any:
    """Return a pickler that leaves the data of tensors beside the pickle; PyTorch itself copies them into it, twice."""
    from flowbridge.artifacts.serializers.tensors import Memory, reduce_tensor  # noqa: PLC0415  (only where torch is)

    class Pickler(pickler):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.memories: dict[int, Memory] = {}

        def reducer_override(self, value: Any) -> Any:
            if type(value).__module__ == "torch" and type(value).__qualname__ == "Tensor":
                made = reduce_tensor(value, self.memories)
                if made is not NotImplemented:
                    return made
            return super().reducer_override(value)

    return Pickler


# --- what cannot be pickled ---------------------------------------------------------------------------------------------------


class _Nowhere:
    """A file that keeps nothing: whether a value can be pickled is found out without memory for it."""

    def write(self, data: Any) -> int:
        return len(data)


def culprit(value: Any, above: tuple[int, ...] = ()) -> str | None:
    """Return where in a value that cannot be pickled the trouble lies, such as ``.session (a socket)``; None where that is not found."""
    for place, part in _inside(value):
        if id(part) in above:
            continue
        try:
            pickler(_Nowhere(), lambda _: False).dump(part)
        except Exception:  # noqa: BLE001  (that it cannot be pickled is what is looked for)
            deeper = culprit(part, (*above, id(value))) if len(above) < _DEEPEST else None
            return f"{place}{deeper}" if deeper else f"{place} (of type {type(part).__module__}.{type(part).__qualname__})"
    return None


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"[{reprlib.repr(k)}]", v) for k, v in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{i}]", v) for i, v in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from (("{...}", v) for v in value)
    elif hasattr(value, "flat") and value.dtype.hasobject:
        yield from ((f".flat[{i}]", v) for i, v in enumerate(value.flat))
    if isinstance(value, type):
        return
    slots = [name for cls in type(value).__mro__ for name in cls.__dict__.get("__slots__", ()) if isinstance(name, str)]
    yield from ((f".{k}", getattr(value, k)) for k in slots if hasattr(value, k) and k not in {"__dict__", "__weakref__"})
    yield from ((f".{k}", v) for k, v in getattr(value, "__dict__", {}).items())
