"""Values for bindings: found by their records, loaded from the store, accessed as the flow says."""

from __future__ import annotations

import base64
import copy
import dataclasses
import itertools
import pickle
from collections import namedtuple
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.serializers.base import classes_in
from flowbridge.errors import FlowbridgeError, UntrustedError
from flowbridge.ir.bindings import Binding, Constant, Path
from flowbridge.records.models import Gathered
from flowbridge.worker.locate import Locator
from flowbridge.worker.lookup import Blocked, Lookup, Skipped
from flowbridge.worker.places import Gathering, Grid, ItemOf, Joined, Literal, Place, Several, Stored, Within

if TYPE_CHECKING:
    from flowbridge.artifacts.reference import Reference
    from flowbridge.artifacts.store import Store
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import Index

_GATHER_FROM = 32


class AccessError(FlowbridgeError, LookupError):
    """``output.name`` or ``output["key"]``, written in the flow, found nothing in the value."""


def resolve(
    binding: Binding, *, scope: tuple[str, ...], index: Index, graph: FlowGraph, files: RunFiles, store: Store, hint: Any = None
) -> Any | Skipped | Blocked:
    """Return the value of a binding for a task, or why there is none.

    Args:
        binding: Where the value comes from.
        scope: The maps the task is inside of.
        index: One position for each of them.
        graph: The flow.
        files: The records of the run.
        store: Where values are.
        hint: The annotation of what receives the value.
    """
    place = Locator(Lookup(graph, files)).locate(binding, scope, index)
    if isinstance(place, (Skipped, Blocked)):
        return place
    return Loader(store, files).load(place, hint)


class Loader:
    """Loads located values.

    Args:
        store: Where they are.
        files: The records of the run; a list that was collected is kept there for others.
        class_of: Returns the class that a step returns, where it is known here.
    """

    def __init__(self, store: Store, files: RunFiles, class_of: Callable[[str], Any] | None = None) -> None:
        self.store = store
        self.files = files
        self.class_of = class_of or _unknown

    def load(self, place: Place, hint: Any = None) -> Any:  # noqa: PLR0911  (one for each kind of place)
        """Return the value at a place."""
        if isinstance(place, Literal):
            return constant_value(place.constant, self.store)
        if isinstance(place, Stored):
            value = self.store.load(place.reference, hint=None if place.path else hint)
            return access(value, place.path, place.origin)
        if isinstance(place, ItemOf):
            value = self.store.load_item(place.reference, place.position, hint=None if place.path else hint)
            return access(value, place.path, place.origin)
        if isinstance(place, Gathering):
            return self._collected(place)
        if isinstance(place, Within):
            return access(self.load(place.place), place.path, "the value")
        if isinstance(place, Joined):
            return self._joined(place, hint)
        if isinstance(place, Grid):
            lists = [self.load(item) for item in place.items]
            return [dict(zip(place.names, point, strict=True)) for point in itertools.product(*lists)]
        return self._several(place, hint)

    def _joined(self, place: Joined, hint: Any) -> Any:
        values = [self.load(item) for item in place.items]
        if place.kind == "tuple":
            return tuple(values)
        makes: tuple[Any, ...] = (*classes_in(hint), self.class_of(place.step))
        for make in makes:
            if _has_fields(make, place.names):
                return make(**dict(zip(place.names, values, strict=True)))
        return namedtuple("Outputs", place.names)(*values)  # noqa: PYI024  (its fields are known at run time only)

    def _several(self, place: Several, hint: Any) -> Any:
        values = [self.load(item) for item in place.items]
        if place.keys is not None:
            named = dict(zip(place.keys, values, strict=True))
            return named if place.make is None else self._class(place.make, place.type, hint)(**named)
        return tuple(values) if place.tuple_ else values

    def _class(self, made: Constant, name: str | None, hint: Any) -> Any:
        """Return the class of a record. Where pickles are not trusted, it has to be one that is asked for.

        Raises:
            UntrustedError: It is not.
        """
        if self.store.trust:
            return constant_value(made, self.store)
        for asked in classes_in(hint):
            if f"{asked.__module__}:{asked.__qualname__}" == name:
                return asked
        raise UntrustedError(
            f"A record of the class {name or made.shown} is made in the flow, where its class is pickled, and this profile loads no pickles (trust = false). "
            f"Name that class in the annotation of the argument that takes it (not a base of it), or set trust = true if all who write to the store are trusted"
        )

    def _collected(self, place: Gathering) -> Any:
        if place.each:
            values: Any = self._nested(self.flat(place), place)
        elif len(place.items) >= _GATHER_FROM or place.batched:
            values = self.store.load(self.gather(place))
        else:
            values = self._nested(place.items, place)
        return access(values, place.then, place.origin)

    def _nested(self, items: tuple[Any, ...], place: Gathering) -> list[Any]:
        return [
            self._nested(item, place)
            if isinstance(item, tuple)
            else access(self.store.load(item), place.each, f"item {i} of {place.origin}")
            for i, item in enumerate(items)
        ]

    def gather(self, place: Gathering) -> Reference:
        """Return the reference of a collected list, made once and kept for all who need it. No values are loaded or copied."""
        items = self.flat(place)
        reference = self.store.collect(items)
        self.files.gather(place.step, place.index, place.output, Gathered(reference=reference, length=len(items)))
        return reference

    def flat(self, place: Gathering) -> tuple[Any, ...]:
        """Return the references of a collected list, those of batches spread into the items of each batch."""
        return self._spread(place.items) if place.batched else place.items

    def _spread(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        spread: list[Any] = []
        for item in items:
            if isinstance(item, tuple):
                spread.append(self._spread(item))
            else:
                spread.extend(self.item_references(item))
        return tuple(spread)

    def item_references(self, reference: Reference) -> list[Reference]:
        """Return a reference for each item of a list."""
        found = [self.store.item(reference, position) for position in range(reference.length or 0)]
        if all(f is not None for f in found):
            return [f for f in found if f is not None]
        return [self.store.save(self.store.load_item(reference, position)) for position in range(reference.length or 0)]


def _has_fields(made: Any, names: tuple[str, ...]) -> bool:
    if not isinstance(made, type):
        return False
    fields = [f.name for f in dataclasses.fields(made)] if dataclasses.is_dataclass(made) else getattr(made, "_fields", ())
    return set(names) <= set(fields)


def _unknown(_step: str) -> None:
    """Know no class of any step."""


def constant_value(constant: Constant, store: Store) -> Any:
    """Return the value of a constant, a fresh one each time.

    Raises:
        UntrustedError: It is pickled, and the profile does not trust the store it came from.
    """
    if constant.pickled is None:
        return copy.deepcopy(constant.value)
    if not store.trust:
        raise UntrustedError(f"The constant {constant.shown} is pickled in the flow, and this profile loads no pickles (trust = false)")
    return pickle.loads(base64.b64decode(constant.pickled))


def access(value: Any, path: Path, origin: str) -> Any:
    """Return what a path of ``.name`` and ``[key]`` leads to.

    Raises:
        AccessError: There is no such thing; tells the origin of the value, the path and the type met.
    """
    shown = ""
    for part in path:
        shown += f".{part.key}" if part.kind == "attr" else f"[{part.key!r}]"
        try:
            value = getattr(value, str(part.key)) if part.kind == "attr" else value[part.key]
        except Exception as error:
            kind = type(value)
            raise AccessError(
                f"{origin} has no {shown}: {type(error).__name__}: {error} (on a value of type {kind.__module__}.{kind.__qualname__})"
            ) from error
    return value
