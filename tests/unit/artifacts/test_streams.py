"""Iterators are saved item by item, and come back as iterators."""

import pyarrow as pa
import pytest

from flowbridge.artifacts.store import Store


def test_a_generator(store):
    ref = store.save(n * n for n in range(2500))
    assert ref.length == 2500
    back = store.load(ref)
    assert next(back) == 0
    assert list(back) == [n * n for n in range(1, 2500)]
    assert list(store.load(ref))[-1] == 2499**2
    assert store.load_item(ref, 50) == 2500


def test_not_more_than_one_item_is_held(store):
    alive = []

    class Item:
        def __init__(self):
            alive.append(1)

        def __del__(self):
            alive.pop()

        def __reduce__(self):
            return int, ()

    most = []

    def items():
        for _ in range(50):
            item = Item()
            most.append(len(alive))
            yield item
            del item

    store.save(items())
    assert max(most) <= 2


@pytest.mark.parametrize("batches", [0, 1, 7])
def test_a_reader_of_record_batches(store, batches):
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    made = [pa.record_batch({"a": [n], "b": [str(n)]}, schema=schema) for n in range(batches)]
    back = store.load(store.save(pa.RecordBatchReader.from_batches(schema, iter(made))))
    assert isinstance(back, pa.RecordBatchReader)
    assert back.schema == schema
    assert back.read_all().to_pydict() == {"a": list(range(batches)), "b": [str(n) for n in range(batches)]}


def test_an_error_of_the_generator_is_its_own(store):
    def items():
        yield 1
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        store.save(items())


def test_iterators_of_python_itself(store):
    assert list(store.load(store.save(zip("ab", [1, 2], strict=True)))) == [("a", 1), ("b", 2)]
    assert list(store.load(store.save(map(str, [1, 2])))) == ["1", "2"]
    assert list(Store.open(store.url).load(store.save(iter([b"x"])))) == [b"x"]


class Counter:
    """An iterator with a life of its own, which must not be used up by being saved."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.at += 1
        return self.at


def test_iterators_of_users_are_objects(store):
    counter = Counter()
    next(counter)
    back = store.load(store.save(counter))
    assert type(back) is Counter
    assert back.at == 1
