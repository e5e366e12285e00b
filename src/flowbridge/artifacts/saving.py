"""Values into blobs and references."""

from __future__ import annotations

import base64
import json
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts import digests, layout, lists
from flowbridge.artifacts.lazy import LazyList
from flowbridge.artifacts.lists import Entry, Page, Root
from flowbridge.artifacts.reference import Reference
from flowbridge.artifacts.sending import Sender
from flowbridge.artifacts.serializers import picklers, plain, registry
from flowbridge.artifacts.serializers.base import Sink, type_name
from flowbridge.errors import SerializationError, StoreError

if TYPE_CHECKING:
    from flowbridge.artifacts.blobs import Blobs
    from flowbridge.artifacts.serializers.base import Meta, Serializer
    from flowbridge.ir.base import JsonValue

INLINE = 4096
"""Bytes of JSON up to which a value stands in its reference."""
INLINE_BYTES = 3072
"""Bytes of any other format up to which they do: as many characters in base64."""
_ONE_JSON = 1 << 20
"""Bytes of JSON up to which a list of plain values is one blob."""
_SMALL = 128 << 10
"""Bytes up to which an item shares a blob with its neighbours."""
PACK = 4 << 20
"""Bytes of such a blob at most."""
_SENT_BEHIND = 1 << 20
"""Bytes up to which an item of a list is sent to a store elsewhere while the next ones are made."""
_LONG = 5000
_SAMPLE = 50
_STREAMS = ("pandas.io.", "pyarrow.lib.RecordBatchReader")


@dataclass(frozen=True)
class Small:
    """A value whose bytes are few, and not written yet."""

    reference: Reference
    data: bytes


