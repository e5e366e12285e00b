"""Where values are: references and what to do with them once loaded. Plain data, made by `locate`, read by `load`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

from flowbridge.artifacts.reference import Reference
from flowbridge.ir import bindings as b
from flowbridge.records.models import Index
from flowbridge.worker.lookup import Blocked, Skipped


@dataclass(frozen=True)
class Stored:
    """A whole value, or something inside it.

    Attributes:
        origin: What it is, for error messages.
    """

    reference: Reference
    path: b.Path = ()
    origin: str = ""


@dataclass(frozen=True)
class ItemOf:
    """One item of a list, or something inside it."""

    reference: Reference
    position: int
    path: b.Path = ()
    origin: str = ""


@dataclass(frozen=True)
class Literal:
    """A value that the flow itself holds."""

    constant: b.Constant


@dataclass(frozen=True)
class Gathering:
    """The outputs of a mapped step as a list, nested once for each map that is left.

    Attributes:
        step: The step; with `index` and `output`, the name under which the list is kept once it has been collected.
        items: References, nested; of a batched map each reference is itself a list over its items.
        each: Access on each item.
        then: Access on the list.
    """

    step: str
    index: Index
    output: str
    items: tuple[Any, ...]
    batched: bool = False
    each: b.Path = ()
    then: b.Path = ()
    origin: str = ""


@dataclass(frozen=True)
class Several:
    """A list, tuple, dict or record written in the flow.

    Attributes:
        items: What it holds.
        keys: Of a dict or record; None for lists and tuples.
        tuple_: It is a tuple.
        make: Of a record: its class.
        type: Of a record: ``module:qualname`` of that class.
    """

    items: tuple[Place, ...]
    keys: tuple[str, ...] | None = None
    tuple_: bool = False
    make: b.Constant | None = None
    type: str | None = None


@dataclass(frozen=True)
class Joined:
    """All outputs of a step together, as the object that the step returned.

    Attributes:
        step: The step.
        kind: ``tuple`` or ``fields``.
    """

    step: str
    kind: str
    names: tuple[str, ...]
    items: tuple[Place, ...]


@dataclass(frozen=True)
class Grid:
    """Every combination of some lists, as dicts."""

    names: tuple[str, ...]
    items: tuple[Place, ...]


@dataclass(frozen=True)
class Within:
    """Something inside another place's value."""

    place: Place
    path: b.Path


Place = Union[Stored, ItemOf, Literal, Gathering, Several, Joined, Grid, Within]  # noqa: UP007  (evaluated when the module is imported, on Python 3.10 too)
Located = Union[Stored, ItemOf, Literal, Gathering, Several, Joined, Grid, Within, Skipped, Blocked]  # noqa: UP007


def worst(places: Sequence[Located]) -> Skipped | Blocked | None:
    """Return what stands in the way of using several places: a block before a skip."""
    blocked = next((p for p in places if isinstance(p, Blocked)), None)
    return blocked or next((p for p in places if isinstance(p, Skipped)), None)


def deeper(place: Located, path: b.Path) -> Located:
    """Return a place with further access on its value."""
    if not path or isinstance(place, (Skipped, Blocked)):
        return place
    if isinstance(place, (Stored, ItemOf)):
        return replace(place, path=place.path + path)
    if isinstance(place, Within):
        return Within(place.place, place.path + path)
    return Within(place, path)
