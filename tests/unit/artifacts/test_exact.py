"""What comes back is what was given, in every detail that formats like to lose."""

import datetime as dt
import math
import threading
import tracemalloc
import zoneinfo
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, PrivateAttr, SecretBytes, SecretStr

from flowbridge.artifacts.serializers.registry import register_serializer
from flowbridge.errors import SerializationError

HALVES = st.characters(min_codepoint=0xD7FE, max_codepoint=0xE001, exclude_categories=())
TEXTS = st.text(HALVES) | st.text(st.characters(exclude_categories=()))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner) | st.tuples(inner, inner) | st.dictionaries(st.integers(), inner),
    max_leaves=20,
)


def same(one, other):
    """Compare types, signs of zero and NaN too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (one == other and math.copysign(1, one) == math.copysign(1, other))
    return one == other


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=ANYTHING)
def test_plain_values(store, value):
    assert same(store.load(store.save(value)), value)


PAIR = "\ud83d\ude00"
PAIRS = {"text": PAIR, "item": [PAIR], "key": {PAIR: 1}, "long list": [PAIR] * 6000, "long text": PAIR * 100_000}


@pytest.mark.parametrize("name", PAIRS)
def test_halves_of_characters_do_not_grow_together(store, name):
    assert store.load(store.save(PAIRS[name])) == PAIRS[name]


# --- numpy --------------------------------------------------------------------------------------------------------------------

DTYPES = {
    "names of any language": np.dtype([("é", "i4"), ("日本", "f4")]),
    "many fields": np.dtype([(f"a_rather_long_name_{i}", "f8") for i in range(1000)]),
    "more fields than a header of numpy may have": np.dtype([(f"a_rather_long_name_{i}", "f8") for i in range(5000)]),
    "aligned": np.dtype([("a", "i1"), ("b", "f8")], align=True),
    "records": np.dtype((np.record, [("a", "i4")])),
    "something attached to a field": np.dtype([("a", np.dtype("i4", metadata={"unit": "m"}))]),
    "titles": np.dtype([(("A title", "a"), "i4")]),
    "gaps": np.dtype({"names": ["a"], "formats": ["i1"], "offsets": [3], "itemsize": 40}),
}


@pytest.mark.parametrize("name", DTYPES)
def test_structured_dtypes(store, name):
    dtype = DTYPES[name]
    found = store.load(store.save(np.zeros(3, dtype)))
    assert repr(found.dtype) == repr(dtype)
    assert [f[0].metadata for f in found.dtype.fields.values()] == [f[0].metadata for f in dtype.fields.values()]
    assert type(store.load(store.save(np.zeros(3, dtype)[0]))) is type(np.zeros(3, dtype)[0])


# --- pandas, pyarrow ----------------------------------------------------------------------------------------------------------


def test_a_column_whose_name_is_no_unicode(store):
    frame = pd.DataFrame([[1]], columns=pd.Index(["\ud800"], dtype=object))
    pd.testing.assert_frame_equal(store.load(store.save(frame)), frame)


def test_chunks_with_categories_of_their_own(store):
    pa = pytest.importorskip("pyarrow")
    one, other = pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "d", "c"]).dictionary_encode()
    inside = [pa.StructArray.from_arrays([part], ["x"]) for part in (one, other)]
    for table in (pa.table({"c": pa.chunked_array([one, other])}), pa.table({"c": pa.chunked_array(inside)})):
        found = store.load(store.save(table))
        assert found.equals(table)
        found.validate(full=True)


def test_arrays_of_arrow(store):
    pa = pytest.importorskip("pyarrow")
    store.trust = store._loader.trust = False  # no pickles
    long = pa.array([f"number {i}" for i in range(100_000)])
    for value in (long, long.slice(5, 3), long.slice(0, 0), pa.chunked_array([long, long.slice(1, 2)]), pa.array([1, None])):
        found = store.load(store.save(value))
        assert type(found) is type(value)
        assert found.equals(value)


@pytest.mark.parametrize("rows", [0, 10])
def test_a_slice_does_not_bring_along_what_it_was_taken_from(store, rows):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"i": range(100_000), "s": [f"number {i}" for i in range(100_000)]})
    few = table.slice(1000, rows)
    for value in (
        few,
        few.to_batches(),
        few["s"],
        few["s"].chunk(0),
        {"few": few},
        ("s", few["s"]),
        ("b", few.to_batches()),
        ("a", few["s"].chunk(0)),
    ):
        reference = store.save(value)
        assert reference.size < 5000
        assert store.load(reference) == value


# --- dataclasses and models ---------------------------------------------------------------------------------------------------


@dataclass
class Node:
    name: str
    kids: list[Any] = field(default_factory=list)
    parent: Any = None


class Chain(BaseModel):
    next: Any = None


class Times(BaseModel):
    at: dt.datetime | dt.time


class Private(BaseModel):
    a: int
    _hidden: int | None = PrivateAttr(5)


class Inner(BaseModel):
    a: int
    b: int = 1


class Outer(BaseModel):
    inner: list[Inner]


class Collections(BaseModel):
    recent: deque[int] = deque()
    groups: defaultdict[str, list[int]] = defaultdict(list)
    numbers: set[int | float] = set()


class Places(BaseModel):
    root: Path
    others: list[Path] = []
    mark: bytes = b""


def test_a_tree_that_knows_its_parents(store):
    root = Node("root")
    root.kids = [Node("left", parent=root), Node("right", parent=root)]
    found = store.load(store.save(root))
    assert [kid.name for kid in found.kids] == ["left", "right"]
    assert all(kid.parent is found for kid in found.kids)
    both = store.load(store.save([root, Node("alone")]))
    assert both[0].kids[1].parent is both[0]
    assert both[1] == Node("alone")


def test_values_that_are_parts_of_themselves(store):
    chain = Chain()
    chain.next = [chain]
    found = store.load(store.save(chain))
    assert found.next[0] is found
    items = [np.arange(3)]
    items.append(items)
    found = store.load(store.save(items))
    assert found[1] is found


def test_the_same_part_at_many_places_is_not_saved_each_time(store):
    node = Node("leaf")
    for _ in range(30):  # a billion places
        node = Node("both", kids=[node, node])
    found = store.load(store.save(node))
    assert found.kids[0] is found.kids[1]


ZONE = zoneinfo.ZoneInfo("Europe/Berlin")
TIMES = [dt.datetime(2020, 10, 25, 2, 30, tzinfo=ZONE, fold=1), dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), dt.time(2, 30, fold=1)]


@pytest.mark.parametrize("time", TIMES, ids=str)
def test_zones_of_times_in_models(store, time):
    found = store.load(store.save(Times(at=time))).at
    assert (found, found.fold, type(found.tzinfo), str(found.tzinfo)) == (time, time.fold, type(time.tzinfo), str(time.tzinfo))


def test_what_models_keep_beside_their_fields(store):
    private = Private(a=1)
    private._hidden = None
    assert store.load(store.save(private))._hidden is None
    assert store.load(store.save(Outer(inner=[Inner(a=1)]))).inner[0].model_fields_set == {"a"}


def test_collections_in_models(store):
    model = Collections(recent=deque([1], maxlen=3), groups=defaultdict(dict, a=[1]), numbers={1, 2.0})
    found = store.load(store.save(model))
    assert found == model
    assert found.recent.maxlen == 3
    assert found.groups.default_factory is dict
    assert sorted(map(type, found.numbers), key=str) == [float, int]


@pytest.mark.parametrize("mark", [b"text", b"\xff"], ids=["as JSON", "field by field"])
def test_paths_in_a_model_are_names(store, mark):
    places = Places(root=Path("not/there"), others=[Path("a"), Path(__file__)], mark=mark)
    assert store.load(store.save(places)) == places


# --- pickles ------------------------------------------------------------------------------------------------------------------


def test_a_view_of_memory_stays_one(store):
    table = np.arange(6, dtype="i4").reshape(2, 3)
    for value in (memoryview(b"abc"), memoryview(bytes(10_000)), memoryview(table), memoryview(table.T), memoryview(b"")):
        found = store.load(store.save((value,)))[0]
        assert type(found) is memoryview
        assert (found.format, found.shape, found.tolist()) == (value.format, value.shape, value.tolist())


class Slotted:
    __slots__ = ("conn",)

    def __init__(self, conn):
        self.conn = conn


class Unspeakable:
    def __reduce__(self):
        raise ValueError("no")

    def __repr__(self):
        raise RuntimeError("nor this")


def looped():
    ring = {"other": {}}
    ring["other"]["ring"] = ring
    ring["other"]["lock"] = threading.Lock()
    return ring


CULPRITS = {
    "deep inside": (
        lambda: {"a": {"b": [{"c": [1, (2, {"d": [threading.Lock()]})]}]}},
        r"\['a'\]\['b'\]\[0\]\['c'\]\[1\]\[1\]\['d'\]\[0\]",
    ),
    "in slots": (lambda: Slotted(threading.Lock()), r"Its \.conn \(of type _thread\.lock\)"),
    "in a set": (lambda: {"a": {threading.Lock()}}, r"\['a'\]\{\.\.\.\}"),
    "in an array": (lambda: np.array([1, threading.Lock()], dtype=object), r"\.flat\[1\] \(of type _thread\.lock\)"),
    "in a loop": (looped, r"\['other'\]\['lock'\] \(of type _thread\.lock\)"),
    "a key that cannot be shown": (lambda: {Unspeakable(): 1}, "register_serializer"),
}


@pytest.mark.parametrize("name", CULPRITS)
def test_what_cannot_be_pickled_is_named(store, name):
    make, message = CULPRITS[name]
    with pytest.raises(SerializationError, match=f"(?s)Output 'x'.*{message}"):
        store.save(make(), name="output 'x'")


def test_an_open_file_is_not_turned_into_a_text(store):
    with Path(__file__).open() as file, pytest.raises(SerializationError, match=r"the open file .*test_exact.*\['log'\]"):
        store.save({"log": file})


class Account(BaseModel):
    user: str
    token: SecretStr


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (Account(user="u", token="hidden"), "token"),
        ({"a": [SecretStr("hidden")]}, r"\['a'\]\[0\]"),
        (SecretBytes(b"hidden"), "SecretBytes"),
    ],
    ids=["model", "dict", "alone"],
)
def test_a_secret_is_not_written(store, value, place):
    with pytest.raises(SerializationError, match=rf"(?s){place}.*is a secret|is a secret.*{place}") as told:
        store.save(value, name="output 'account' of step log_in")
    assert "@step(secrets=" in str(told.value)
    assert "hidden" not in str(told.value)
    assert not any(b"hidden" in store.content.get(path) for path in store.content.paths(""))


def test_naming_it_takes_no_memory_for_the_rest(store):
    value = {"large": np.zeros(8 << 20), "small": [threading.Lock()]}
    tracemalloc.start()
    try:
        with pytest.raises(SerializationError, match=r"\['small'\]\[0\]"):
            store.save(value)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# --- formats of one's own -----------------------------------------------------------------------------------------------------


class Own:
    pass


@pytest.mark.parametrize("cls", [dict, list, str, int])
def test_a_format_that_would_not_be_used_is_refused(cls):
    with pytest.raises(SerializationError, match="make a class of your own"):
        register_serializer(cls, lambda v, file: None, lambda file: None, name="never")


def test_what_is_no_class_or_function_is_refused():
    with pytest.raises(TypeError, match="a class and two functions"):
        register_serializer("Own", lambda v, file: None, lambda file: None)
    with pytest.raises(TypeError, match="a class and two functions"):
        register_serializer(Own, lambda v, file: None, "load")


def test_the_format_that_fails_is_named(store):
    register_serializer(Own, lambda v, file: file.seek(0), lambda file: Own(), name="own-seeking")
    with pytest.raises(
        SerializationError, match=r"Output 'x', of type .*Own.*'own-seeking', failed with UnsupportedOperation: seek.*BytesIO"
    ):
        store.save(Own(), name="output 'x'")


# --- files --------------------------------------------------------------------------------------------------------------------


def test_who_may_read_a_program_may_run_it(store, tmp_path):
    program = tmp_path / "run.sh"
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
    found = store.load(store.save(program)).stat().st_mode
    assert found & 0o111 == (found & 0o444) >> 2
    assert found & 0o100
