"""Dataclasses and pydantic models field by field, each field in the format of its own type: arrays inside are mapped, pickles are rare."""

from __future__ import annotations

import collections
import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source, class_of, class_path, is_importable, titled
from flowbridge.artifacts.serializers.plain import is_tangled
from flowbridge.errors import ArtifactDamagedError

_OWN_WAYS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")


def is_plain_dataclass(value: Any) -> bool:
    """Tell whether a dataclass is its fields and nothing else, and its class can be imported elsewhere."""
    import dataclasses  # noqa: PLC0415

    cls = type(value)
    if not is_importable(cls) or isinstance(value, (tuple, list, dict, set, Exception)):
        return False
    if any(getattr(cls, way, None) is not getattr(object, way, None) for way in _OWN_WAYS if not _of_dataclass(cls, way)):
        return False
    names = {f.name for f in dataclasses.fields(value)}
    return set(getattr(value, "__dict__", {})) <= names and all(hasattr(value, n) for n in names) and not is_tangled(value)


def _of_dataclass(cls: type, way: str) -> bool:
    """Tell whether a method was made by `dataclass(slots=True, frozen=True)` itself."""
    return getattr(getattr(cls, way, None), "__module__", None) == "dataclasses"


class DataclassSerializer:
    """Dataclasses. They come back as they were, without ``__init__`` and ``__post_init__``, as from a pickle."""

    name = "dataclass"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Save each field."""
        import dataclasses  # noqa: PLC0415

        kept = {f.name: sink.save(getattr(value, f.name), f"field {f.name!r}") for f in dataclasses.fields(value)}
        sink.write(json.dumps(kept, separators=(",", ":")).encode())
        return (class_path(value), ("fields", list(kept)))

    def load(self, source: Source) -> Any:
        """Load each field."""
        import dataclasses  # noqa: PLC0415

        cls: Any = class_of(source)
        if "__dataclass_fields__" not in cls.__dict__:
            raise ArtifactDamagedError(f"A dataclass is said to be of the class {cls.__qualname__}, which is none")
        body = json.loads(source.manifest())
        _check_names(source, body, {f.name for f in dataclasses.fields(cls)})
        hints = _hints(cls)
        value = cls.__new__(cls)
        for name, kept in body.items():
            object.__setattr__(value, name, source.load(kept, hints.get(name)))
        return value


class PydanticSerializer:
    """pydantic models: by their own JSON where that gives back an equal model, else field by field."""

    name = "pydantic"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write JSON, or save each field."""
        text = exact_json(value)
        if text is not None:
            sink.write(text.encode())
            return (class_path(value),)
        fields = {n: v for n, v in value.__dict__.items() if n in type(value).model_fields}
        paths = {n: _names(v) for n, v in fields.items() if _is_name(v)}
        kept = {n: sink.save(v, f"field {n!r}") for n, v in fields.items() if n not in paths}
        body = {"fields": kept, "set": sorted(value.model_fields_set)} | ({"paths": paths} if paths else {})
        if value.__pydantic_extra__:
            body["extra"] = sink.save(dict(value.__pydantic_extra__), "the extra fields")
        sink.write(json.dumps(body, separators=(",", ":")).encode())
        return (class_path(value), ("fields", list(kept)))

    def load(self, source: Source) -> Any:
        """Validate the JSON with the class, or load each field; those were validated when the model was made."""
        cls: Any = class_of(source)
        if not hasattr(cls, "__pydantic_fields__"):
            raise ArtifactDamagedError(f"A pydantic model is said to be of the class {cls.__qualname__}, which is none")
        if source.meta("fields") is None:
            return cls.model_validate_json(source.read())
        hints = _hints(cls)
        body = json.loads(source.manifest())
        paths = body.get("paths", {})
        _check_names(source, [*body["fields"], *paths], set(cls.model_fields))
        found = {name: source.load(kept, hints.get(name)) for name, kept in body["fields"].items()}
        found |= {name: _paths(names) for name, names in paths.items()}
        fields = {name: found.pop(name) for name in cls.model_fields if name in found} | found
        value = cls.model_construct(_fields_set=set(body["set"]), **fields)
        object.__setattr__(value, "__dict__", fields)
        if "extra" in body:
            object.__setattr__(value, "__pydantic_extra__", source.load(body["extra"]))
        return value


