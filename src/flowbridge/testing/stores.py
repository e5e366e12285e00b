"""The contract of a store: what every fsspec URL must do for runs to be safe on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from flowbridge.artifacts import layout
from flowbridge.artifacts.content import Content, open_content
from flowbridge.artifacts.store import Store
from flowbridge.errors import ArtifactDamagedError, ArtifactNotFoundError, ConfigError, UntrustedError, suggest
from flowbridge.records.files import RunFiles, Runs
from flowbridge.records.models import RunRecord

_LARGE = 40 << 20
_RACERS = 8


@dataclass
class Fields:
    """A dataclass with one field of any kind."""

    value: Any


class Model(BaseModel):
    """A model with one field that JSON does not hold."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    value: Any


def nested(value: Any, other: Any) -> dict[str, Any]:
    """Return values in which others stand in every way that a store takes apart, by what they are called."""
    ways: dict[str, Callable[[Any], Any]] = {
        "dataclass": Fields,
        "model": lambda v: Model(value=v),
        "list": lambda v: [v, other],
        "stream": lambda v: iter([v, other]),
    }
    one = {name: way(value) for name, way in ways.items() if name != "stream"}
    return {
        "alone": value,
        **{name: way(value) for name, way in ways.items()},
        **{f"{outer} of {name}": way(inner) for outer, way in ways.items() for name, inner in one.items()},
        **{f"list of {outer} of list of {name}": [way([inner, other])] for outer, way in ways.items() for name, inner in one.items()},
    }