class Saver:
    """Saves values.

    Args:
        blobs: Where to.
        encoding: How blobs are packed.
    """

    def __init__(self, blobs: Blobs, encoding: str = "") -> None:
        self._blobs = blobs
        self._encoding = encoding

    def save(self, value: Any, name: str = "") -> Reference:
        """Write a value and return its reference."""
        with Sender(parallel=False) as sender:
            made = self._encode(value, name, sender)
            return made if isinstance(made, Reference) else self._alone(made, sender)

    def _encode(self, value: Any, name: str, sender: Sender) -> Reference | Small:
        kind = type(value)
        if kind is list and len(value) > _LONG and plain.is_exact(value):
            return self._plain_list(value, name)
        if kind in plain.KINDS:
            text = plain.exact_text(value)
            if text is not None:
                return self._plain(value, text, name)
        if kind is list and not plain.is_tangled(value):
            return self._list(value, name, ())
        if kind is LazyList:
            return self._again(value, name)
        if _is_stream(value):
            return self._stream(value, name)
        return self._with(registry.for_value(value), value, name, sender)

    # --- formats --------------------------------------------------------------------------------------------------------------

    def _plain(self, value: Any, text: str, name: str) -> Reference | Small:
        data = text.encode()
        ref = Reference(
            digest=digests.digest(data),
            size=len(data),
            serializer="json",
            type=f"builtins.{type(value).__name__}",
            inline=text if len(data) <= INLINE else None,
            length=len(value) if type(value) is list else None,
            made_by=name,
        )
        if ref.inline is not None:
            return ref
        if type(value) is list and len(data) > _ONE_JSON:
            return self._plain_list(value, name)
        return Small(ref, data)

    def _plain_list(self, value: list[Any], name: str) -> Reference:
        """Save a long list of values that JSON holds, by pages of about the same size."""
        shown = len(json.dumps(value[:: -(-len(value) // _SAMPLE)])) // _SAMPLE
        step = min(max(_ONE_JSON // max(shown, 1), 1), lists.PLAIN_PAGE)
        with self._sender() as sender:
            pages = [self._page([("v", v) for v in value[i : i + step]], sender) for i in range(0, len(value), step)]
            return self._root(len(value), pages, sum(p.size for p in pages), name, (), step, sender)

    def _with(self, serializer: Serializer, value: Any, name: str, sender: Sender) -> Reference | Small:
        sink = Sink(self._blobs, name, self.save, packing=bool(self._encoding))
        try:
            meta = serializer.save(value, sink)
            return self._finish(sink, serializer, value, meta, sender)
        except SerializationError as error:
            sink.out.abandon()
            if not name or name[1:] in str(error):
                raise
            raise SerializationError(f"{name[:1].upper()}{name[1:]}, of type {type_name(value)}, cannot be written: {error}") from error
        except (StoreError, MemoryError):
            sink.out.abandon()
            raise
        except Exception as error:
            sink.out.abandon()
            raise not_serializable(value, name, error) from error
        except BaseException:
            sink.out.abandon()
            raise

    def _finish(self, sink: Sink, serializer: Serializer, value: Any, meta: Meta, sender: Sender) -> Reference | Small:
        held = sink.out.held() if sink.out.size <= _SMALL else None
        size = sink.out.size
        parts = self._list_of_parts(sink, sender)
        if held is not None:
            digest, encoding, raw_size = digests.digest(held), "", None
        else:
            raw = sink.tell()
            digest = sink.out.finish(sender if sink.out.size <= _SENT_BEHIND else None)
            size, encoding = sink.out.size, getattr(sink.out, "encoding", "")
            raw_size = raw if encoding else None
        ref = Reference(
            digest=digest,
            size=size + sink.total,
            serializer=serializer.name,
            version=serializer.version,
            type=type_name(value),
            parts=parts,
            encoding=encoding,
            raw_size=raw_size,
            main_size=size if sink.total else None,
            made_by=sink.name,
            meta=meta,
        )
        return ref if held is None else Small(ref, held)

    def _list_of_parts(self, sink: Sink, sender: Sender) -> str | None:
        """Write what else belongs to a value, so that nobody needs its serializer to find that."""
        others = [r for r in sink.others if r.owns_blobs]
        if not others:
            return None
        data = json.dumps([r.model_dump(mode="json", exclude_defaults=True) for r in others], separators=(",", ":")).encode()
        digest = digests.digest(data)
        sender.send(lambda: self._blobs.content.put(layout.blob(digest), data), len(data))
        return digest

    def _alone(self, small: Small, sender: Sender) -> Reference:
        if len(small.data) <= INLINE_BYTES:  # a file, or a request, for so little would cost more than all else
            return small.reference.model_copy(update={"data": base64.b64encode(small.data).decode()})
        path = layout.blob(small.reference.digest)
        sender.send(lambda: self._blobs.content.put(path, small.data), len(small.data))
        return small.reference

    # --- lists ----------------------------------------------------------------------------------------------------------------

    def collect(self, refs: Sequence[Any]) -> Reference:
        """Return the reference of a list over values that are in the store."""
        with self._sender() as sender:
            flat = [r if isinstance(r, Reference) else self.collect(r) for r in refs]
            held = sum(len(r.data or r.inline or "") for r in flat)
            step = (
                lists.PAGE if held <= _ONE_JSON else max(min(len(flat) * _ONE_JSON // held, lists.PAGE), 1)
            )  # who wants one item reads a page
            pages = [self._page([lists.entry_of(r) for r in flat[i : i + step]], sender) for i in range(0, len(flat), step)]
            return self._root(len(flat), pages, sum(r.size for r in flat), "", (), step, sender)

    def _sender(self) -> Sender:
        return Sender(parallel=not self._blobs.content.local)

    def _list(self, values: Iterable[Any], name: str, meta: Meta, kind: str = "builtins.list") -> Reference:
        pages: list[Page] = []
        length = total = 0
        iterator = iter(values)
        with self._sender() as sender:
            while part := list(islice(iterator, 1)):  # the first of a page; the others follow one by one, so that a stream is never held
                entries, size = self._entries(_then(part, islice(iterator, lists.PAGE - 1)), length, name, sender)
                pages.append(self._page(entries, sender))
                length += len(entries)
                total += size
            return self._root(length, pages, total, name, meta, lists.PAGE, sender, kind)

    def _entries(self, values: Iterable[Any], start: int, name: str, sender: Sender) -> tuple[list[Entry], int]:
        entries: list[Entry] = []
        pack: list[tuple[int, Small]] = []
        total = waiting = 0
        for position, value in enumerate(values):
            made = self._encode(value, f"item {start + position}{f' of {name}' if name else ''}", sender)
            if isinstance(made, Small):
                if waiting + len(made.data) > PACK:
                    self._put_pack(pack, entries, sender)
                    pack, waiting = [], 0
                pack.append((position, made))
                waiting += len(made.data)
                made = made.reference
            total += made.size
            entries.append(lists.entry_of(made.model_copy(update={"made_by": ""})))
        self._put_pack(pack, entries, sender)
        return entries, total

    def _put_pack(self, pack: list[tuple[int, Small]], entries: list[Entry], sender: Sender) -> None:
        """Write small items together, and tell their references where they are."""
        if len(pack) < 2:  # noqa: PLR2004  (nothing to share a blob with)
            for position, small in pack:
                entries[position] = lists.entry_of(self._alone(small, sender).model_copy(update={"made_by": ""}))
            return
        data = b"".join(small.data for _, small in pack)
        digest = digests.digest(data)
        sender.send(lambda: self._blobs.content.put(layout.blob(digest), data), len(data))
        offset = 0
        for position, small in pack:
            update = {"pack": digest, "pack_size": len(data), "offset": offset, "made_by": ""}
            entries[position] = ("r", small.reference.model_copy(update=update))
            offset += len(small.data)

    def _page(self, entries: Sequence[Entry], sender: Sender) -> Page:
        data = lists.dump_page(entries)
        digest = digests.digest(data)
        sender.send(lambda: self._blobs.content.put(layout.blob(digest), data), len(data))
        return Page(digest, len(data))

    def _root(  # noqa: PLR0913, PLR0917  (private: the fields of a reference)
        self, length: int, pages: Sequence[Page], total: int, name: str, meta: Meta, step: int, sender: Sender, kind: str = "builtins.list"
    ) -> Reference:
        data = lists.dump_root(Root(length, step, tuple(pages)))
        made = Reference(
            digest=digests.digest(data),
            size=max(total, length),  # no item counts as nothing, so that what a reference tells bounds what is loaded
            main_size=len(data),
            serializer=lists.NAME,
            type=kind,
            length=length,
            made_by=name,
            meta=meta,
        )
        return self._alone(Small(made, data), sender)

    def _again(self, value: LazyList, name: str) -> Reference:
        """Save a list that was read lazily: what was not changed is in a store already, perhaps in this one."""
        positions, origin = value.positions, value.origin
        if positions is None or origin is None or origin.url != self._blobs.content.url:
            return self._list(value, name, ())
        if isinstance(positions, range) and positions == range(origin.ref.length or 0):
            return origin.ref.model_copy(update={"made_by": name})  # type: ignore[no-any-return]
        return self.collect([origin.item(p) for p in positions]).model_copy(update={"made_by": name})

    def _stream(self, value: Any, name: str) -> Reference:
        """Save what an iterator gives, item by item; not more than one is held."""
        meta: list[tuple[str, JsonValue]] = [("iterator", True)]
        if type_name(value) == "pyarrow.lib.RecordBatchReader":
            meta.append(("schema", base64.b64encode(value.schema.serialize().to_pybytes()).decode()))
        return self._list(value, name, tuple(meta), type_name(value))


def _then(first: list[Any], rest: Iterator[Any]) -> Iterator[Any]:
    while first:
        yield first.pop()
    yield from rest


def _is_stream(value: Any) -> bool:
    """Tell whether a value is nothing but a way to get items: iterating over it loses nothing else."""
    if isinstance(value, types.GeneratorType):
        return True
    kind = type(value)
    if kind.__module__ in {"builtins", "itertools"}:
        return hasattr(kind, "__next__")
    return hasattr(kind, "__next__") and type_name(value).startswith(_STREAMS)


def not_serializable(value: Any, name: str, error: Exception) -> SerializationError:
    """Make the error for a value that cannot be written: names it, its type, what in it stands in the way, and what to do."""
    called = f"{name[:1].upper()}{name[1:]}" if name else "A value"
    inside = picklers.culprit(value)
    where = f" Its {inside} cannot be pickled." if inside else ""
    return SerializationError(
        f"{called}, of type {type_name(value)}, cannot be written: {type(error).__name__}: {error}.{where} "
        "Return something that can be pickled (paths or data instead of open files, locks and connections), "
        "or give its type a format of its own with flowbridge.register_serializer(cls, save, load)"
    )
