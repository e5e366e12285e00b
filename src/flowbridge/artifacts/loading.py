"""Values from references and blobs."""

from __future__ import annotations

import base64
import copy
import io
import json
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args, get_origin

from flowbridge.artifacts import digests, lists, packing
from flowbridge.artifacts.folders import folder_within, temporary_folder
from flowbridge.artifacts.lazy import LazyList
from flowbridge.artifacts.reference import Reference
from flowbridge.artifacts.serializers import registry
from flowbridge.artifacts.serializers.base import MOST_MANIFEST, Source, titled
from flowbridge.artifacts.standing import from_inline, held_bytes, inline_reference
from flowbridge.artifacts.transfer import in_parallel
from flowbridge.errors import ArtifactDamagedError, ArtifactNotFoundError, SerializationError, StoreError

if TYPE_CHECKING:
    from flowbridge.artifacts.blobs import Blobs
    from flowbridge.artifacts.lists import Entry, Page, Root

EAGER = 64 << 20
"""Bytes up to which a list is loaded whole when it is asked for."""
_KEPT = 16
_KEPT_SIZE = 8 << 20
"""Bytes of a blob of several items up to which it is held: as many as such blobs had when they were largest."""
_FIELDS = frozenset({"dataclass", "pydantic"})
_SCALARS = frozenset({int, str, float, bool, type(None)})
_THREADS = 16
_AHEAD = 32 << 20
_MOST_AHEAD = 200
_PAGES_AHEAD = 4  # well below _KEPT: each page is read once, whatever its items want to keep in between


@dataclass(frozen=True)
class Origin:
    """What a lazy list was read from."""

    url: str
    ref: Reference
    item: Callable[[int], Reference | None]


