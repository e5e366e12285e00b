"""What annotations say: resolved where possible, and taken apart into outputs, fields and items."""

from __future__ import annotations

import ast
import builtins
import collections.abc
import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from flowbridge.ir.ports import SINGLE, OutputKind

UNKNOWN: Any = Any
_MAX_SHOWN = 80


class _Missing:
    """Stands for a name in an annotation that cannot be found (imported under TYPE_CHECKING only, say); fits everything."""

    def __getattr__(self, name: str) -> _Missing:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> _Missing:
        return self

    def __or__(self, other: object) -> Any:
        return UNKNOWN

    __ror__ = __or__

    def __call__(self, *_: object, **__: object) -> _Missing:
        return self


_MISSING = _Missing()


class _Names(dict[str, Any]):
    """Names visible in an annotation; unknown ones stand for anything."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, _MISSING)


def names_in(function: Callable[..., Any]) -> set[str]:
    """Return the identifiers that a function's annotations, where they are text, are made of."""
    found: set[str] = set()
    for text in getattr(function, "__annotations__", {}).values():
        if isinstance(text, str):
            found.update(_identifiers(text))
    return found


def _identifiers(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return
    yield from (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def resolve(function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function's annotations as types; what cannot be found becomes `UNKNOWN`.

    Args:
        function: Any function; wrappers are looked through.
        names: Names of the place where it was defined, for functions inside functions.
    """
    plain = inspect.unwrap(function)
    raw = dict(getattr(plain, "__annotations__", {}))
    try:
        return get_type_hints(plain, localns=dict(names) or None, include_extras=True)
    except Exception:  # noqa: BLE001  (evaluating annotations runs code of any kind; each is tried alone below)
        space = _Names({**getattr(plain, "__globals__", {}), **names})
        return {name: _evaluate(hint, space) for name, hint in raw.items()}


def _evaluate(hint: Any, space: _Names) -> Any:
    if not isinstance(hint, str):
        return type(None) if hint is None else hint
    try:
        found = eval(hint, {"__builtins__": {}}, space)  # noqa: S307  (the user's own annotation, as typing.get_type_hints does)
    except Exception:  # noqa: BLE001  (an annotation that cannot be evaluated says nothing)
        return UNKNOWN
    return type(None) if found is None else found


def plain(annotation: Any) -> Any:
    """Return an annotation without Annotated, NewType and type aliases; `UNKNOWN` for what says nothing."""
    for _ in range(20):
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif isinstance(annotation, _Missing) or annotation in (inspect.Parameter.empty, object):
            return UNKNOWN
        elif annotation is None:
            return type(None)
        elif isinstance(annotation, typing.TypeVar):
            annotation = annotation.__bound__ or UNKNOWN
        else:
            vague = get_origin(annotation) in (Union, types.UnionType) and any(plain(part) is UNKNOWN for part in get_args(annotation))
            return UNKNOWN if vague else annotation
    return UNKNOWN


def class_of(annotation: Any) -> type | None:
    """Return the class of an annotation, if it names exactly one."""
    annotation = plain(annotation)
    origin = get_origin(annotation)
    found = origin if isinstance(origin, type) else annotation
    return found if isinstance(found, type) and found is not types.UnionType else None


def is_named_tuple(cls: object) -> bool:
    """Tell NamedTuple classes from other tuples."""
    return isinstance(cls, type) and issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)


def fields_of(annotation: Any) -> dict[str, Any] | None:
    """Return the fields and their types of a NamedTuple or dataclass; None for anything else, and for dataclasses that are more than their fields."""
    cls = class_of(annotation)
    if cls is None:
        return None
    names = names_of_fields(cls)
    hints = _class_hints(cls) if names else {}
    return {name: hints.get(name, UNKNOWN) for name in names} or None


@functools.lru_cache(maxsize=256)
def names_of_fields(cls: type) -> tuple[str, ...]:
    """Return the names of the fields of a NamedTuple or dataclass; none of any other class, and of dataclasses that are more than their fields."""
    if is_named_tuple(cls):
        return tuple(cls._fields)  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(cls) and _made_of_fields(cls):
        return tuple(f.name for f in dataclasses.fields(cls))
    return ()


def _made_of_fields(cls: Any) -> bool:
    """Tell whether an object made anew from the fields of another is the same."""
    if hasattr(cls, "__post_init__"):
        return False
    return list(inspect.signature(cls).parameters) == [f.name for f in dataclasses.fields(cls)]


def _class_hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except Exception:  # noqa: BLE001  (see resolve)
        found: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            space = _Names(vars(sys.modules.get(base.__module__, builtins)))
            found.update({n: _evaluate(h, space) for n, h in vars(base).get("__annotations__", {}).items()})
        return found


def tuple_items(annotation: Any) -> tuple[Any, ...] | None:
    """Return the types in ``tuple[A, B]`` or of a NamedTuple; None where the length is not known."""
    annotation = plain(annotation)
    if is_named_tuple(class_of(annotation)):
        return tuple((fields_of(annotation) or {}).values())
    if get_origin(annotation) is not tuple:
        return None
    items = get_args(annotation)
    if not items or Ellipsis in items or items == ((),):
        return None
    return items


@dataclass(frozen=True)
class Outputs:
    """What a step returns, taken apart.

    Attributes:
        kind: How the return value splits.
        types: Name and annotation of each output.
        annotation: Of the whole.
    """

    kind: OutputKind
    types: tuple[tuple[str, Any], ...]
    annotation: Any


def outputs_of(annotation: Any) -> Outputs:
    """Return the outputs that a return annotation stands for."""
    bare = plain(annotation)
    if bare is type(None) or bare is None:
        return Outputs("none", (), type(None))
    fields = fields_of(bare)
    if fields is not None:
        return Outputs("fields", tuple(fields.items()), bare)
    items = tuple_items(bare)
    if items is not None:
        return Outputs("tuple", tuple((f"output_{i}", item) for i, item in enumerate(items)), bare)
    return Outputs("single", ((SINGLE, annotation),), annotation)


def attribute_type(annotation: Any, name: str) -> Any:
    """Return the type of an attribute, `UNKNOWN` where it cannot be told."""
    fields = fields_of(annotation)
    if fields and name in fields:
        return fields[name]
    cls = class_of(annotation)
    if cls is None:
        return UNKNOWN
    model = getattr(cls, "model_fields", None)
    if isinstance(model, Mapping) and name in model:
        return model[name].annotation
    return _class_hints(cls).get(name, UNKNOWN) if cls.__module__ != "builtins" else UNKNOWN


def missing_attribute(annotation: Any, name: str) -> list[str] | None:
    """Return the names that there are, if an attribute certainly is not among them; None if it may be there."""
    fields = fields_of(annotation)
    cls = class_of(annotation)
    if not fields or cls is None or name in fields or hasattr(cls, name):
        return None
    if hasattr(cls, "__getattr__"):
        return None
    return list(fields)


def item_type(annotation: Any, key: object) -> Any:
    """Return the type of ``value[key]``, `UNKNOWN` where it cannot be told."""
    items = tuple_items(annotation)
    if items is not None and isinstance(key, int) and -len(items) <= key < len(items):
        return items[key]
    bare = plain(annotation)
    origin, arguments = get_origin(bare), get_args(bare)
    if isinstance(bare, type) and typing.is_typeddict(bare) and isinstance(key, str):
        return _class_hints(bare).get(key, UNKNOWN)
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping) and len(arguments) == 2:  # noqa: PLR2004  (key and value)
        return arguments[1]
    if isinstance(origin, type) and issubclass(origin, collections.abc.Sequence) and arguments:
        return arguments[0]
    return UNKNOWN


def element_type(annotation: Any) -> Any:
    """Return the type of what one gets by going through a value, `UNKNOWN` where it cannot be told."""
    bare = plain(annotation)
    if tuple_items(bare) is not None:
        return UNKNOWN
    origin, arguments = get_origin(bare), get_args(bare)
    if bare in (str, bytes):
        return bare if bare is str else int
    if isinstance(origin, type) and issubclass(origin, collections.abc.Iterable) and arguments:
        return arguments[0]
    return UNKNOWN


def union_of(annotations: list[Any]) -> Any:
    """Return one annotation for a value that has one of several."""
    distinct: list[Any] = []
    for annotation in annotations:
        if plain(annotation) is UNKNOWN:
            return UNKNOWN
        if annotation not in distinct:
            distinct.append(annotation)
    if not distinct:
        return UNKNOWN
    try:
        return distinct[0] if len(distinct) == 1 else Union[tuple(distinct)]  # noqa: UP007  (made at run time)
    except TypeError:  # something in an annotation that is no type
        return UNKNOWN


def show(annotation: Any) -> str:
    """Return an annotation as people write it."""
    if annotation is UNKNOWN or isinstance(annotation, _Missing) or annotation is inspect.Parameter.empty:
        return "Any"
    if annotation is type(None) or annotation is None:
        return "None"
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__qualname__.rpartition("<locals>.")[2]
    return _show_generic(annotation)


def _show_generic(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " | ".join(show(a) for a in arguments)
    if origin is Annotated:
        return show(arguments[0])
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if isinstance(origin, type) and arguments:
        return f"{show(origin)}[{', '.join('...' if a is Ellipsis else show(a) for a in arguments)}]"
    text = str(annotation).replace("typing.", "")
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def list_of(annotation: Any) -> Any:
    """Return the annotation of a list of items."""
    return list[annotation]


def certainly_no_list(annotation: Any) -> bool:
    """Tell whether a value of this type certainly cannot be gone through item by item, or should not be (texts)."""
    bare = plain(annotation)
    cls = class_of(bare)
    if bare is UNKNOWN or cls is None or get_origin(bare) in (Union, types.UnionType):
        return False
    return cls in (int, float, bool, str, bytes, type(None), complex)
