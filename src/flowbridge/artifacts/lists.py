"""Lists that are read item by item: a root with pages, each page with a reference or a small JSON value for every item."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowbridge.artifacts.reference import LIST, Reference
from flowbridge.errors import ArtifactDamagedError

NAME = LIST
PAGE = 1000
"""Items of a page, where one of them is more than a number or a text."""
PLAIN_PAGE = 20_000
"""Items of a page of numbers and texts."""
MOST_PAGE = 1_000_000


@dataclass(frozen=True)
class Page:
    """One page of a list: where its bytes are."""

    digest: str
    size: int


@dataclass(frozen=True)
class Root:
    """The root of a list.

    Attributes:
        length: Number of items.
        step: Number of items of each page but the last.
    """

    length: int
    step: int
    pages: tuple[Page, ...]

    def place(self, position: int) -> tuple[Page, int]:
        """Return the page of an item, and the item's position there."""
        number, offset = divmod(position, self.step)
        return self.pages[number], offset

    def count(self, number: int) -> int:
        """Return how many items a page has."""
        return min(self.step, self.length - number * self.step)


Entry = tuple[str, Any]
"""``("v", value)`` or ``("r", reference)``."""


def entry_of(reference: Reference) -> Entry:
    """Return the entry of an item."""
    if reference.inline is not None and reference.serializer == "json":
        return "v", json.loads(reference.inline)
    return "r", reference


def dump_page(entries: Sequence[Entry]) -> bytes:
    """Return the bytes of a page."""
    if all(kind == "v" for kind, _ in entries):
        return _dump({"values": [body for _, body in entries]})
    shown = [["v", body] if kind == "v" else ["r", body.model_dump(mode="json", exclude_defaults=True)] for kind, body in entries]
    return _dump({"items": shown})


def parse_page(data: bytes, count: int) -> list[Entry]:
    """Return the entries of a page.

    Raises:
        ArtifactDamagedError: The bytes are no page of so many items.
    """
    try:
        page = json.loads(data)
        entries: list[Entry] = [("v", v) for v in page["values"]] if "values" in page else [_entry(*item) for item in page["items"]]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ArtifactDamagedError(f"A page of a list cannot be read: {error}") from error
    if len(entries) != count:
        raise ArtifactDamagedError(f"A page of a list has {len(entries)} items instead of {count}")
    return entries


def _entry(kind: str, body: Any) -> Entry:
    return (kind, Reference.model_validate(body)) if kind == "r" else ("v", body)


def dump_root(root: Root) -> bytes:
    """Return the bytes of a root."""
    return _dump({"length": root.length, "page": root.step, "pages": [[p.digest, p.size] for p in root.pages]})


def parse_root(data: bytes, length: int | None) -> Root:
    """Return the root of a list.

    Raises:
        ArtifactDamagedError: The bytes are no root of a list of that length.
    """
    try:
        found = json.loads(data)
        pages = tuple(Page(str(digest), int(size)) for digest, size in found["pages"])
        root = Root(int(found["length"]), int(found["page"]), pages)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ArtifactDamagedError(f"The root of a list cannot be read: {error}") from error
    fits = 0 < root.step <= MOST_PAGE and 0 <= root.length <= sys.maxsize
    if not fits or len(pages) != -(-root.length // root.step) or root.length != length:
        raise ArtifactDamagedError(
            f"The root of a list names {len(pages)} pages of {root.step} for {root.length} items; {length} were expected"
        )
    return root


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
