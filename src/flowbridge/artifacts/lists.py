"""Lists that are read item by item: a root with pages, each page with a reference or a small JSON value for every item."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex, overload

from flowbridge.artifacts.reference import Reference
from flowbridge.errors import ArtifactDamagedError

PAGE = 1000
NAME = "list"
PageKind = Literal["entries", "pickle"]


@dataclass(frozen=True)
class Page:
    """One page of a list: where its bytes are, and whether they are entries in JSON or a pickled list of the items themselves."""

    kind: PageKind
    digest: str
    size: int


def value_entry(value: object) -> list[object]:
    """Return the entry of an item that JSON holds."""
    return ["v", value]


def reference_entry(reference: Reference) -> list[object]:
    """Return the entry of an item that stands elsewhere."""
    if reference.inline is not None and reference.serializer == "json":
        return value_entry(json.loads(reference.inline))
    return ["r", reference.model_dump(mode="json", exclude_defaults=True)]


def page_of(entries: Sequence[object]) -> bytes:
    """Return the bytes of a page of entries."""
    return _dump(entries)


def root_of(length: int, pages: Sequence[Page]) -> bytes:
    """Return the bytes of the root of a list."""
    return _dump({"length": length, "page": PAGE, "pages": [[p.kind, p.digest, p.size] for p in pages]})


def parse_root(data: bytes) -> tuple[int, list[Page]]:
    """Return the length and the pages of a list.

    Raises:
        ArtifactDamagedError: The bytes are no root of a list.
    """
    try:
        root = json.loads(data)
        length, pages = int(root["length"]), [Page(kind, str(digest), int(size)) for kind, digest, size in root["pages"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactDamagedError(f"The root of a list cannot be read: {error}") from error
    if len(pages) != -(-length // PAGE):
        raise ArtifactDamagedError(f"The root of a list names {len(pages)} pages for {length} items")
    return length, pages


def parse_page(data: bytes) -> list[tuple[str, Any]]:
    """Return the entries of a page: ``("v", value)`` or ``("r", reference)``.

    Raises:
        ArtifactDamagedError: The bytes are no page of a list.
    """
    try:
        return [(kind, Reference.model_validate(body) if kind == "r" else body) for kind, body in json.loads(data)]
    except (ValueError, TypeError) as error:
        raise ArtifactDamagedError(f"A page of a list cannot be read: {error}") from error


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


class LazyList(list[Any]):
    """A list whose items are loaded when they are asked for; a slice loads nothing yet.

    It is a `list` to everyone: what changes it first loads it whole.
    """

    def __init__(self, length: int, load: Callable[[int], Any]) -> None:
        super().__init__()
        self._positions: Sequence[int] = range(length)
        self._load: Callable[[int], Any] | None = load

    def _materialise(self) -> None:
        if self._load is not None:
            load, self._load = self._load, None
            super().extend(load(p) for p in self._positions)

    def __len__(self) -> int:
        return len(self._positions) if self._load is not None else super().__len__()

    @overload
    def __getitem__(self, key: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> list[Any]: ...
    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        if self._load is None:
            return super().__getitem__(key)
        if isinstance(key, slice):
            part = LazyList(0, self._load)
            part._positions = self._positions[key]
            return part
        try:
            return self._load(self._positions[int(key)])
        except IndexError:
            if not -len(self) <= int(key) < len(self):
                raise IndexError("list index out of range") from None
            raise

    def __iter__(self) -> Iterator[Any]:
        if self._load is None:
            return super().__iter__()
        return (self[i] for i in range(len(self)))

    def __reversed__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self) - 1, -1, -1))

    def __contains__(self, item: object) -> bool:
        return any(item is x or item == x for x in self)

    def __repr__(self) -> str:
        if self._load is not None:
            return f"<list of {len(self)} items, not loaded yet>"
        return super().__repr__()

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(iter(self)),)

    def copy(self) -> list[Any]:
        return list(iter(self))

    def index(self, value: Any, start: SupportsIndex = 0, stop: SupportsIndex = 2**62) -> int:
        for i in range(*slice(start, stop).indices(len(self))):
            if self[i] == value:
                return i
        raise ValueError(f"{value!r} is not in list")

    def count(self, value: Any) -> int:
        return sum(1 for x in self if x is value or x == value)


def _whole(name: str) -> Callable[..., Any]:
    """Return a method of `list` that first loads the whole list."""
    method = getattr(list, name)

    def loaded(self: LazyList, *args: Any, **kwargs: Any) -> Any:
        self._materialise()
        for other in args:
            if isinstance(other, LazyList):
                other._materialise()  # noqa: SLF001
        return method(self, *args, **kwargs)

    loaded.__name__ = name
    return loaded


for _name in (
    "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "__setitem__", "__delitem__", "__iadd__", "__imul__",
    "__add__", "__mul__", "__rmul__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__",
):  # fmt: skip
    setattr(LazyList, _name, _whole(_name))
