"""`each(...)`: one item of a list as an argument of `.map(...)`, with access on each item deferred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from flowbridge.authoring.handles import Handle
from flowbridge.errors import FlowError
from flowbridge.ir.bindings import Path, PathItem


class Origin:
    """What an `each(...)` goes through: a list, or an output that will be one."""

    __slots__ = ("values",)

    def __init__(self, values: Any) -> None:
        self.values = values


class Each:
    """One item of a list. Attribute and item access is taken on each item."""

    __slots__ = ("_flowbridge_origin", "_flowbridge_path")

    def __init__(self, origin: Origin, path: Path = ()) -> None:
        object.__setattr__(self, "_flowbridge_origin", origin)
        object.__setattr__(self, "_flowbridge_path", path)

    def __repr__(self) -> str:
        return "each(...)" + "".join(f".{p.key}" if p.kind == "attr" else f"[{p.key!r}]" for p in path_of(self))

    def __getattr__(self, name: str) -> Each:
        if name.startswith("_"):
            raise AttributeError(name)
        return Each(origin_of(self), (*path_of(self), PathItem(kind="attr", key=name)))

    def __getitem__(self, key: Any) -> Each:
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise FlowError(f"{self!r}[{key!r}]: only texts and whole numbers can stand there. Use a step that does it.")
        return Each(origin_of(self), (*path_of(self), PathItem(kind="item", key=key)))

    def _refuse(self, *_: object) -> NoReturn:
        raise FlowError(
            f"{self!r} stands for one item in the arguments of .map(...); nothing else can be done with it. Do it inside the step."
        )

    __bool__ = __len__ = __int__ = __float__ = __index__ = __str__ = __format__ = __call__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __mod__ = __pow__ = __neg__ = _refuse
    __and__ = __or__ = __invert__ = __contains__ = _refuse
    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[Any]:
        self._refuse()


def origin_of(each: Each) -> Origin:
    """Return what an `each(...)` goes through."""
    found: Origin = object.__getattribute__(each, "_flowbridge_origin")
    return found


def path_of(each: Each) -> Path:
    """Return the access on each item."""
    found: Path = object.__getattribute__(each, "_flowbridge_path")
    return found


def made(values: Any) -> Each:
    """Return the `each(...)` of some values.

    Raises:
        FlowError: They are not a list of items.
    """
    if isinstance(values, Handle):
        return Each(Origin(values))
    if isinstance(values, Each):
        raise FlowError("each(each(...)): nest flows for maps in maps: a mapped flow that maps inside.")
    _refuse_what_is_no_list(values)
    try:
        return Each(Origin(list(values)))
    except TypeError:
        raise FlowError(
            f"each(...) goes through a list, and {type(values).__name__} is none. Give a list, a parameter or an output."
        ) from None


def _refuse_what_is_no_list(values: Any) -> None:
    """Refuse what Python iterates over, but not in the way that is meant, or in another order in every process."""
    kind = type(values).__name__
    if isinstance(values, (str, bytes)):
        raise FlowError(f"each({values!r}) would go through single characters; write each([{values!r}]) or give a list.")
    if isinstance(values, (set, frozenset)):
        raise FlowError(f"each(...) keeps the order of its items, and a {kind} has none. Write each(sorted(xs)).")
    if isinstance(values, Mapping):
        raise FlowError(
            f"each(...) of a {kind} would go through its keys; write each(list(xs)), each(list(xs.values())) or each(list(xs.items()))."
        )
    if kind == "DataFrame":  # of pandas, polars, and others alike; none of them is imported for this
        raise FlowError(
            "each(...) of a DataFrame would go through its columns; for its rows write each(xs.to_dict('records')), or give a list."
        )
