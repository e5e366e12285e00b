"""Which serializer writes which type. Names of types lead to it, so that no library is imported before a value of it turns up."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from flowbridge.artifacts.serializers.base import Meta, Serializer, Sink, Source
from flowbridge.artifacts.serializers.plain import KINDS
from flowbridge.errors import SerializationError, StoreError, suggest

GROUP = "flowbridge.serializers"
_HERE = "flowbridge.artifacts.serializers"
_PLACES = {
    "json": f"{_HERE}.plain:JsonSerializer",
    "text": f"{_HERE}.plain:TextSerializer",
    "bytes": f"{_HERE}.plain:BytesSerializer",
    "path": f"{_HERE}.files:PathSerializer",
    "numpy": f"{_HERE}.arrays:NumpySerializer",
    "pandas": f"{_HERE}.frames:PandasSerializer",
    "arrow": f"{_HERE}.tables:ArrowSerializer",
    "polars": f"{_HERE}.tables:PolarsSerializer",
    "torch": f"{_HERE}.tensors:TensorSerializer",
    "dataclass": f"{_HERE}.fields:DataclassSerializer",
    "pydantic": f"{_HERE}.fields:PydanticSerializer",
    "sklearn": f"{_HERE}.pickles:EstimatorSerializer",
    "pickle": f"{_HERE}.pickles:PickleSerializer",
}
_TYPES = {
    "builtins.str": "text",
    "builtins.bytes": "bytes",
    "builtins.bytearray": "bytes",
    "numpy.ndarray": "numpy",
    "numpy.memmap": "numpy",
    "pandas.DataFrame": "pandas",
    "pandas.core.frame.DataFrame": "pandas",
    "pandas.Series": "pandas",
    "pandas.core.series.Series": "pandas",
    "pyarrow.lib.Table": "arrow",
    "pyarrow.lib.RecordBatch": "arrow",
    "pyarrow.lib.ChunkedArray": "arrow",
    "polars.dataframe.frame.DataFrame": "polars",
    "polars.series.series.Series": "polars",
    "torch.Tensor": "torch",
}
_FORBIDDEN = frozenset({*_PLACES, "list"})
_made: dict[str, Serializer] = {}
_registered: dict[type, _Functions] = {}
_plugins: dict[str, str] | None = None


class _Functions:
    """A serializer made of two functions of a user's."""

    version = 1

    def __init__(self, name: str, save: Callable[[Any, IO[bytes]], object], load: Callable[[IO[bytes]], Any]) -> None:
        self.name = name
        self.save_to = save
        self.load_from = load

    def save(self, value: Any, sink: Sink) -> Meta:
        try:
            self.save_to(value, sink)  # type: ignore[arg-type]  # a sink is an open binary file
        except (SerializationError, StoreError, MemoryError):
            raise
        except Exception as error:
            raise SerializationError(
                f"the function that was registered to save it, for the format {self.name!r}, failed with {type(error).__name__}: {error}. "
                "It gets a file open for writing bytes one after the other; what has to seek can be made in an io.BytesIO first"
            ) from error
        return ()

    def load(self, source: Source) -> Any:
        with source.open() as file:
            return self.load_from(file)


def register_serializer(
    cls: type, save: Callable[[Any, IO[bytes]], object], load: Callable[[IO[bytes]], Any], *, name: str | None = None
) -> None:
    """Write values of a class (and of its subclasses) with functions of your own.

    Call it where the class is defined, so that it is known wherever a step with such values runs::

        register_serializer(Model, save=lambda m, file: m.write(file), load=Model.read)

    Args:
        cls: The class.
        save: Writes a value to an open binary file.
        load: Reads one from an open binary file.
        name: Of the format, as it stands in references; None: ``module.qualname`` of the class.

    Raises:
        SerializationError: The name is that of another format, or the class is one of those that stand in references as JSON.
        TypeError: It is no class, or these are no functions.
    """
    if not all((isinstance(cls, type), callable(save), callable(load))):
        raise TypeError(f"register_serializer takes a class and two functions, not {cls!r}, {save!r} and {load!r}")
    if cls in KINDS:
        raise SerializationError(
            f"Values of type {cls.__name__} are JSON where that holds them, whatever is registered; make a class of your own (it may be a "
            f"subclass of {cls.__name__}), and register that"
        )
    serializer = _Functions(name or f"{cls.__module__}.{cls.__qualname__}", save, load)
    taken = next((c for c, s in _registered.items() if s.name == serializer.name and _path(c) != _path(cls)), None)
    if serializer.name in _FORBIDDEN:
        raise SerializationError(f"The format {serializer.name!r} is flowbridge's own; give another name")
    if taken is not None:
        raise SerializationError(f"The format {serializer.name!r} is that of {_path(taken)} already; give another name")
    _registered[cls] = serializer
    _made[serializer.name] = serializer