class Loader:
    """Loads values. It is the opener of every source.

    Args:
        blobs: Where from.
        url: Of the store, for messages.
        trust: Whether pickles are loaded.
    """

    def __init__(self, blobs: Blobs, url: str, *, trust: bool) -> None:
        self.url = url
        self.trust = trust
        self.work: Path | None = None
        self._made: list[Path] = []
        self._blobs = blobs
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._pack: tuple[str, bytes] = "", b""

    # --- bytes of a reference -------------------------------------------------------------------------------------------------

    def read(self, ref: Reference) -> bytes:  # noqa: D102  (as in Opener, the same below)
        if ref.data is not None:
            return held_bytes(ref)
        if ref.encoding:
            return bytes(self.view(ref))
        return self._packed(ref) if ref.pack else self._blobs.read(ref.digest, ref.blob_size)

    def view(self, ref: Reference) -> memoryview:  # noqa: D102
        if ref.data is not None:
            return memoryview(bytearray(held_bytes(ref)))
        if ref.encoding:
            return self._unpacked(ref)
        return memoryview(bytearray(self._packed(ref))) if ref.pack else self._blobs.view(ref.digest, ref.blob_size)

    def open(self, ref: Reference) -> IO[bytes]:  # noqa: D102
        if ref.data is not None or ref.encoding or ref.pack:
            return io.BytesIO(self.read(ref))
        return self._blobs.open(ref.digest, ref.blob_size)

    def _unpacked(self, ref: Reference) -> memoryview:
        if ref.encoding != packing.ZSTD or ref.raw_size is None:
            raise SerializationError(f"{titled(ref)} is packed as {ref.encoding!r}, which this version of flowbridge does not know")
        with self._blobs.open(ref.digest, ref.blob_size) as file:
            return packing.unpacked(memoryview(file.read()), ref.raw_size)

    def _packed(self, ref: Reference) -> bytes:
        """Return bytes that share a blob with others: alone the first time, from the whole blob when more of it is wanted."""
        assert ref.pack is not None
        if not 0 <= ref.blob_size <= _KEPT_SIZE or ref.offset < 0:
            raise ArtifactDamagedError(f"{titled(ref)} is said to be {ref.blob_size} bytes from {ref.offset} on of a blob of several items")
        if f"asked {ref.pack}" not in self._kept and not self._blobs.content.local:
            self._keep(f"asked {ref.pack}", lambda: True)
            return self._blobs.range(ref.pack, ref.offset, ref.blob_size, ref.digest)
        if self._blobs.content.local or ref.pack_size is None or ref.pack_size > _KEPT_SIZE:
            return self._blobs.range(ref.pack, ref.offset, ref.blob_size, ref.digest)
        name, whole = self._pack
        if name != ref.pack:
            whole = self._blobs.read(ref.pack, ref.pack_size)
            self._pack = ref.pack, whole
        data = bytes(whole[ref.offset : ref.offset + ref.blob_size])
        if not digests.matches(data, ref.digest):
            raise ArtifactDamagedError(f"{titled(ref)} is damaged in the store {self.url}; run again what made it")
        return data

    def folder(self) -> Path:  # noqa: D102
        self._made.append(folder_within(self.work, "in-") if self.work is not None else temporary_folder())
        return self._made[-1]

    def drop_folders(self) -> None:
        """Remove the folders that were made for values so far."""
        while self._made:
            shutil.rmtree(self._made.pop(), ignore_errors=True)

    # --- values ---------------------------------------------------------------------------------------------------------------

    def load(self, ref: Reference, hint: Any = None) -> Any:  # noqa: D102
        with _named(ref):
            if ref.inline is not None:
                return from_inline(ref)
            if ref.serializer == lists.NAME:
                return self._list(ref, hint)
            return self._with(ref, hint)

    def _with(self, ref: Reference, hint: Any) -> Any:
        serializer = registry.by_name(ref.serializer, ref.version)
        try:
            return serializer.load(Source(self, ref, hint))
        except StoreError:
            raise
        except MemoryError as error:
            raise MemoryError(
                f"{titled(ref)} ({ref.raw_size or ref.size} bytes as stored) takes more memory than there is. {error}"
            ) from error
        except Exception as error:
            raise SerializationError(
                f"{titled(ref)} cannot be read back with the format {ref.serializer!r}: {type(error).__name__}: {error}. "
                "Is the package that it was made with installed here, in that version?"
            ) from error

    def load_item(self, ref: Reference, position: int, hint: Any = None) -> Any:
        """Return one item of a list, reading no other."""
        if ref.serializer != lists.NAME or ref.inline is not None:
            return self.load(ref, hint)[position]
        with _named(ref):
            root = self._root(ref)
            return self._item(root, range(root.length)[position], hint)

    def item(self, ref: Reference, position: int) -> Reference | None:
        """Return the reference of one item of a list, where it has one of its own."""
        with _named(ref):
            if ref.serializer != lists.NAME:
                if ref.serializer != "json" or ref.length is None:
                    return None
                return inline_reference(self.load(ref)[range(ref.length)[position]])
            root = self._root(ref)
            kind, body = self._entry(root, range(root.length)[position])
            return body if kind == "r" else inline_reference(body)

    # --- lists ----------------------------------------------------------------------------------------------------------------

    def _list(self, ref: Reference, hint: Any) -> Any:
        root = self._root(ref)
        inner = _item_hint(hint)
        meta = dict(ref.meta)
        whole = ref.size <= EAGER and not meta.get("iterator")
        lazy = LazyList(
            self._counted(root, ref.size, inner) if whole and not self.trust else lambda position: self._item(root, position, inner),
            range(root.length),
            Origin(self.url, ref, lambda p: self.item(ref, p)),
            None if self._blobs.content.local or self._blobs.cache is None else lambda positions: self._ahead(root, positions),
        )
        if meta.get("iterator"):
            return _stream(iter(lazy), meta)
        return list(iter(lazy)) if whole else lazy

    def _root(self, ref: Reference) -> Root:
        if ref.unpacked_size > MOST_MANIFEST:
            raise ArtifactDamagedError(f"{titled(ref)} has a root of {ref.unpacked_size} bytes, which is too many")
        return self._keep(ref.digest, lambda: lists.parse_root(self.read(ref), ref.length))  # type: ignore[no-any-return]

    def _page(self, page: Page, count: int) -> list[Entry]:
        if page.size > MOST_MANIFEST:
            raise ArtifactDamagedError(f"A page of a list has {page.size} bytes, which is too many")
        return self._keep(page.digest, lambda: lists.parse_page(self._blobs.read(page.digest, page.size), count))  # type: ignore[no-any-return]

    def _entry(self, root: Root, position: int) -> Entry:
        page, offset = root.place(position)
        return self._page(page, root.count(position // root.step))[offset]

    def _item(self, root: Root, position: int, hint: Any) -> Any:
        kind, body = self._entry(root, position)
        if kind == "r":
            return self.load(body, hint)
        return body if type(body) in _SCALARS else copy.deepcopy(body)

    def _ahead(self, root: Root, positions: Sequence[int]) -> Iterator[int]:
        """Yield positions; the blobs of the next ones are fetched at the same time, from a store that is elsewhere."""
        wanted: dict[str, int] = {}
        window: list[int] = []
        pages: set[int] = set()
        most = 1  # and twice as many each time: who takes only the first one fetches only that
        for position in positions:
            kind, body = self._entry(root, position)
            if kind == "r" and body.has_blob:
                wanted[body.pack or body.digest] = body.pack_size or body.blob_size
            elif not wanted:  # it stands in its page, and nothing before it is waited for
                yield position
                continue
            window.append(position)
            pages.add(position // root.step)
            if len(wanted) >= most or sum(wanted.values()) > _AHEAD or len(pages) >= _PAGES_AHEAD:
                self._fetch(wanted)
                yield from window
                wanted, window, pages, most = {}, [], set(), min(2 * most, _MOST_AHEAD)
        self._fetch(wanted)
        yield from window

    def _fetch(self, wanted: dict[str, int]) -> None:
        in_parallel(lambda digest: self._blobs.open(digest, wanted[digest]).close(), wanted, _THREADS)

    def _keep(self, key: str, make: Callable[[], Any]) -> Any:
        if key in self._kept:
            with suppress(KeyError):  # another thread may have removed it
                self._kept.move_to_end(key)
                return self._kept[key]
        value = self._kept[key] = make()
        while len(self._kept) > _KEPT:
            with suppress(KeyError):
                self._kept.popitem(last=False)
        return value

    def _counted(self, root: Root, size: int, hint: Any) -> Callable[[int], Any]:
        """Return what loads the items of a list, until they are more than its reference tells: lists in lists can name one thing very often."""
        left = size

        def load(position: int) -> Any:
            nonlocal left
            kind, body = self._entry(root, position)
            left -= max(body.size, 1) if kind == "r" else 1
            if left < 0:
                raise ArtifactDamagedError(f"A list holds more than the {size} bytes that its reference tells")
            return self._item(root, position, hint)

        return load

    # --- what belongs to a value ----------------------------------------------------------------------------------------------

    def blobs_of(self, ref: Reference, seen: set[str], *, lenient: bool = False) -> Iterator[tuple[str, int]]:
        """Yield digest and size of every blob that a value consists of; those in `seen` and what hangs on them are left out.

        What a blob that is gone would have told is passed over if `lenient`; else `ArtifactNotFoundError` is raised.
        """
        try:
            yield from self._blobs_of(ref, seen, lenient=lenient)
        except RecursionError as error:
            raise _too_deep(ref) from error

    def _blobs_of(self, ref: Reference, seen: set[str], *, lenient: bool) -> Iterator[tuple[str, int]]:
        if ref.inline is not None:
            return
        digest = ref.pack or ref.digest
        if ref.data is None and digest in seen and ref.parts is None:
            return
        if ref.data is None and digest not in seen:
            seen.add(digest)
            yield digest, ref.pack_size or ref.blob_size
        for inner in self._inner(ref, seen, lenient=lenient):
            if isinstance(inner, Reference):
                yield from self._blobs_of(inner, seen, lenient=lenient)
            else:
                yield inner

    def _inner(self, ref: Reference, seen: set[str], *, lenient: bool) -> Iterator[Reference | tuple[str, int]]:
        """Yield the blobs that tell what else a value consists of, and the references in them."""
        sources: list[Iterator[Reference | tuple[str, int]]] = []
        if ref.parts is not None and ref.parts not in seen:
            sources.append(self._parts(ref.parts, seen))
        if ref.serializer == lists.NAME:
            sources.append(self._pages_of(ref, seen, lenient=lenient))
        elif ref.data is not None and ref.serializer in _FIELDS:
            sources.append(iter(_fields_of(ref)))  # lists of parts that were written before 0.1 leave out lists of few pages
        for source in sources:
            with _passed_over(lenient):
                yield from source

    def _parts(self, digest: str, seen: set[str]) -> Iterator[Reference | tuple[str, int]]:
        data = self._blobs.get(digest, most=MOST_MANIFEST)
        seen.add(digest)
        yield digest, len(data)
        try:
            found = [Reference.model_validate(r) for r in json.loads(data)]
        except (ValueError, TypeError, RecursionError) as error:
            raise ArtifactDamagedError(f"The list of parts {digest} cannot be read: {error}") from error
        yield from found

    def _pages_of(self, ref: Reference, seen: set[str], *, lenient: bool) -> Iterator[Reference | tuple[str, int]]:
        root = self._root(ref)
        for number, page in enumerate(root.pages):
            if page.digest in seen:
                continue
            seen.add(page.digest)
            yield page.digest, page.size
            with _passed_over(lenient):
                yield from (body for kind, body in self._page(page, root.count(number)) if kind == "r")

    def exists(self, ref: Reference) -> bool:
        """Tell whether everything a value consists of is in the store; of most blobs the bytes are not read."""
        seen: set[str] = set()
        try:
            wanted = list(self.blobs_of(ref, seen))
        except (ArtifactNotFoundError, ArtifactDamagedError):
            return False
        if self._blobs.content.local or len(wanted) < 2:  # noqa: PLR2004  (one needs no threads)
            return all(self._blobs.exists(d) for d, _ in wanted)
        return all(in_parallel(lambda one: self._blobs.exists(one[0]), wanted, _THREADS))


def _fields_of(ref: Reference) -> Iterator[Reference]:
    """Yield the references of the fields of a value that stands in its reference."""
    if dict(ref.meta).get("fields") is None:  # a model as its own JSON
        return
    try:
        body = json.loads(held_bytes(ref))
        fields = body if ref.serializer == "dataclass" else {**body["fields"], "": body.get("extra")}
        found = [Reference.model_validate(kept) for kept in fields.values() if kept is not None]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactDamagedError(f"{titled(ref)} cannot be read: {error}") from error
    yield from found


def _passed_over(lenient: bool) -> AbstractContextManager[None]:  # noqa: FBT001  (it says what it is about)
    """Pass over a blob that is gone, if that is wanted."""
    return suppress(ArtifactNotFoundError) if lenient else nullcontext()


def _item_hint(hint: Any) -> Any:
    """Return the annotation of the items of a list."""
    args = get_args(hint)
    origin = get_origin(hint)
    return args[0] if len(args) == 1 and isinstance(origin, type) and issubclass(origin, (list, Iterator)) else None


def _stream(items: Iterator[Any], meta: dict[str, Any]) -> Any:
    if "schema" not in meta:
        return items
    import pyarrow as pa  # noqa: PLC0415  (only for a stream of its batches)

    try:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(meta["schema"])))
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise ArtifactDamagedError(f"The schema of a stream of record batches cannot be read: {error}") from error
    return pa.RecordBatchReader.from_batches(schema, items)


@contextmanager
def _named(ref: Reference) -> Iterator[None]:
    """Put the name of the value, and so of the step that made it, before errors of the store."""
    try:
        yield
    except (ArtifactDamagedError, ArtifactNotFoundError) as error:
        if not ref.made_by or str(error).startswith(titled(ref)[:20]):
            raise
        lost = "damaged" if isinstance(error, ArtifactDamagedError) else "not in the store any more"
        raise type(error)(f"{titled(ref)}, is {lost}. {error}") from error
    except RecursionError as error:
        raise _too_deep(ref) from error


def _too_deep(ref: Reference) -> ArtifactDamagedError:
    return ArtifactDamagedError(f"{titled(ref)} consists of values inside values, too many to follow")
