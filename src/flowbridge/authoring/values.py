"""Arguments turned into bindings: outputs, constants, and lists, tuples and dicts that hold outputs."""

from __future__ import annotations

import base64
import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flowbridge.authoring import annotations as a
from flowbridge.authoring.deferred import Broken, Deferred, Nothing, broken
from flowbridge.authoring.handles import Handle, deferred_of
from flowbridge.authoring.items import Each, Origin, origin_of, path_of
from flowbridge.authoring.tracing import Level, Tracer
from flowbridge.errors import FlowError
from flowbridge.ir.bindings import Binding, Constant, DictOf, FromItem, ListOf, RecordOf
from flowbridge.ir.fingerprint import canonical_json

CONSTANT_LIMIT = 2**20
_SHOWN = 200
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_PLAIN = (str, bytes, int, float, bool, type(None), list, tuple, dict)


@dataclass
class MapContext:
    """A map while the arguments of its call are bound.

    Attributes:
        id: Of the map.
        outer: Where the map stands.
        fields: What its `each(...)` go through, by name.
    """

    id: str
    outer: Level
    fields: dict[str, Origin] = field(default_factory=dict)

    @property
    def scope(self) -> tuple[str, ...]:
        """The maps around what is inside, this one the innermost."""
        return (*self.outer.scope, self.id)

    def field_of(self, each: Each, argument: str) -> str:
        """Return the name of the field for an `each(...)`; one used twice has one field."""
        origin = origin_of(each)
        for name, known in self.fields.items():
            if known is origin:
                return name
        name = argument if argument not in self.fields else f"{argument}_{len(self.fields)}"
        self.fields[name] = origin
        return name

    def binding(self, each: Each, argument: str) -> FromItem:
        """Return where the item comes from for a task of the map."""
        return FromItem(map=self.id, field=self.field_of(each, argument), path=path_of(each))


@dataclass(frozen=True)
class Site:
    """Where a value is used.

    Attributes:
        tracer: The flow.
        where: The place, for messages: ``step 'train', argument 'lr'``.
        argument: Name of the argument.
        scope: The maps around the user.
        context: The map whose call this is, if it is one.
    """

    tracer: Tracer
    where: str
    argument: str = "items"
    scope: tuple[str, ...] = ()
    context: MapContext | None = None

    def problem(self, text: str) -> Constant:
        """Keep a problem of this place and return something to go on with."""
        self.tracer.problem(f"{self.where}: {text}")
        return Constant()


@dataclass(frozen=True, eq=False)
class Known(Deferred):
    """A value given to an inlined flow. It is there already, but the flow must not depend on that: elsewhere it may be an output."""

    value: Any = None

    def binding(self) -> Binding:
        """Return the value as it is bound where it is used."""
        return bind(self.value, Site(self.tracer, self.label, scope=self.tracer.level.scope))

    def attribute(self, name: str) -> Deferred:
        """Return the value of an attribute of it."""
        return self._within(lambda: getattr(self.value, name), f".{name}", a.attribute_type(self.annotation, name))

    def item(self, key: Any) -> Deferred:
        """Return the value of an item of it."""
        return self._within(lambda: self.value[key], f"[{key!r}]", a.item_type(self.annotation, key))

    def _within(self, access: Callable[[], Any], shown: str, annotation: Any) -> Deferred:
        try:
            found = access()
        except (AttributeError, LookupError, TypeError) as error:
            self.tracer.problem(f"{self.label} has no {shown}: {error}.")
            return broken(self)
        return wrap(found, self.tracer, self.scope, f"{self.label}{shown}", annotation)


def wrap(value: Any, tracer: Tracer, scope: tuple[str, ...], label: str, annotation: Any = a.UNKNOWN) -> Deferred:
    """Return any value as a deferred one."""
    return deferred_of(value) if isinstance(value, Handle) else Known(tracer, scope, label, annotation, value)


def bind(value: Any, site: Site) -> Binding:
    """Return where the value of an argument will come from; problems are kept."""
    if isinstance(value, Handle):
        return _bind_handle(deferred_of(value), site)
    if isinstance(value, Each):
        if site.context is None:
            return site.problem("each(...) is for the arguments of .map(...) only; this is a plain call.")
        return site.context.binding(value, site.argument)
    if any(isinstance(part, (Handle, Each)) for part in parts_of(value)):
        return _bind_container(value, site)
    return constant(value, site)


def _bind_handle(deferred: Deferred, site: Site) -> Binding:
    if deferred.tracer is not site.tracer:
        return site.problem(
            f"got the {deferred.label} of another flow, {deferred.tracer.name!r}. Call that flow inside this one and use what it returns."
        )
    if not in_scope(deferred.scope, site.scope):
        return site.problem(
            f"got {deferred.label} from inside the map {deferred.scope[-1]!r}. Return it from the mapped flow, and use the list that .map gives."
        )
    return deferred.binding()


