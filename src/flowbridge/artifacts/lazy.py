"""A sequence whose items are loaded when they are asked for."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from typing import Any, SupportsIndex, overload


class LazyList(MutableSequence[Any]):
    """What a large list is read as: it has all that a `list` has, and loads an item when it is asked for; a slice loads nothing yet.

    Whatever changes it, or needs all of it, first loads it whole. It is not a subclass of `list`: libraries written in C read the memory of
    one without asking, and would find it empty. ``list(x)`` makes a real one.

    Args:
        load: Loads the item of a position.
        positions: The positions that are in this list.
        origin: What it was read from, for who saves it again.
        ahead: Yields positions again, and sees to it that their items are near by then.
    """

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __init__(
        self,
        load: Callable[[int], Any],
        positions: Sequence[int],
        origin: Any = None,
        ahead: Callable[[Sequence[int]], Iterator[int]] | None = None,
    ) -> None:
        self._load: Callable[[int], Any] | None = load
        self._positions = positions
        self._items: list[Any] = []
        self._ahead = ahead or iter
        self.origin = origin

    @property
    def positions(self) -> Sequence[int] | None:
        """The positions in what it was read from; None once it has been loaded whole, and may have been changed."""
        return self._positions if self._load is not None else None

    def _whole(self) -> list[Any]:
        if self._load is not None:
            self._items, self._load = [self._load(p) for p in self._ahead(self._positions)], None
        return self._items

    def __len__(self) -> int:
        return len(self._positions) if self._load is not None else len(self._items)

    @overload
    def __getitem__(self, key: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> MutableSequence[Any]: ...
    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        if self._load is None:
            return self._items[key]
        if isinstance(key, slice):
            return LazyList(self._load, self._positions[key], self.origin, self._ahead)
        return self._load(self._position(key))

    def _position(self, key: SupportsIndex) -> int:
        try:
            return self._positions[operator.index(key)]
        except IndexError:
            raise IndexError("list index out of range") from None

    def __setitem__(self, key: Any, value: Any) -> None:
        self._whole()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._whole()[key]

    def insert(self, index: SupportsIndex, value: Any) -> None:
        """Insert an item before a position."""
        self._whole().insert(index, value)

    def __iter__(self) -> Iterator[Any]:
        if self._load is None:
            return iter(self._items)
        return map(self._load, self._ahead(self._positions))

    def __reversed__(self) -> Iterator[Any]:
        if self._load is None:
            return iter(self._items[::-1])
        return map(self._load, self._ahead(self._positions[::-1]))

    def __contains__(self, value: object) -> bool:
        return any(item is value or item == value for item in self)

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort it in place."""
        self._whole().sort(key=key, reverse=reverse)

    def copy(self) -> MutableSequence[Any]:
        """Return a list with the same items, not loaded yet either."""
        return self[:]

    def __copy__(self) -> MutableSequence[Any]:
        return self[:]

    def __deepcopy__(self, memo: Any) -> list[Any]:
        del memo
        return list(self)  # every item is made anew when it is loaded

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    def __repr__(self) -> str:
        if self._load is not None:
            return f"<list of {len(self)} items, loaded when they are asked for>"
        return reprlib.repr(self._items)

    # --- what a list does with another list -----------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, LazyList)):
            return NotImplemented
        return len(self) == len(other) and all(a is b or a == b for a, b in zip(self, other, strict=True))

    def __lt__(self, other: Iterable[Any]) -> bool:
        return self._whole() < list(other)

    def __le__(self, other: Iterable[Any]) -> bool:
        return self._whole() <= list(other)

    def __gt__(self, other: Iterable[Any]) -> bool:
        return self._whole() > list(other)

    def __ge__(self, other: Iterable[Any]) -> bool:
        return self._whole() >= list(other)

    def __add__(self, other: Any) -> list[Any]:
        return list(self) + list(other) if isinstance(other, (list, LazyList)) else NotImplemented

    def __radd__(self, other: Any) -> list[Any]:
        return other + list(self) if isinstance(other, list) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> list[Any]:
        return list(self) * count

    __rmul__ = __mul__

    def __iadd__(self, other: Iterable[Any]) -> LazyList:  # type: ignore[misc]  # noqa: PYI034  (as a list does)
        self._whole().extend(other)
        return self

    def __imul__(self, count: SupportsIndex) -> LazyList:  # noqa: PYI034  (as a list does)
        self._items = self._whole() * count
        return self
