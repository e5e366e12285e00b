"""Whether a value of one type can go where another is wanted. Only certain mismatches count; whatever is unknown fits."""

from __future__ import annotations

import abc
import collections.abc
import types
from typing import Any, Literal, Union, get_args, get_origin

from flowbridge.authoring import annotations as a

_NUMBERS = (int, float, complex, bool)
_TEXTS = (str, bytes, type(None))
_SCALARS = (*_NUMBERS, *_TEXTS)
_PROMOTED = {(int, float), (int, complex), (float, complex), (bool, float), (bool, complex), (bytearray, bytes), (memoryview, bytes)}
_UNIONS = (Union, types.UnionType)


def mismatch(produced: Any, wanted: Any) -> Any | None:
    """Return the part of what is produced that certainly does not fit what is wanted; None if all may fit."""
    produced, wanted = a.plain(produced), a.plain(wanted)
    if produced is a.UNKNOWN or wanted is a.UNKNOWN:
        return None
    return None if fits(produced, wanted) else produced


def fits(produced: Any, wanted: Any) -> bool:
    """Tell whether a value of one type may be one of another."""
    produced, wanted = a.plain(produced), a.plain(wanted)
    if produced is a.UNKNOWN or wanted is a.UNKNOWN or produced == wanted:
        return True
    if get_origin(produced) in _UNIONS:
        return any(fits(part, wanted) for part in get_args(produced))
    if get_origin(wanted) in _UNIONS:
        return any(fits(produced, part) for part in get_args(wanted))
    if get_origin(produced) is Literal:
        return any(fits(type(value), wanted) for value in get_args(produced))
    if get_origin(wanted) is Literal:
        return any(fits(produced, type(value)) for value in get_args(wanted))
    return _classes_fit(produced, wanted) and _items_fit(produced, wanted)


def _classes_fit(produced: Any, wanted: Any) -> bool:
    have, want = a.class_of(produced), a.class_of(wanted)
    if have is None or want is None or (have, want) in _PROMOTED or _same(have, want):
        return True
    if _structural(have) or (_structural(want) and have not in _SCALARS):
        return True
    if _module(have) == "numpy" or _module(want) == "numpy":
        return have not in _TEXTS and want not in _TEXTS and _numbers_or_arrays(have, want)
    return _subclass(have, want) or _subclass(want, have)


def _same(one: type, other: type) -> bool:
    """Tell whether two classes are one, or the same one defined twice (a cell of a notebook that was run again)."""
    return one is other or (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _structural(cls: type) -> bool:
    """Tell classes that others match by what they can do (protocols, abstract classes, typed dicts) from those that say what they are."""
    return isinstance(cls, abc.ABCMeta) or hasattr(cls, "__total__")


def _module(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _numbers_or_arrays(have: type, want: type) -> bool:
    """Take numpy's numbers for Python's and the other way round, but no array for a table of another library."""
    if _subclass(have, want) or _subclass(want, have):
        return True
    return all(cls in _NUMBERS or (_module(cls) == "numpy" and cls.__name__ != "ndarray") for cls in (have, want))


def _subclass(cls: type, base: type) -> bool:
    try:
        return issubclass(cls, base)
    except TypeError:
        return True


def _items_fit(produced: Any, wanted: Any) -> bool:
    """Compare what lists, dicts and tuples hold, where both say it."""
    have, want = get_args(produced), get_args(wanted)
    kinds = a.class_of(produced), a.class_of(wanted)
    if not have or not want or None in kinds or not all(_is_container(kind) for kind in kinds):
        return True
    if tuple in kinds:
        return _tuples_fit(produced, wanted)
    return len(have) != len(want) or all(fits(h, w) for h, w in zip(have, want, strict=True))


def _is_container(cls: Any) -> bool:
    return (
        isinstance(cls, type)
        and issubclass(cls, collections.abc.Iterable)
        and cls.__module__ in ("builtins", "collections.abc", "collections", "typing")
    )


def _tuples_fit(produced: Any, wanted: Any) -> bool:
    have, want = a.tuple_items(produced), a.tuple_items(wanted)
    if have is None or want is None:
        return True
    return len(have) == len(want) and all(fits(h, w) for h, w in zip(have, want, strict=True))
