"""What a value consists of is told to the last blob, for every format in every nesting: gc removes all else."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression

from flowbridge.artifacts import layout
from flowbridge.errors import ArtifactNotFoundError
from flowbridge.testing.stores import Fields, nested

BIG = np.arange(40_000.0)


def folder_of_files(folder):
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(name.encode() * 5000)
    return folder


MAKERS = {
    "text": lambda _: "t" * 9000,
    "long json": lambda _: [["x" * 50, n] for n in range(30_000)],
    "numpy": lambda _: BIG,
    "pandas": lambda _: pd.DataFrame({"a": BIG}),
    "arrow": lambda _: pa.table({"a": BIG}),
    "polars": lambda _: pl.DataFrame({"a": BIG}),
    "torch": lambda _: pytest.importorskip("torch").arange(9000.0),
    "sklearn": lambda _: LinearRegression().fit(BIG[:5000].reshape(1, -1), [1.0]),
    "pickle": lambda _: set(range(9000)),
    "path": lambda tmp: folder_of_files(tmp / "folder"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_blobs_of_is_all_that_is_stored(store, tmp_path, kind):
    for name, value in nested(MAKERS[kind](tmp_path), np.arange(9000)).items():
        store.content.delete(store.content.paths("blobs/"))
        ref = store.save(value)
        assert sorted(f"blobs/{d[7:9]}/{d[7:]}" for d, _ in store.blobs_of(ref)) == store.content.paths("blobs/"), name


@pytest.mark.parametrize("field", [[np.arange(9000.0), np.ones(3)], Fields([np.arange(9000.0)])])
def test_a_value_that_lost_an_item_of_a_field_is_not_there(store, field):
    ref = store.save([Fields(field)])
    largest = max(store.content.entries("blobs/"), key=lambda entry: entry[1])
    store.content.delete([largest[0]])
    assert not store.exists(ref)


def test_values_whose_parts_leave_out_a_list_keep_it(store):
    """As they were written before lists in references were among the parts."""
    made = store.save(Fields([np.arange(9000.0)]))
    old = made.model_copy(update={"parts": None})
    kept = {digest for digest, _ in store.blobs_of(made)} - {made.parts}
    assert old.data is not None
    assert kept
    assert {digest for digest, _ in store.blobs_of(old)} == kept


def test_what_a_page_that_is_gone_named_takes_nothing_else_along(store):
    ref = store.save([np.full(50_000, float(n)) for n in range(3)] + [f"{n}" * 200 for n in range(20_000)])
    before = dict(store.blobs_of(ref))
    page = next(digest for digest, _ in store.blobs_of(ref) if digest not in {ref.digest, ref.parts})
    store.content.delete([layout.blob(page)])
    with pytest.raises(ArtifactNotFoundError):
        list(store.blobs_of(ref))
    left = dict(store.blobs_of(ref, lenient=True))
    assert left.items() <= before.items()
    assert len(left) >= len(before) - 1 - 3, "the page told of three arrays at most"
    assert not store.exists(ref)
