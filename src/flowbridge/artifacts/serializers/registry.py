"""Which serializer writes which type. Names of types lead to it, so that no library is imported before a value of it turns up."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from flowbridge.artifacts.serializers.base import Meta, Serializer, Sink, Source, WholeSerializer, type_name
from flowbridge.artifacts.serializers.json import is_exact
from flowbridge.errors import SerializationError, suggest

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store

_HERE = "flowbridge.artifacts.serializers"
_PLACES = {
    "json": f"{_HERE}.json:JsonSerializer",
    "bytes": f"{_HERE}.json:BytesSerializer",
    "path": f"{_HERE}.files:PathSerializer",
    "numpy": f"{_HERE}.numpy:NumpySerializer",
    "pandas": f"{_HERE}.arrow:PandasSerializer",
    "arrow": f"{_HERE}.arrow:ArrowSerializer",
    "polars": f"{_HERE}.arrow:PolarsSerializer",
    "pydantic": f"{_HERE}.pydantic:PydanticSerializer",
    "pickle": f"{_HERE}.pickle:PickleSerializer",
}
_TYPES = {
    "numpy.ndarray": "numpy",
    "numpy.memmap": "numpy",
    "pandas.DataFrame": "pandas",
    "pandas.core.frame.DataFrame": "pandas",
    "pyarrow.lib.Table": "arrow",
    "pyarrow.lib.RecordBatch": "arrow",
    "polars.dataframe.frame.DataFrame": "polars",
    "polars.series.series.Series": "polars",
}
_GROUP = "flowbridge.serializers"
_made: dict[str, Serializer] = {}
_registered: dict[type, Serializer] = {}


class _Functions(WholeSerializer):
    """A serializer made of two functions of a user's."""

    version = 1

    def __init__(self, name: str, save: Callable[[Any, BinaryIO], object], load: Callable[[BinaryIO], Any]) -> None:
        self.name = name
        self._save = save
        self._load = load

    def save(self, value: Any, sink: Sink) -> Meta:
        self._save(value, sink)  # type: ignore[arg-type]  # a sink has what writers of files use
        return ()

    def load(self, source: Source) -> Any:
        with source.path().open("rb") as file:
            return self._load(file)


def register_serializer(
    cls: type, save: Callable[[Any, BinaryIO], object], load: Callable[[BinaryIO], Any], *, name: str | None = None
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
        SerializationError: The name is that of another format.
    """
    serializer = _Functions(name or f"{cls.__module__}.{cls.__qualname__}", save, load)
    if serializer.name in _PLACES or serializer.name == "list":
        raise SerializationError(f"The format {serializer.name!r} is flowbridge's own; give another name")
    _registered[cls] = serializer
    _made[serializer.name] = serializer


def for_value(value: Any) -> Serializer:
    """Return the serializer that writes a value."""
    for cls in type(value).__mro__:
        if cls in _registered:
            return _registered[cls]
    if is_exact(value):
        return by_name("json", 1)
    if type(value) is bytes:
        return by_name("bytes", 1)
    if isinstance(value, Path):
        return by_name("path", 1)
    return by_name(_by_type(value), 1)


def _by_type(value: Any) -> str:
    name = _TYPES.get(type_name(value), "pickle")
    if name == "numpy" and (value.dtype.hasobject or not all(n.isascii() for n in value.dtype.names or ())):
        return "pickle"
    if name == "pandas":
        return "pandas" if importlib.import_module(f"{_HERE}.arrow").pandas_is_exact(value) else "pickle"
    if name == "pickle" and hasattr(type(value), "model_validate_json"):
        return "pydantic" if importlib.import_module(f"{_HERE}.pydantic").is_exact_model(value) else "pickle"
    return name


def by_name(name: str, version: int) -> Serializer:
    """Return the serializer of a name.

    Raises:
        SerializationError: None goes by that name here, or only an older version of it.
    """
    found = _made.get(name) or _load(name)
    if found.version < version:
        raise SerializationError(
            f"The value was written in version {version} of the format {name!r}; this flowbridge knows up to {found.version}"
        )
    return found


def _load(name: str) -> Serializer:
    place = _PLACES.get(name)
    if place is not None:
        module, _, attribute = place.partition(":")
        _made[name] = getattr(importlib.import_module(module), attribute)()
        return _made[name]
    for point in metadata.entry_points(group=_GROUP):
        if point.name == name:
            _made[name] = point.load()()
            return _made[name]
    raise SerializationError(
        f"No serializer goes by the name {name!r} here. Import the module that registers it, or install the package that brings it."
        f"{suggest(name, _PLACES)}"
    )


def is_special(value: Any) -> bool:
    """Tell whether a value (or one inside a list) is written in a format of its own, not in a pickle with its neighbours."""
    if type(value) is list:
        return any(is_special(v) for v in value)
    return isinstance(value, Path) or any(c in _registered for c in type(value).__mro__) or type_name(value) in _TYPES


def small_pickle(values: list[Any], limit: int) -> bytes | None:
    """Return a pickle of some values together; None where it would be larger than the limit, or they cannot be pickled."""
    import cloudpickle  # noqa: PLC0415

    try:
        data = cloudpickle.dumps(values, protocol=5)
    except Exception:  # noqa: BLE001  (saving item by item then names the one)
        return None
    return data if len(data) <= limit else None


def load_small_pickle(store: Store, data: bytes) -> list[Any]:
    """Return the values of :func:`small_pickle`.

    Raises:
        UntrustedError: The store is not trusted.
    """
    import pickle  # noqa: PLC0415

    from flowbridge.artifacts.reference import Reference  # noqa: PLC0415

    Source(store, Reference(digest="", size=len(data), serializer="pickle", type="list"), None).require_trust()
    return list(pickle.loads(data))


def fresh(value: Any) -> Any:
    """Return a copy of a value that is kept for others, so that nobody changes theirs."""
    if type(value) in {int, str, float, bool, type(None), bytes}:
        return value
    import copy  # noqa: PLC0415

    return copy.deepcopy(value)
