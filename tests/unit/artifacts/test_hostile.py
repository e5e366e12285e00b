"""Stores whose owner means ill: every digest matches, and what it is a digest of was made to do harm."""

import base64
import inspect
import io
import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest

from flowbridge.artifacts import digests, layout
from flowbridge.artifacts.reference import Reference
from flowbridge.artifacts.store import Store
from flowbridge.errors import ArtifactDamagedError, ArtifactNotFoundError, StoreError


@pytest.fixture
def hostile(tmp_path):
    return Store.open(str(tmp_path / "store"), trust=False, cache_dir=tmp_path / "cache")


@dataclass
class Settings:
    rate: float = 0.5

    def command(self):
        return "harmless"


class Model(pydantic.BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    data: object


def given(store, data, serializer, **more):
    return Reference(
        **{"digest": store.put_bytes(data), "size": len(data), "serializer": serializer, "made_by": "output 'x' of step s", **more}
    )


def inline(text):
    return Reference(digest=digests.digest(text.encode(errors="surrogatepass")), size=len(text), serializer="json", inline=text)


def dumped(reference):
    return reference.model_dump(mode="json", exclude_defaults=True)


def listed(store, items, **more):
    """Return a list over references, whatever they are said to be."""
    page = json.dumps({"items": [["r", dumped(r)] for r in items]}).encode()
    root = {"length": len(items), "page": max(len(items), 1), "pages": [[store.put_bytes(page), len(page)]] if items else []}
    return rooted(store, json.dumps(root).encode(), length=len(items), **more)


def rooted(store, root, **more):
    return given(store, root, "list", **{"main_size": len(root), "size": 1, **more})


@contextmanager
def memory(extra):
    """Let the process have only so much more memory than it has."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + extra, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


# --- names ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 2 << 20, 9 << 20])
def test_a_digest_with_a_path_in_it_reads_and_removes_nothing_outside(tmp_path, size):
    victim = tmp_path / "precious.txt"
    victim.write_bytes(b"x" * size)
    store = Store.open("memory://hostile", trust=False, cache_dir=tmp_path / "cache")
    (tmp_path / "cache" / "blobs").mkdir(parents=True)
    with pytest.raises(ArtifactDamagedError, match=r"names the digest 'blake3:\.\./\.\./precious"):
        store.load(Reference(digest="blake3:../../precious.txt", size=size, serializer="bytes"))
    assert victim.stat().st_size == size
    assert [p.name for p in tmp_path.iterdir() if p.name not in {"cache", "precious.txt"}] == []


@pytest.mark.parametrize(
    "digest", ["", "blake3:", "blake3:\0", "blake3:\udc80", "md5:" + "0" * 64, "blake3:" + "0" * 63, "blake3:" + "A" * 64]
)
def test_digests_that_are_none_are_refused(hostile, digest):
    for read in (hostile.get_bytes, hostile.get_bundle, hostile.get_environment):
        with pytest.raises(ArtifactDamagedError, match="names the digest"):
            read(digest)


# --- sizes ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["file", "memory"])
def place(request, tmp_path):
    url = str(tmp_path / "store") if request.param == "file" else f"memory://{tmp_path.name}-{os.getpid()}"
    return Store.open(url, trust=False, cache_size=0)


@pytest.mark.parametrize("size", [0, 10, -1])
def test_of_an_object_that_is_larger_than_told_no_more_is_read(place, monkeypatch, size):
    data = bytes(5 << 20)
    reference = given(place, data, "bytes").model_copy(update={"size": size})
    read = []
    for name in ("get", "get_range"):
        real = getattr(place.content, name)

        def noted(*args, real=real):
            found = real(*args)
            read.append(len(found))
            return found

        monkeypatch.setattr(place.content, name, noted)
    with pytest.raises(ArtifactDamagedError, match=f"has {len(data)} bytes instead of {size}"):
        place.load(reference)
    assert max(read, default=0) <= 11  # each time: what has not its size is read once more, as it may have been cut short on its way


def test_an_empty_file_is_what_it_was(place, tmp_path):
    (tmp_path / "empty").touch()
    reference = place.save(tmp_path / "empty")
    assert place.load(reference).read_bytes() == b""
    place.content.delete(place.content.paths("blobs/"))
    with pytest.raises(ArtifactNotFoundError):
        place.load(reference)


def test_no_bytes_have_only_one_digest(place):
    digest = digests.digest(b"something")
    place.content.put(layout.blob(digest), b"")
    with pytest.raises(ArtifactDamagedError, match="is damaged"):
        place.load(Reference(digest=digest, size=0, serializer="bytes"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_waited_for(hostile, make):
    reference = given(hostile, b"x" * 5000, "bytes")
    path = hostile.content.path_of(hostile.content.paths("blobs/")[0])
    path.unlink()
    make(path)
    with memory(1 << 30), pytest.raises(StoreError, match="no file that holds bytes"):
        hostile.load(reference)


def test_an_item_of_a_shared_blob_has_bounds(place):
    pack = place.put_bytes(b"x" * 100)
    for update in ({"size": 10**18}, {"size": -1}, {"offset": -5}):
        item = Reference(digest=digests.digest(b"x"), size=1, serializer="bytes", pack=pack, pack_size=100, made_by="output 'x'")
        with pytest.raises(ArtifactDamagedError, match="Output 'x'"):
            place.load(item.model_copy(update=update))


def test_what_is_packed_tells_how_much_it_is(hostile):
    for serializer, more in (("path", {}), ("list", {"length": 1})):
        bomb = given(hostile, bytes(10_000), serializer, encoding="zstd", raw_size=1 << 30, **more)
        with memory(512 << 20), pytest.raises(ArtifactDamagedError, match=f"{1 << 30} bytes, which is too many"):
            hostile.load(bomb)
    with pytest.raises(ArtifactDamagedError, match="cannot be"):
        hostile.load(given(hostile, b"x", "list", encoding="zstd", raw_size=-1, length=1))


def test_what_does_not_fit_into_memory_is_named(hostile):
    bomb = given(hostile, bytes(1 << 20), "bytes", encoding="zstd", raw_size=1 << 36)
    with memory(512 << 20), pytest.raises(MemoryError, match=r"Output 'x' of step s \(\d+ bytes as stored\) takes more memory"):
        hostile.load(bomb)


def test_a_large_folder_is_no_large_list_of_files(hostile, tmp_path):
    (tmp_path / "folder").mkdir()
    with (tmp_path / "folder" / "sparse").open("wb") as file:
        file.truncate((256 << 20) + 1)
    loaded = hostile.load(hostile.save(tmp_path / "folder"))
    assert (loaded / "sparse").stat().st_size == (256 << 20) + 1


def test_files_are_together_not_larger_than_told(hostile):
    kept = {"digest": hostile.put_bytes(bytes(1000)), "size": 1000}
    files = [{"name": f"f{n}", **kept, "start": 0, "length": 1000} for n in range(100)]
    listing = json.dumps({"name": "folder", "folder": True, "files": files, "folders": []}).encode()
    with pytest.raises(ArtifactDamagedError, match="files of 100000 bytes together"):
        hostile.load(given(hostile, listing, "path", size=len(listing) + 1000, main_size=len(listing)))


# --- lists and values in values ---------------------------------------------------------------------------------------------------


def test_lists_that_name_one_list_over_and_over_end_early(hostile):
    inner = listed(hostile, [], size=0)
    for _ in range(8):
        inner = listed(hostile, [inner] * 100)
    with pytest.raises(ArtifactDamagedError, match=r"Output 'x' of step s.*more than the 1 bytes"):
        hostile.load(inner)


def test_lists_of_nothings_are_no_such_lists(hostile):
    value = [[b"", b""], [b""], [[b""], []]]
    assert hostile.load(hostile.save(value)) == value
    nothings = hostile.collect([hostile.save(b"")] * 5)
    assert hostile.load(hostile.collect([nothings] * 3)) == [[b""] * 5] * 3


def test_pages_that_are_named_over_and_over_take_no_room(hostile):
    page = json.dumps({"values": [0] * 1000}).encode()
    root = json.dumps({"length": 10**8, "page": 1000, "pages": [[hostile.put_bytes(page), len(page)]] * 10**5}).encode()
    with memory(512 << 20), pytest.raises(ArtifactDamagedError, match="more than the 10 bytes"):
        hostile.load(rooted(hostile, root, length=10**8, size=10))


@pytest.mark.parametrize(
    "root",
    ['{"length":Infinity,"page":1,"pages":[]}', '{"length":-5,"page":9,"pages":[]}', '{"length":1,"page":1,"pages":[["",Infinity]]}'],
)
def test_roots_of_nonsense_are_damaged(hostile, root):
    with pytest.raises(ArtifactDamagedError, match="Output 'x' of step s"):
        hostile.load(rooted(hostile, root.encode(), length=-5 if "-5" in root else 1))


def test_values_too_deep_to_follow_are_damaged(hostile):
    inner = listed(hostile, [], size=1)
    for _ in range(400):
        inner = listed(hostile, [inner], size=5000)
    most = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 300)
    try:
        assert not hostile.exists(inner)
        for read in (hostile.load, lambda ref: list(hostile.blobs_of(ref))):
            with pytest.raises(ArtifactDamagedError, match=r"Output 'x' of step s.*values inside values"):
                read(inner)
    finally:
        sys.setrecursionlimit(most)


def test_an_item_too_deep_to_copy_is_damaged(hostile):
    page = b'{"items":[["v",' + b"[" * 900 + b"]" * 900 + b"]]}"
    root = json.dumps({"length": 1, "page": 1, "pages": [[hostile.put_bytes(page), len(page)]]}).encode()
    with pytest.raises(ArtifactDamagedError, match="values inside values"):
        hostile.load(rooted(hostile, root, length=1))


@pytest.mark.parametrize("text", ["[" * 100_000, "{bad", "1" * 10_000, '"\ud800"'])
def test_values_in_references_that_are_no_json_are_damaged(hostile, text):
    with pytest.raises(ArtifactDamagedError, match="stands in its reference"):
        hostile.load(inline(text))


@pytest.mark.parametrize("schema", ["AAAA", "!", 5])
def test_a_stream_of_nonsense_is_damaged(hostile, schema):
    stream = listed(hostile, []).model_copy(update={"meta": (("iterator", True), ("schema", schema))})
    with pytest.raises(ArtifactDamagedError, match="schema of a stream"):
        hostile.load(stream)


# --- formats ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descr", ["'|S0'", "'<U0'", "[]"])
def test_arrays_of_nothing_take_no_room(hostile, descr):
    head = io.BytesIO()
    np.lib.format.write_array_header_2_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    data = head.getvalue().replace(b"'<f8'", descr.encode().ljust(5))
    with memory(1 << 30):
        assert hostile.load(given(hostile, data, "numpy")).nbytes == 0


def test_a_dataclass_has_no_values_but_its_fields(hostile):
    kept = dumped(inline('"rm"'))
    body = json.dumps({"command": kept, "rate": kept}).encode()
    reference = given(hostile, body, "dataclass", type=f"{__name__}.Settings", size=1000, main_size=len(body))
    with pytest.raises(ArtifactDamagedError, match="'command', which is no field"):
        hostile.load(reference, hint=Settings)
    body = json.dumps({"fields": {"model_dump": kept}, "set": []}).encode()
    reference = given(
        hostile, body, "pydantic", type=f"{__name__}.Model", size=1000, main_size=len(body), meta=(("fields", ["model_dump"]),)
    )
    with pytest.raises(ArtifactDamagedError, match="'model_dump', which is no field"):
        hostile.load(reference, hint=Model)


@pytest.mark.parametrize("serializer", ["dataclass", "pydantic"])
def test_fields_make_no_other_classes(hostile, serializer):
    body = json.dumps({"_mgr": dumped(inline("1"))}).encode()
    name = f"{pd.DataFrame.__module__}.{pd.DataFrame.__qualname__}"
    with pytest.raises(ArtifactDamagedError, match="which is none"):
        hostile.load(given(hostile, body, serializer, type=name, size=1000), hint=pd.DataFrame)


def test_fields_are_together_not_larger_than_told(hostile):
    inner = inline('"' + "x" * 100 + '"')
    body = json.dumps({"rate": dumped(inner)}).encode()
    with pytest.raises(ArtifactDamagedError, match="more than the 100 bytes"):
        hostile.load(given(hostile, body, "dataclass", type=f"{__name__}.Settings", size=100, main_size=len(body)), hint=Settings)


TABLES = """
import base64, sys
import numpy as np, pandas as pd, polars as pl, pyarrow as pa
from flowbridge.artifacts.store import Store
from flowbridge.errors import SerializationError

def changed(value, old, new):
    store = Store.open(sys.argv[1])
    reference = store.save(value)
    data = base64.b64decode(reference.data) if reference.data else store.get_bytes(reference.digest)
    assert old.tobytes() in data
    data = data.replace(old.tobytes(), new.tobytes())
    return reference.model_copy(update={"digest": store.put_bytes(data), "data": None, "size": len(data)})

offsets, far = np.array([0, 1, 2, 3, 4]), np.array([0, 1, 2, 3, 1 << 40])
indices = np.array([7, 6, 5, 4], "i4"), np.array([7, 6, 5, 1 << 28], "i4")
categories = pa.DictionaryArray.from_arrays(pa.array([7, 6, 5, 4], pa.int32()), pa.array(list("abcdefgh")))
cases = [
    (pd.DataFrame({"a": list("wxyz")}), offsets, far),
    (pa.table({"a": list("wxyz")}), offsets.astype("i4"), np.array([0, 1, 2, 3, 1 << 30], "i4")),
    (pa.table({"a": categories}), *indices),
    (pl.DataFrame({"a": [[1], [2], [3], [4]]}), offsets, far),
]
for value, old, new in cases:
    try:
        Store.open(sys.argv[1], trust=False).load(changed(value, old, new))
    except SerializationError as error:
        print(type(value).__name__, "refused")
"""


def test_tables_whose_offsets_lead_outside_are_refused_before_anything_follows_them(tmp_path):
    pytest.importorskip("polars")
    done = subprocess.run([sys.executable, "-c", TABLES, str(tmp_path)], check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[:-1] == ["DataFrame refused", "Table refused", "Table refused", "DataFrame refused"], done.stderr
    assert done.returncode == 0, done.stderr


def test_what_polars_panics_at_is_an_error(hostile):
    pl = pytest.importorskip("polars")
    written = io.BytesIO()
    pl.DataFrame({"a": pl.Series(["a"], dtype=pl.Enum(["a", "b"]))}).write_ipc(written)
    data = written.getvalue()
    assert data.count(b"1;a1;b") == 1 or b"_PL_ENUM" in data
    broken = data.replace(b"1;a1;b", b"x;a1;b")
    with pytest.raises(StoreError, match="Output 'x' of step s"):
        Store.open(hostile.url).load(given(hostile, broken, "polars"))


def test_no_extension_type_runs_code(hostile):
    evil = base64.b64decode("gASVHgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAZmYWxzZQCUhZRSlC4=")
    schema = pa.schema(
        [pa.field("a", pa.int64(), metadata={b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil})]
    )
    written = io.BytesIO()
    with pa.ipc.new_file(written, schema) as writer:
        writer.write_table(pa.table({"a": [1]}, schema=schema))
    assert hostile.load(given(hostile, written.getvalue(), "arrow")).schema.field("a").type == pa.int64()