def registered_in(module: str) -> list[tuple[Any, ...]]:
    """Return what a module registered, or registered for a class of its: the arguments of each call, for :func:`register_all` elsewhere."""
    calls = [(cls, made.save_to, made.load_from, made.name) for cls, made in _registered.items()]
    return [call for call in calls if module in {getattr(part, "__module__", None) for part in call[:3]}]


def register_all(calls: Iterable[tuple[Any, ...]]) -> None:
    """Register formats that came with code; one that goes by such a name here already stays."""
    for cls, save, load, name in calls:
        if name not in _made:
            register_serializer(cls, save, load, name=name)


def for_value(value: Any) -> Serializer:
    """Return the serializer that writes a value."""
    kind = type(value)
    for cls in kind.__mro__:
        if cls in _registered:
            return _registered[cls]
    if isinstance(value, Path):
        return by_name("path", 1)
    name = _TYPES.get(_path(kind)) or _family(value) or _plugin_for(kind) or "pickle"
    return by_name(name if _fits(name, value) else "pickle", 1)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _family(value: Any) -> str | None:
    """Return the format of a family of classes, told by what they have in common."""
    kind = type(value)
    if kind in {dict, list} or kind.__qualname__ == "OrderedDict":
        first = next(iter(value.values()), None) if isinstance(value, dict) else None
        return "torch" if type(first).__module__ == "torch" else "json"
    bases = [_path(cls) for cls in kind.__mro__]
    if "numpy.generic" in bases:
        return "numpy"
    if kind.__module__ == "pyarrow.lib" and "pyarrow.lib.Array" in bases:
        return "arrow"
    if "pydantic.main.BaseModel" in bases:
        return "pydantic"
    if "sklearn.base.BaseEstimator" in bases:
        return "sklearn"
    return "dataclass" if "__dataclass_fields__" in kind.__dict__ else None


def _fits(name: str, value: Any) -> bool:
    """Tell whether a format gives back exactly this value."""
    if name == "numpy":
        return bool(_module("arrays").is_plain(value))
    if name == "torch":
        tensors = _module("tensors")
        return bool(tensors.is_plain_state(value) if isinstance(value, dict) else tensors.is_plain_tensor(value))
    if name == "pydantic":
        return bool(_module("fields").is_plain_model(value))
    if name == "dataclass":
        return bool(_module("fields").is_plain_dataclass(value))
    if name == "json":
        return bool(_module("plain").is_exact(value))
    return True


def _module(name: str) -> Any:
    return importlib.import_module(f"{_HERE}.{name}")


def by_name(name: str, version: int) -> Serializer:
    """Return the serializer of a name.

    Raises:
        SerializationError: None goes by that name here, or only an older version of it.
    """
    found = _made.get(name) or _load(name)
    if found.version < version:
        raise SerializationError(
            f"The value was written in version {version} of the format {name!r}, and what is installed here knows up to {found.version}. "
            "Install the newer version"
        )
    return found


def _load(name: str) -> Serializer:
    place = _PLACES.get(name) or _known_plugins().get(name)
    if place is None:
        raise SerializationError(
            f"No serializer goes by the name {name!r} here. Import the module that registers it (usually that of the class), "
            f"or install the package that brings it.{suggest(name, [*_PLACES, *_known_plugins()])}"
        )
    module, _, attribute = place.partition(":")
    made = getattr(importlib.import_module(module), attribute)
    _made[name] = made() if isinstance(made, type) else made
    return _made[name]


def _known_plugins() -> dict[str, str]:
    """Return the places of the serializers that installed packages bring, by name.

    Raises:
        SerializationError: Two packages bring one name.
    """
    global _plugins
    if _plugins is None:
        found: dict[str, str] = {}
        for point in metadata.entry_points(group=GROUP):
            if point.name in _FORBIDDEN or found.get(point.name, point.value) != point.value:
                raise SerializationError(
                    f"Two serializers go by the name {point.name!r}: {found.get(point.name, 'flowbridge')} and {point.value}"
                )
            found[point.name] = point.value
        _plugins = found
    return _plugins


def _plugin_for(kind: type) -> str | None:
    """Return the name of an installed serializer for a class: it lists the classes it writes, as ``module.qualname``, in `types`."""
    bases = {_path(cls) for cls in kind.__mro__}
    for name in _known_plugins():
        found = _made.get(name) or _load(name)
        if bases & set(getattr(found, "types", ())):
            return name
    return None