def in_scope(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    """Tell whether a value made inside some maps can be used inside others."""
    return outer[: len(inner)] == inner


def parts_of(value: Any) -> Iterator[Any]:
    """Yield what a list, tuple, dict, NamedTuple or dataclass holds, and what those inside it hold; of anything else nothing."""
    yield from _within(value, set())


def _within(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:  # objects of the user's may refer to each other
        return
    for part in _held(value):
        seen.add(id(value))
        yield part
        yield from _within(part, seen)


def _held(value: Any) -> Iterable[Any]:
    kind = type(value)
    if kind in (list, tuple):
        found: Iterable[Any] = value
        return found
    return value.values() if kind is dict else fields_in(value).values()


def fields_in(value: Any) -> dict[str, Any]:
    """Return the fields of a NamedTuple or dataclass; nothing of any other value."""
    kind: Any = type(value)
    if kind in _PLAIN or not (isinstance(value, tuple) or dataclasses.is_dataclass(kind)) or isinstance(value, (Handle, Each)):
        return {}
    return {name: getattr(value, name) for name in a.names_of_fields(kind)}


def _bind_container(value: Any, site: Site) -> Binding:
    fields = fields_in(value)
    if fields:
        make = _pickled(type(value), site).model_copy(update={"shown": _kind(value)})
        kind = f"{type(value).__module__}:{_kind(value)}"
        return RecordOf(make=make, type=kind, items=tuple((name, bind(part, site)) for name, part in fields.items()))
    if not isinstance(value, dict):
        return ListOf(items=tuple(bind(part, site) for part in value), tuple_=isinstance(value, tuple))
    if not all(isinstance(key, str) for key in value):
        return site.problem("a dict that holds outputs has texts as keys. Make it in a step.")
    return DictOf(items=tuple((key, bind(part, site)) for key, part in value.items()))


def constant(value: Any, site: Site) -> Binding:
    """Return a value that is known now, as a binding."""
    if is_json(value):
        size = len(canonical_json(value))
        return Constant(value=value) if size <= CONSTANT_LIMIT else _too_large(size, site)
    if type(value) is tuple and all(is_json(part) or type(part) is tuple for part in value):
        return ListOf(items=tuple(constant(part, site) for part in value), tuple_=True)
    captured = captured_handles(value)
    if captured:
        return site.problem(
            f"the function {getattr(value, '__name__', value)!r} uses {captured[0]!r} of the flow around it, which is not there yet. "
            f"Give it to the step as an argument."
        )
    return _pickled(value, site)


def is_json(value: Any) -> bool:
    """Tell whether JSON holds a value exactly: the very types, no subclasses, no infinities."""
    kind = type(value)
    if kind is str:
        return not any("\ud800" <= c <= "\udfff" for c in value)
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(is_json, value))
    if kind is dict:
        return all(type(k) is str and is_json(k) and is_json(v) for k, v in value.items())
    return value is None or kind in (bool, int)


def _pickled(value: Any, site: Site) -> Constant:
    import cloudpickle  # noqa: PLC0415  (most flows have none)

    try:
        data = cloudpickle.dumps(value, protocol=4)
    except FlowError as error:
        return site.problem(
            f"{error.problems[0]}; it is inside a {_kind(value)}. Outputs may stand inside lists, tuples, dicts, "
            f"NamedTuples and dataclasses; make the rest in a step."
        )
    except Exception as error:  # noqa: BLE001  (pickling runs code of any class; every failure means the same)
        return site.problem(f"a {_kind(value)} cannot be carried to the step: {error}. Make it inside a step.")
    if len(data) > CONSTANT_LIMIT:
        return _too_large(len(data), site)
    return Constant(pickled=base64.b64encode(data).decode(), shown=shown(value))


def _kind(value: Any) -> str:
    return type(value).__qualname__


def _too_large(size: int, site: Site) -> Constant:
    return site.problem(
        f"a constant of {size / 2**20:.1f} MiB is too large to be part of the flow (at most 1 MiB). Make it a parameter of the flow, or load it in a step."
    )


def shown(value: Any) -> str:
    """Return a short text for a value, the same every time."""
    try:
        text = _ADDRESS.sub("", repr(value))
    except Exception as error:  # noqa: BLE001  (a broken repr of the user's must not stop the flow)
        text = f"<{_kind(value)}: its repr raised {type(error).__name__}>"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def captured_handles(function: Any) -> list[str]:
    """Return the names of handles that a function holds in its closure or defaults."""
    plain = inspect.unwrap(function) if callable(function) else function
    if not inspect.isfunction(plain):
        return []
    found = [n for n, cell in zip(plain.__code__.co_freevars, plain.__closure__ or (), strict=True) if _holds_handle(cell)]
    defaults = {p.name: p.default for p in inspect.signature(plain).parameters.values()}
    return found + [name for name, default in defaults.items() if isinstance(default, Handle)]


def _holds_handle(cell: Any) -> bool:
    try:
        value = cell.cell_contents
    except ValueError:  # not filled yet
        return False
    return isinstance(value, Handle) or any(isinstance(p, Handle) for p in parts_of(value))


def type_of(value: Any) -> Any:
    """Return the type of a value as an annotation, as far as it is known."""
    if isinstance(value, Handle):
        deferred = deferred_of(value)
        return a.UNKNOWN if isinstance(deferred, (Broken, Nothing)) else deferred.annotation
    if isinstance(value, Each):
        return _item_type(value)
    if type(value) is list:
        item = a.union_of([type_of(part) for part in value])
        return list if item is a.UNKNOWN else a.list_of(item)
    if type(value) is dict:
        return dict
    return type(value)


def _item_type(each: Each) -> Any:
    values = origin_of(each).values
    annotation = a.element_type(type_of(values))
    for part in path_of(each):
        annotation = a.attribute_type(annotation, str(part.key)) if part.kind == "attr" else a.item_type(annotation, part.key)
    return annotation


__all__ = ["CONSTANT_LIMIT", "Known", "MapContext", "Site", "bind", "captured_handles", "in_scope", "is_json", "type_of", "wrap"]