def _check_names(source: Source, given: Iterable[str], known: set[str]) -> None:
    """Refuse what is no field of the class, where the store is not trusted: it could stand in the way of methods, or be meant for setters.

    Raises:
        ArtifactDamagedError: There is such a name.
    """
    unknown = [] if source.trusted else sorted(set(given) - known)
    if unknown:
        raise ArtifactDamagedError(f"{titled(source.ref)} has values for {unknown[0]!r}, which is no field of its class")


def is_plain_model(value: Any) -> bool:
    """Tell whether a model is its fields and nothing else, and its class can be imported elsewhere."""
    cls = type(value)
    own = [
        cls.__dict__
        for cls in cls.__mro__
        if cls.__module__.partition(".")[0] not in {"pydantic", "builtins", "typing", "pydantic_settings"}
    ]
    if not is_importable(cls) or any(way in d for d in own for way in _OWN_WAYS):
        return False
    return "__root__" not in value.__dict__ and _has_nothing_private(value) and not is_tangled(value)


def _has_nothing_private(value: Any) -> bool:
    """Tell whether the private attributes of a model are those that a new one has: nothing."""
    private = value.__pydantic_private__ or {}
    return all(v is None and type(value).__private_attributes__[n].default is None for n, v in private.items())


def _is_name(value: Any) -> bool:
    """Tell whether a field is a path, or some. In a model these are names, as in its JSON; not the files that stand there."""
    paths = value if type(value) is list and value else [value]
    return all(type(path) is type(Path()) for path in paths)


def _names(value: Any) -> Any:
    return [str(path) for path in value] if isinstance(value, list) else str(value)


def _paths(names: Any) -> Any:
    return [Path(name) for name in names] if isinstance(names, list) else Path(names)


def exact_json(value: Any) -> str | None:
    """Return a model as JSON where an equal model comes back from it; None otherwise."""
    import warnings  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pydantic warns where it leaves something out
            text: str = value.model_dump_json(round_trip=True)
        back = type(value).model_validate_json(text)
        same = back == value and _same(back, value)
    except Exception:  # noqa: BLE001  (a model may raise anything, and so may comparing what is in it: field by field it is, then)
        return None
    return text if same else None


def _same(one: Any, other: Any) -> bool:
    """Tell whether two equal values are the same all through: 1, 1.0 and True are equal, and so are times of different zones."""
    if type(one) is not type(other):
        return False
    if hasattr(one, "model_fields_set"):
        same = one.model_fields_set == other.model_fields_set and one.__pydantic_private__ == other.__pydantic_private__
        return same and all(_same(v, other.__dict__[n]) for n, v in one.__dict__.items())
    if hasattr(one, "__dataclass_fields__"):
        return all(_same(getattr(one, n), getattr(other, n)) for n in one.__dataclass_fields__)
    if isinstance(one, (dt.datetime, dt.time)):
        return type(one.tzinfo) is type(other.tzinfo) and str(one.tzinfo) == str(other.tzinfo) and one.fold == other.fold
    return _same_items(one, other)


def _same_items(one: Any, other: Any) -> bool:
    """Tell that of two equal collections, which may have more to them than their items."""
    if any(getattr(one, more, None) != getattr(other, more, None) for more in ("default_factory", "maxlen")):
        return False
    if isinstance(one, dict):
        return all(_same(a, b) for a, b in zip((*one, *one.values()), (*other, *other.values()), strict=True))
    if isinstance(one, (set, frozenset)):
        twins = {item: item for item in other}
        return all(_same(item, twins[item]) for item in one)
    if isinstance(one, (list, tuple, collections.deque)):
        return all(_same(a, b) for a, b in zip(one, other, strict=True))
    return True


def _hints(cls: type) -> dict[str, Any]:
    from typing import get_type_hints  # noqa: PLC0415

    try:
        return get_type_hints(cls)
    except Exception:  # noqa: BLE001  (annotations may name what is not there at run time; they are only hints)
        return {}
