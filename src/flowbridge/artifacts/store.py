"""The artifact store: values in, references out, and back. Every value is verified by its digest when it is read."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowbridge.artifacts import digests, layout, lists
from flowbridge.artifacts.blobs import Blobs
from flowbridge.artifacts.cache import DEFAULT_SIZE, ReadCache
from flowbridge.artifacts.content import Content, open_content
from flowbridge.artifacts.lists import LazyList, Page
from flowbridge.artifacts.reference import Reference
from flowbridge.artifacts.serializers import registry
from flowbridge.artifacts.serializers.base import Sink, Source, type_name
from flowbridge.artifacts.serializers.json import is_exact
from flowbridge.errors import ArtifactDamagedError, SerializationError, StoreError

INLINE = 4096
"""Bytes of JSON up to which a value stands in its reference."""
EAGER = 64 << 20
"""Bytes up to which a list is loaded whole when it is asked for."""
_PAGE_PICKLE = 4 << 20
_PAGES_KEPT = 8

Nested = Reference | Sequence["Nested"]


class Store:
    """Values by reference, on a local folder or any fsspec URL.

    Args:
        content: The bytes.
        trust: Whether pickles are loaded.
        cache: Copies on this machine.
    """

    def __init__(self, content: Content, *, trust: bool = True, cache: ReadCache | None = None) -> None:
        self.content = content
        self.trust = trust
        self.cache = cache or ReadCache()
        self.blobs = Blobs(content, self.cache)
        self.work: Path | None = None
        """Where files and folders that are loaded are put; a temporary folder where it is None."""
        self._pages: OrderedDict[str, Any] = OrderedDict()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        options: Mapping[str, Any] | None = None,
        trust: bool = True,
        cache_dir: Path | None = None,
        cache_size: int = DEFAULT_SIZE,
    ) -> Store:
        """Open a store; nothing is read or written by that.

        Args:
            url: A folder, or any URL that fsspec knows.
            options: What the fsspec file system takes: endpoint, credentials, ...
            trust: Whether pickles of this store are loaded. A store that others can write to is not to be trusted.
            cache_dir: Where copies of remote values are kept; None: the user's cache folder.
            cache_size: Bytes that these copies may take.

        Raises:
            ConfigError: The URL or its options are not understood.
            MissingExtraError: The package for this kind of URL is not installed.
        """
        return cls(open_content(url, options), trust=trust, cache=ReadCache(cache_dir, cache_size))

    @property
    def url(self) -> str:
        """The URL of the store."""
        return self.content.url

    @property
    def cache_dir(self) -> Path:
        """Where copies of remote values are kept on this machine."""
        return self.cache.folder

    # --- values ---------------------------------------------------------------------------------------------------------------

    def save(self, value: Any, *, hint: Any = None, name: str = "") -> Reference:  # noqa: ARG002  (formats may come to depend on it)
        """Write a value and return its reference.

        Args:
            value: Anything that a serializer, or pickle, can write.
            hint: The annotation it was declared with.
            name: What to call it in errors, such as ``output 'train' of step load``.

        Raises:
            SerializationError: It cannot be written; tells the name, the type and what to do.
            StoreError: The store failed; nothing half-written is visible.
        """
        if is_exact(value):
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            if len(text) <= INLINE:
                return _inline(text, value)
        if type(value) in {list, LazyList}:
            return self._save_list(value, name)
        serializer = registry.for_value(value)
        try:
            sink = Sink(self.blobs, name)
            with sink:
                meta = serializer.save(value, sink)
            return Reference(
                digest=sink.digest,
                size=sink.total,
                serializer=serializer.name,
                version=serializer.version,
                type=type_name(value),
                meta=meta,
            )
        except (StoreError, MemoryError):
            raise
        except Exception as error:
            raise _not_serializable(value, name, error) from error

    def load(self, ref: Reference, *, hint: Any = None) -> Any:
        """Return the value of a reference.

        A list of more than 64 MiB is a `list` whose items are loaded when they are asked for. Arrays of a store on this machine are
        mapped, not read; writing to one changes the copy in memory only.

        Raises:
            ArtifactNotFoundError: It is not in the store any more.
            ArtifactDamagedError: Its bytes are not those that were written.
            UntrustedError: It is a pickle, and the store is not trusted.
            SerializationError: It cannot be read with what is installed here.
        """
        if ref.inline is not None:
            return _from_inline(ref)
        if ref.serializer == lists.NAME:
            length, pages = self._root(ref)
            lazy = LazyList(length, lambda position: self._item(pages, position))
            return lazy if ref.size > EAGER else list(lazy)
        serializer = registry.by_name(ref.serializer, ref.version)
        try:
            return serializer.load(Source(self, ref, hint))
        except (StoreError, MemoryError):
            raise
        except Exception as error:
            raise SerializationError(
                f"A value of type {ref.type or 'unknown'} cannot be read back with {ref.serializer} {ref.version}: "
                f"{type(error).__name__}: {error}. Is the package that it was made with installed here, in that version?"
            ) from error

    def load_item(self, ref: Reference, position: int, *, hint: Any = None) -> Any:
        """Return one item of a list, reading no other.

        Raises:
            IndexError: The list has no such item.
        """
        if ref.serializer != lists.NAME or ref.inline is not None:
            return self.load(ref, hint=hint)[position]
        length, pages = self._root(ref)
        return self._item(pages, range(length)[position], hint)

    def item(self, ref: Reference, position: int) -> Reference | None:
        """Return the reference of one item of a list, where it has one of its own."""
        if ref.inline is not None:
            value = _from_inline(ref)[position]
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            return _inline(text, value)
        if ref.serializer != lists.NAME:
            return None
        length, pages = self._root(ref)
        page, offset = divmod(range(length)[position], lists.PAGE)
        if pages[page].kind != "entries":
            return None
        kind, body = self._page(pages[page])[offset]
        return body if kind == "r" else _inline(json.dumps(body, separators=(",", ":"), ensure_ascii=False), body)

    def collect(self, refs: Sequence[Any]) -> Reference:
        """Return the reference of a list over values that are in the store; nothing is copied.

        Args:
            refs: References, or sequences of them for lists in lists.
        """
        flat = [r if isinstance(r, Reference) else self.collect(r) for r in refs]
        pages = [self._put_page(flat[i : i + lists.PAGE]) for i in range(0, len(flat), lists.PAGE)]
        return self._put_root(len(flat), pages, sum(r.size for r in flat))

    def exists(self, ref: Reference) -> bool:
        """Tell whether a value is still in the store, its parts included; the bytes are not read, but for those of lists and folders."""
        if ref.inline is not None:
            return True
        if not self.blobs.exists(ref.digest):
            return False
        if ref.serializer == lists.NAME:
            _, pages = self._root(ref)
            return all(self._page_exists(page) for page in pages)
        return all(self.blobs.exists(d) for d in registry.by_name(ref.serializer, ref.version).parts(Source(self, ref, None)))

    # --- bytes ----------------------------------------------------------------------------------------------------------------

    def put_bytes(self, data: bytes) -> str:
        """Write bytes and return their digest."""
        return self.blobs.put(data)

    def get_bytes(self, digest: str) -> bytes:
        """Return the bytes that have a digest, verified."""
        return self.blobs.get(digest)

    def put_bundle(self, data: bytes) -> str:
        """Write a code bundle and return its digest."""
        return self._put_at(layout.bundle, data)

    def get_bundle(self, digest: str) -> bytes:
        """Return a code bundle, verified."""
        return self._get_at(layout.bundle, digest, "code bundle")

    def put_environment(self, data: bytes) -> str:
        """Write an environment lock and return its digest."""
        return self._put_at(layout.environment, data)

    def get_environment(self, digest: str) -> bytes:
        """Return an environment lock, verified."""
        return self._get_at(layout.environment, digest, "environment lock")

    def _put_at(self, place: Any, data: bytes) -> str:
        digest = digests.digest(data)
        if self.content.size(place(digest)) != len(data):
            self.content.put(place(digest), data)
        return digest

    def _get_at(self, place: Any, digest: str, what: str) -> bytes:
        data = self.content.get(place(digest))
        if not digests.matches(data, digest):
            raise ArtifactDamagedError(
                f"The {what} {place(digest)} in the store {self.url} is damaged; run the flow anew to write it again"
            )
        return data

    # --- lists ----------------------------------------------------------------------------------------------------------------

    def _save_list(self, values: Sequence[Any], name: str) -> Reference:
        pages: list[Page] = []
        total = 0
        for start in range(0, len(values), lists.PAGE):
            part = list(values[start : start + lists.PAGE])
            page, size = self._save_page(part, start, name)
            pages.append(page)
            total += size
        return self._put_root(len(values), pages, total)

    def _save_page(self, part: list[Any], start: int, name: str) -> tuple[Page, int]:
        """Write a page of a list: small plain objects together in one pickle, everything else item by item."""
        if not any(is_exact(v) or registry.is_special(v) for v in part[:3]) and not any(registry.is_special(v) for v in part):
            pickled = registry.small_pickle(part, _PAGE_PICKLE)
            if pickled is not None:
                return Page("pickle", self.blobs.put(pickled), len(pickled)), len(pickled)
        refs = [self.save(v, name=f"item {start + i} of {name or 'a list'}") for i, v in enumerate(part)]
        return self._put_page(refs), sum(r.size for r in refs)

    def _put_page(self, refs: Sequence[Reference]) -> Page:
        data = lists.page_of([lists.reference_entry(r) for r in refs])
        return Page("entries", self.blobs.put(data), len(data))

    def _put_root(self, length: int, pages: Sequence[Page], size: int) -> Reference:
        data = lists.root_of(length, pages)
        return Reference(digest=self.blobs.put(data), size=size, serializer=lists.NAME, type="builtins.list", length=length)

    def _root(self, ref: Reference) -> tuple[int, list[Page]]:
        return self._kept(ref.digest, lambda: lists.parse_root(self.blobs.get(ref.digest)))  # type: ignore[no-any-return]

    def _page(self, page: Page) -> list[Any]:
        if page.kind == "pickle":
            return self._kept(page.digest, lambda: registry.load_small_pickle(self, self.blobs.get(page.digest)))  # type: ignore[no-any-return]
        return self._kept(page.digest, lambda: lists.parse_page(self.blobs.get(page.digest)))  # type: ignore[no-any-return]

    def _page_exists(self, page: Page) -> bool:
        if not self.blobs.exists(page.digest):
            return False
        return page.kind == "pickle" or all(kind != "r" or self.exists(body) for kind, body in self._page(page))

    def _kept(self, key: str, make: Any) -> Any:
        if key in self._pages:
            self._pages.move_to_end(key)
            return self._pages[key]
        value = self._pages[key] = make()
        while len(self._pages) > _PAGES_KEPT:
            self._pages.popitem(last=False)
        return value

    def _item(self, pages: list[Page], position: int, hint: Any = None) -> Any:
        page, offset = divmod(position, lists.PAGE)
        if pages[page].kind == "pickle":
            return registry.fresh(self._page(pages[page])[offset])
        kind, body = self._page(pages[page])[offset]
        return self.load(body, hint=hint) if kind == "r" else registry.fresh(body)


def _inline(text: str, value: Any) -> Reference:
    data = text.encode(errors="surrogatepass")
    return Reference(
        digest=digests.digest(data),
        size=len(data),
        serializer="json",
        type=type_name(value),
        inline=text,
        length=len(value) if isinstance(value, list) else None,
    )


def _from_inline(ref: Reference) -> Any:
    assert ref.inline is not None
    if not digests.matches(ref.inline.encode(errors="surrogatepass"), ref.digest):
        raise ArtifactDamagedError(f"A value of type {ref.type} that stands in its reference is damaged; run again what made it")
    return json.loads(ref.inline)


def _not_serializable(value: Any, name: str, error: Exception) -> SerializationError:
    what = name[:1].upper() + name[1:] if name else "A value"
    return SerializationError(
        f"{what} of type {type_name(value)} cannot be written: {type(error).__name__}: {error}. "
        "Return something that can be pickled (paths or data instead of open files, locks, connections), "
        "or give its type a serializer with flowbridge.register_serializer"
    )
