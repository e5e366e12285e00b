"""The artifact store: values in, references out, and back. Every value is verified by its digest when it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowbridge.artifacts import digests, layout, packing
from flowbridge.artifacts.blobs import Blobs
from flowbridge.artifacts.cache import DEFAULT_SIZE, ReadCache, default_folder
from flowbridge.artifacts.content import Content, open_content
from flowbridge.artifacts.loading import Loader
from flowbridge.artifacts.reference import Reference
from flowbridge.artifacts.saving import Saver
from flowbridge.errors import ArtifactDamagedError


class Store:
    """Values by reference, on a local folder or any fsspec URL.

    Args:
        content: The bytes.
        trust: Whether pickles are loaded.
        cache: Copies on this machine; None: none are kept.
        encoding: How blobs are packed: ``zstd``, or nothing.
    """

    def __init__(self, content: Content, *, trust: bool = True, cache: ReadCache | None = None, encoding: str = "") -> None:
        self.content = content
        self.trust = trust
        self.cache = cache
        self.blobs = Blobs(content, cache)
        self._encoding = encoding
        self._saver = Saver(self.blobs, encoding)
        self._loader = Loader(self.blobs, content.url, trust=trust)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        options: Mapping[str, Any] | None = None,
        trust: bool = True,
        cache_dir: str | Path | None = None,
        cache_size: int = DEFAULT_SIZE,
    ) -> Store:
        """Open a store; nothing is read or written by that.

        Args:
            url: A folder, or any URL that fsspec knows.
            options: What the fsspec file system takes (endpoint, credentials, ...), and ``compression = "zstd"``. Of a folder of this
                machine: ``fsync = true`` to wait for the disk with each write.
            trust: Whether pickles of this store are loaded. A store that others can write to is not to be trusted.
            cache_dir: Where copies of remote values are kept; None: the user's cache folder.
            cache_size: Bytes that these copies may take; 0: none are kept.

        Raises:
            ConfigError: The URL or its options are not understood.
            MissingExtraError: The package for this kind of URL is not installed.
        """
        encoding, rest = packing.of_options(options or {})
        cache = ReadCache(Path(cache_dir).expanduser() if cache_dir else None, cache_size) if cache_size else None
        return cls(open_content(url, rest), trust=trust, cache=cache, encoding=encoding)

    @property
    def url(self) -> str:
        """The URL of the store."""
        return self.content.url

    @property
    def cache_dir(self) -> Path:
        """Where copies of remote values are kept on this machine."""
        return self.cache.folder if self.cache is not None else default_folder()

    @property
    def work(self) -> Path | None:
        """Where files and folders that are loaded are put; None: in a folder that goes when the process ends."""
        return self._loader.work

    @work.setter
    def work(self, folder: Path | None) -> None:
        self._loader.work = folder

    def drop_files(self) -> None:
        """Remove the files and folders that were loaded so far: whoever got their paths is done with them."""
        self._loader.drop_folders()

    def apart(self) -> Store:
        """Return the same store with loaded files of its own, for a task in a process that others read the store in too."""
        return Store(self.content, trust=self.trust, cache=self.cache, encoding=self._encoding)

    # --- values ---------------------------------------------------------------------------------------------------------------

    def save(self, value: Any, *, hint: Any = None, name: str = "") -> Reference:
        """Write a value and return its reference.

        Args:
            value: Anything that a serializer, or pickle, can write.
            hint: The annotation it was declared with. Formats go by the value itself, so that what comes back is what was given.
            name: What to call it in errors, such as ``output 'train' of step load``.

        Raises:
            SerializationError: It cannot be written; tells the name, the type and what to do.
            StoreError: The store failed; nothing half-written is visible.
        """
        del hint
        return self._saver.save(value, name)

    def load(self, ref: Reference, *, hint: Any = None) -> Any:
        """Return the value of a reference.

        A list of more than 64 MiB comes as a :class:`~flowbridge.artifacts.lazy.LazyList`, which loads an item when it is asked for.
        Large arrays are mapped, not read: writing to one changes the memory of this process only.

        Args:
            ref: The reference.
            hint: The annotation of what receives the value. Classes it names are used where the store is not trusted to name any.

        Raises:
            ArtifactNotFoundError: It is not in the store any more.
            ArtifactDamagedError: Its bytes are not those that were written.
            UntrustedError: It is a pickle, and the store is not trusted.
            SerializationError: It cannot be read with what is installed here.
        """
        return self._loader.load(ref, hint)

    def load_item(self, ref: Reference, position: int, *, hint: Any = None) -> Any:
        """Return one item of a list, reading no other.

        Raises:
            IndexError: The list has no such item.
        """
        return self._loader.load_item(ref, position, hint)

    def item(self, ref: Reference, position: int) -> Reference | None:
        """Return the reference of one item of a list; None where the value has no references for its items.

        Raises:
            IndexError: The list has no such item.
        """
        return self._loader.item(ref, position)

    def collect(self, refs: Sequence[Any]) -> Reference:
        """Return the reference of a list over values that are in the store; nothing is copied.

        Args:
            refs: References, or sequences of them for lists in lists.
        """
        return self._saver.collect(refs)

    def exists(self, ref: Reference) -> bool:
        """Tell whether a value is still in the store, everything it consists of included; of most blobs the bytes are not read."""
        return self._loader.exists(ref)

    def blobs_of(self, ref: Reference, seen: set[str] | None = None, *, lenient: bool = False) -> Iterator[tuple[str, int]]:
        """Yield digest and size of every blob that a value consists of.

        Args:
            ref: The reference.
            seen: Digests that are left out, with what hangs on them; those yielded are added.
            lenient: Pass over what a blob that is gone would have told.

        Raises:
            ArtifactNotFoundError: A blob that tells what else the value consists of is gone, and `lenient` is not set.
        """
        return self._loader.blobs_of(ref, set() if seen is None else seen, lenient=lenient)

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

    def _put_at(self, place: Callable[[str], str], data: bytes) -> str:
        digest = digests.digest(data)
        self.content.put(place(digest), data)
        return digest

    def _get_at(self, place: Callable[[str], str], digest: str, what: str) -> bytes:
        data = self.content.get(place(digest))
        if not digests.matches(data, digest):
            raise ArtifactDamagedError(
                f"The {what} {place(digest)} in the store {self.url} is damaged; run the flow anew to write it again"
            )
        return data