class StoreSuite:
    """Put a store through its contract. A subclass named ``Test...`` overrides `place` to return a fresh URL and its options.

    Attributes:
        unlike: Names of tests that this store (or the emulator that stands for it) cannot pass by its nature, with the reason.
    """

    unlike: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        for name in cls.unlike:
            if not hasattr(cls, name):
                known = [n for n in dir(cls) if n.startswith("test_")]
                raise ConfigError(f"{cls.__name__}.unlike names {name!r}, which is no test of the suite.{suggest(name, known)}")

    @pytest.fixture
    def place(self) -> tuple[str, dict[str, Any]]:
        """A URL at which nothing stands yet, and the options of its file system."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _known_limits(self, request: pytest.FixtureRequest) -> None:
        name = request.function.__name__
        if name in self.unlike:
            pytest.skip(f"known limit: {self.unlike[name]}")

    @pytest.fixture
    def content(self, place: tuple[str, dict[str, Any]]) -> Content:
        """The bytes of the store."""
        return open_content(*place)

    @pytest.fixture
    def store(self, place: tuple[str, dict[str, Any]], tmp_path: Path) -> Store:
        """The store, with a cache of its own."""
        return Store.open(place[0], options=place[1], cache_dir=tmp_path / "cache")

    # --- bytes ----------------------------------------------------------------------------------------------------------------

    def test_bytes_come_back(self, content: Content) -> None:
        """What was put is read, whole and in part, and has its size."""
        content.put("a/b/c", b"0123456789")
        assert content.get("a/b/c") == b"0123456789"
        assert content.get_range("a/b/c", 3, 6) == b"345"
        assert content.size("a/b/c") == 10
        assert content.exists("a/b/c")

    def test_nothing_is_an_object_too(self, content: Content) -> None:
        """An object of no bytes is there."""
        content.put("empty", b"")
        assert content.get("empty") == b""
        assert content.exists("empty")

    def test_what_is_not_there_is_told(self, content: Content) -> None:
        """A path at which nothing stands is one kind of error."""
        with pytest.raises(ArtifactNotFoundError, match="no/such"):
            content.get("no/such")
        assert not content.exists("no/such")
        assert content.size("no/such") is None

    def test_a_folder_is_no_object(self, content: Content) -> None:
        """What other paths begin with does not exist by itself."""
        content.put("a/b", b"1")
        assert not content.exists("a")

    def test_a_later_put_replaces(self, content: Content) -> None:
        """The last writer wins, and its length holds."""
        content.put("a", b"long text")
        content.put("a", b"short")
        assert content.get("a") == b"short"

    def test_several_pieces_become_one(self, content: Content) -> None:
        """Buffers are written one after the other."""
        content.put_buffers("a", [memoryview(b"one"), memoryview(b""), memoryview(b"two")])
        assert content.get("a") == b"onetwo"

    def test_create_refuses_what_is_there(self, content: Content) -> None:
        """The first one to create a path keeps it."""
        content.create("a/first", b"1")
        with pytest.raises(FileExistsError):
            content.create("a/first", b"2")
        assert content.get("a/first") == b"1"

    def test_of_racers_one_creates(self, place: tuple[str, dict[str, Any]]) -> None:
        """Of several creators at the same moment exactly one wins, and what stands is what it wrote."""
        barrier = threading.Barrier(_RACERS)

        def race(number: int) -> bool:
            mine = open_content(*place)
            barrier.wait()
            try:
                mine.create("race", str(number).encode())
            except FileExistsError:
                return False
            return True

        with ThreadPoolExecutor(_RACERS) as pool:
            won = [number for number, first in enumerate(pool.map(race, range(_RACERS))) if first]
        assert len(won) == 1
        assert open_content(*place).get("race") == str(won[0]).encode()

    def test_listings_are_fresh_and_whole(self, content: Content) -> None:
        """What was just put is listed, under its folder and under the start of a name."""
        wanted = [f"runs/f/{n:03d}.json" for n in range(25)]
        for path in wanted:
            content.put(path, b"1")
        content.put("runs/g/x", b"22")
        assert content.paths("runs/f/") == wanted
        assert content.paths("runs/f/01") == [f"runs/f/01{n}.json" for n in range(10)]
        assert content.folders("runs") == ["f", "g"]
        assert content.paths("none/") == []
        assert content.folders("none") == []
        assert [(path, size) for path, size, _ in content.entries("runs/g/")] == [("runs/g/x", 2)]
        content.put("runs/h/y", b"3")
        assert content.folders("runs") == ["f", "g", "h"]

    def test_delete_forgives_what_is_gone(self, content: Content) -> None:
        """Two cleaners at once do no harm."""
        content.put("a/1", b"1")
        content.put("a/2", b"2")
        content.delete(["a/1", "a/none", "a/2"])
        assert content.paths("a/") == []

    def test_files_go_in_and_out(self, content: Content, tmp_path: Path) -> None:
        """A file of this machine is moved in, and copied out."""
        source, target = content.temporary(), tmp_path / "out"
        source.write_bytes(b"x" * 100_000)
        content.put_file("file", source)
        assert not source.exists()
        content.get_file("file", target)
        assert target.read_bytes() == b"x" * 100_000

    def test_large_objects_go_in_parts(self, content: Content, tmp_path: Path) -> None:
        """An object of many parts is the same bytes, and nothing is left beside it."""
        data = bytes(range(256)) * (_LARGE // 256) + b"end"
        content.put("large", data)
        target = bytearray(len(data))
        content.get_into("large", memoryview(target))
        assert bytes(target) == data
        content.get_file("large", tmp_path / "large")
        assert (tmp_path / "large").read_bytes() == data
        assert list(content.entries("", temporary=True)) == []

    def test_names_of_all_kinds(self, content: Content) -> None:
        """Spaces, dots and letters of any language are kept."""
        for path in ("a b/c d", "a/..hidden", "ä/ö-ß", "a/1.2.3.json", "a/x=y&z+1"):
            content.put(path, path.encode())
            assert content.get(path) == path.encode()

    def test_many_writers(self, place: tuple[str, dict[str, Any]]) -> None:
        """Nothing is lost where many write at once."""
        content = open_content(*place)
        with ThreadPoolExecutor(_RACERS) as pool:
            list(pool.map(lambda n: content.put(f"many/{n:03d}", str(n).encode()), range(60)))
        assert [content.get(p) for p in content.paths("many/")] == [str(n).encode() for n in range(60)]

    # --- values ---------------------------------------------------------------------------------------------------------------

    def test_values_come_back(self, store: Store) -> None:
        """Small and large, single and in lists."""
        for value in ({"a": [1, 2.5, None]}, "text" * 50_000, b"\x00" * 200_000, [b"x" * 70_000, b"y" * 70_000], {1, 2}):
            assert store.load(store.save(value)) == value

    def test_one_item_of_a_list(self, store: Store) -> None:
        """Items are read one by one."""
        reference = store.collect([store.save(bytes([n]) * 1000) for n in range(30)])
        assert store.load_item(reference, 17) == bytes([17]) * 1000
        with pytest.raises(IndexError):
            store.load_item(reference, 30)

    def test_damage_is_noticed(self, store: Store) -> None:
        """One byte that changed is an error, never a value."""
        reference = store.save(b"z" * 200_000)
        path = layout.blob(reference.digest)
        store.content.put(path, b"z" * 100_000 + b"y" + b"z" * 99_999)
        with pytest.raises(ArtifactDamagedError):
            store.load(reference)

    def test_what_was_removed_is_told(self, store: Store) -> None:
        """The value is named."""
        reference = store.save(b"z" * 200_000, name="output 'x' of step y")
        store.content.delete([layout.blob(reference.digest)])
        with pytest.raises(ArtifactNotFoundError, match="'x' of step y"):
            store.load(reference)
        assert not store.exists(reference)

    @pytest.mark.parametrize("size", [100, 10_000, 200_000])
    def test_all_that_a_value_consists_of_is_known(self, content: Content, size: int) -> None:
        """What is written for a value, in whatever it stands, is told to be its own: all else may be removed from a store at any time."""
        for name, value in nested(b"v" * size, {b"w" * (size + 1)}).items():
            content.delete(content.paths(f"{layout.BLOBS}/"))
            store = Store(content)
            reference = store.save(value)
            assert sorted(layout.blob(digest) for digest, _ in store.blobs_of(reference)) == content.paths(f"{layout.BLOBS}/"), name
            assert store.exists(reference), name
            store.load(reference)

    def test_pickles_need_trust(self, store: Store, place: tuple[str, dict[str, Any]]) -> None:
        """A store that is not trusted runs nothing."""
        reference = store.save({1, 2, 3})
        with pytest.raises(UntrustedError):
            Store.open(place[0], options=place[1], trust=False, cache_size=0).load(reference)

    # --- records --------------------------------------------------------------------------------------------------------------

    def test_runs_are_found(self, store: Store) -> None:
        """A run is created once, and listed."""
        record = RunRecord(id="r1", flow="f", graph=store.save({}), graph_digest="d", backend="local", created=1.0)
        RunFiles.create(store.content, record)
        with pytest.raises(FileExistsError):
            RunFiles.create(store.content, record)
        assert Runs(store.content).list() == [("f", "r1")]
        assert Runs(store.content).find("r1").run() == record
