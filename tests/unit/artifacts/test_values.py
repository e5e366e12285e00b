"""Every format gives back what it was given."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from flowbridge.artifacts.lazy import LazyList
from flowbridge.artifacts.serializers.registry import register_serializer
from flowbridge.artifacts.store import Store
from flowbridge.errors import ArtifactDamagedError, SerializationError, UntrustedError


@dataclass
class Parts:
    weights: np.ndarray
    name: str


class Model(BaseModel):
    rate: float
    names: list[str]


class Own:
    def __init__(self, text):
        self.text = text


ARRAYS = [
    np.array(3.5),
    np.empty((0, 4)),
    np.arange(24).reshape(2, 3, 4),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.arange(40)[::2],
    np.arange(6, dtype=">i4"),
    np.array([True, False]),
    np.array(["a", "äöü"]),
    np.array([b"ab", b"c"]),
    np.array([1 + 2j], dtype=np.complex64),
    np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"),
    np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    np.array([{"any": 1}, None], dtype=object),
    np.arange(300_000, dtype=np.float32).reshape(3, -1),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays(store, array):
    found = store.load(store.save(array))
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


PLAIN = [None, True, 0, -1, 2**80, 1.5, float("inf"), "", "ä", b"", b"\0" * 100_000, [], [1, "a", None], {}, {"a": {"b": [1]}}, (1, 2), {1: 2}, {1, 2},
         OrderedDict(b=1, a=2), "long" * 100_000, list(range(50_000))]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda v: f"{type(v).__name__}-{str(v)[:12]}")
def test_plain_values_keep_their_type(store, value):
    found = store.load(store.save(value))
    assert found == value
    assert type(found) is type(value)


def test_frames(store):
    frame = pd.DataFrame(
        {"i": [1, 2], "s": ["a", None], "t": pd.to_datetime(["2020-01-01", None]), "c": pd.Categorical(["x", "y"])}, index=["p", "q"]
    )
    for value in (frame, frame[:0], frame.set_index(["i", "s"]), pd.DataFrame()):
        pd.testing.assert_frame_equal(store.load(store.save(value)), value)
    pd.testing.assert_series_equal(store.load(store.save(frame["i"])), frame["i"])


def test_dataclasses_and_models(store):
    found = store.load(store.save(Parts(np.arange(5), "n")))
    assert isinstance(found, Parts)
    np.testing.assert_array_equal(found.weights, np.arange(5))
    assert store.load(store.save(Model(rate=0.5, names=["a"]))) == Model(rate=0.5, names=["a"])


def test_a_format_of_ones_own(store):
    register_serializer(Own, lambda v, file: file.write(v.text.encode()), lambda file: Own(file.read().decode()), name="own-test")
    reference = store.save(Own("hello"))
    assert reference.serializer == "own-test"
    assert store.load(reference).text == "hello"
    with pytest.raises(SerializationError, match="flowbridge's own"):
        register_serializer(Own, lambda v, file: None, lambda file: None, name="pickle")


def test_what_cannot_be_written_is_named(store):
    with pytest.raises(SerializationError, match="output 'x' of step y"):
        store.save((n for n in [__import__("threading").Lock()]), name="output 'x' of step y")
    assert not list(store.content.entries("", temporary=True))


def test_files_and_folders(store, tmp_path):
    folder = tmp_path / "in"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "large").write_bytes(b"x" * (2 << 20))
    (folder / "run.sh").write_text("#!")
    (folder / "run.sh").chmod(0o755)
    found = store.load(store.save(folder))
    assert isinstance(found, Path)
    names = sorted(str(p.relative_to(found)) for p in found.rglob("*"))
    assert names == ["a.txt", "run.sh", "sub", "sub/empty", "sub/large"]
    assert (found / "sub" / "large").read_bytes() == b"x" * (2 << 20)
    assert (found / "run.sh").stat().st_mode & 0o100
    assert store.load(store.save(folder / "a.txt")).read_text() == "a"


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out", "", "a\0b", 5])
def test_a_folder_never_writes_outside_itself(store, name):
    kept = {"digest": store.put_bytes(b"evil"), "size": 4}
    listing = {"name": "in", "folder": True, "files": [{"name": name, **kept}], "folders": []}
    with pytest.raises(ArtifactDamagedError):
        store.load(_path_reference(store, listing))
    with pytest.raises(ArtifactDamagedError):
        store.load(_path_reference(store, {**listing, "files": [], "folders": [name]}))


def _path_reference(store, listing):
    import json

    data = json.dumps(listing).encode()
    saved = store.save(Path(__file__))
    return saved.model_copy(
        update={"digest": store.put_bytes(data), "size": len(data), "main_size": None, "pack": None, "inline": None, "parts": None}
    )


def test_pickles_need_trust_and_are_named(store):
    reference = store.save({1, 2}, name="output 'set' of step make")
    untrusted = Store.open(store.url, trust=False)
    with pytest.raises(UntrustedError, match=r"set' of step make.*trust"):
        untrusted.load(reference)
    assert untrusted.load(store.save([1, 2])) == [1, 2]


def test_a_long_list_is_lazy_and_read_by_item(store):
    one = store.save(np.zeros(1 << 20))
    reference = store.collect([one] * 2500)
    found = store.load(reference)
    assert isinstance(found, LazyList)
    assert len(found) == reference.length == 2500
    assert found[-1].shape == (1 << 20,)
    assert [a.size for a in found[1998:2002]] == [1 << 20] * 4
    assert store.item(reference, 2499).digest == one.digest


def test_nested_lists(store):
    one = store.save(b"x" * 100_000)
    assert store.load(store.collect([[one, one], [], [one]])) == [[b"x" * 100_000] * 2, [], [b"x" * 100_000]]


@pytest.mark.parametrize("change", [1, -1, 1 << 40])
def test_a_size_that_is_not_so_is_refused(store, change):
    reference = store.save(b"x" * 200_000)
    with pytest.raises(ArtifactDamagedError):
        store.load(reference.model_copy(update={"size": reference.size + change, "main_size": None}))


def test_a_folder_that_cannot_be_stored_names_the_output(store, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "gone").symlink_to("nothing")
    with pytest.raises(SerializationError, match=r"Output 'x' of step y, .*gone is a link to nothing"):
        store.save(tmp_path / "folder", name="output 'x' of step y")


def test_links_in_a_folder_are_stored_as_what_they_lead_to(store, tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside").write_text("from outside")
    (folder / "absolute").symlink_to(tmp_path / "outside")
    (folder / "sub" / "upwards").symlink_to("../../outside")
    back = store.load(store.save(folder))
    assert [(back / n).read_text() for n in ("absolute", "sub/upwards")] == ["from outside"] * 2
    assert not any(p.is_symlink() for p in back.rglob("*"))


@pytest.mark.parametrize("name", ["frame", "series", "lazy"])
def test_polars(store, name):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": list(range(50_000)), "b": ["x", None] * 25_000})
    ref = store.save({"frame": frame, "series": frame["a"], "lazy": frame.lazy()}[name])
    assert ref.serializer == ("pickle" if name == "lazy" else "polars")
    back = store.load(ref)
    assert (back.collect() if name == "lazy" else back).equals(frame["a"] if name == "series" else frame)


def test_estimators(store):
    pytest.importorskip("sklearn")
    from sklearn.ensemble import RandomForestRegressor

    rows = np.arange(2000.0).reshape(-1, 2)
    model = RandomForestRegressor(5, random_state=0).fit(rows, rows[:, 0])
    ref = store.save(model)
    assert ref.serializer == "sklearn"
    assert dict(ref.meta)["sklearn"]
    assert (store.load(ref).predict(rows) == model.predict(rows)).all()
    with pytest.raises(UntrustedError):
        Store.open(store.url, trust=False).load(ref)
