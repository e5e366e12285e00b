"""A lazy list is a list to who uses it, also to libraries written in C."""

import copy
import pickle

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given

from flowbridge.artifacts import loading
from flowbridge.artifacts.lazy import LazyList


def lazy(values):
    return LazyList(lambda position: values[position], range(len(values)))


@given(st.lists(st.integers()), st.slices(12), st.integers(-15, 15))
def test_reading_is_that_of_a_list(values, part, position):
    found = lazy(values)
    assert list(found) == values
    assert len(found) == len(values)
    assert found == values
    assert list(found[part]) == values[part]
    assert list(reversed(found)) == values[::-1]
    assert (position in found) == (position in values)
    assert found + [1] == values + [1]  # noqa: RUF005  (what is tested)
    assert [1] + found == [1] + values  # noqa: RUF005  (what is tested)
    assert found * 2 == values * 2
    assert sorted(found) == sorted(values)
    if -len(values) <= position < len(values):
        assert found[position] == values[position]
    else:
        with pytest.raises(IndexError, match="list index out of range"):
            found[position]


CHANGES = {
    "append": lambda v: v.append(9),
    "extend": lambda v: v.extend([7, 8]),
    "insert": lambda v: v.insert(1, 9),
    "pop": lambda v: v.pop(),
    "remove": lambda v: v.remove(1),
    "clear": lambda v: v.clear(),
    "sort": lambda v: v.sort(key=lambda x: -x),
    "reverse": lambda v: v.reverse(),
    "set": lambda v: v.__setitem__(0, 9),
    "set a slice": lambda v: v.__setitem__(slice(0, 2), [9, 9, 9]),
    "delete": lambda v: v.__delitem__(0),
    "in place +": lambda v: v.__iadd__([5]),
    "in place *": lambda v: v.__imul__(2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changing_is_that_of_a_list(change):
    found, values = lazy([3, 1, 2]), [3, 1, 2]
    assert change(values) is None or change(lazy([3, 1, 2])) == change([3, 1, 2])
    values = [3, 1, 2]
    change(values)
    change(found)
    assert list(found) == values
    assert found.positions is None


def test_a_slice_reads_a_slice():
    read = []
    found = LazyList(lambda position: read.append(position) or position, range(1000))
    part = found[10:20][::2]
    assert read == []
    assert list(part) == [10, 12, 14, 16, 18]
    assert read == [10, 12, 14, 16, 18]


def test_libraries_in_c_see_its_items():
    assert pydantic.TypeAdapter(list[int]).validate_python(lazy([1, 2, 3])) == [1, 2, 3]
    assert pa.array(lazy([1, 2, 3])).to_pylist() == [1, 2, 3]
    assert np.array(lazy([1, 2, 3])).tolist() == [1, 2, 3]
    assert pickle.loads(pickle.dumps(lazy([1, 2]))) == [1, 2]
    assert copy.deepcopy(lazy([[1]])) == [[1]]


def test_what_was_read_lazily_is_not_written_again(store, monkeypatch):
    monkeypatch.setattr(loading, "EAGER", 1000)
    ref = store.save([bytes([n]) * 100_000 for n in range(20)])
    before = sorted(store.content.paths("blobs"))
    found = store.load(ref)
    assert isinstance(found, LazyList)
    assert store.save(found).digest == ref.digest
    part = store.save(found[3:5])
    assert store.load(part) == [bytes([3]) * 100_000, bytes([4]) * 100_000]
    assert len(store.content.paths("blobs")) == len(before) + 1  # a page; its root stands in the reference, and no item is written
    found[0] = b"other"
    assert store.load(store.save(found))[0] == b"other"
