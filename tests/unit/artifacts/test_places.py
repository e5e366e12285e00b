"""Where a store can be: URLs that are none, and file systems that lack something."""

import errno
import threading
import time
import zipfile
from typing import ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from flowbridge.artifacts.content import open_content
from flowbridge.artifacts.store import Store
from flowbridge.errors import ConfigError, MissingExtraError, StoreUnavailableError
from flowbridge.testing.stores import StoreSuite


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("flowbridge.artifacts.patience.PAUSE", 0)


class Asked(MemoryFileSystem):
    """Memory that counts what it is asked for, and fails as it is told to."""

    protocol = "asked"
    store = {}
    pseudo_dirs = [""]
    asked = []
    failure = None

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        Asked.asked.append(path)
        if Asked.failure is not None:
            raise Asked.failure
        super().pipe_file(path, value, mode=mode, **kwargs)


class Sizeless(MemoryFileSystem):
    """A web server: its listings tell no sizes."""

    protocol = "sizeless"

    def find(self, path, **kwargs):
        return {name: {**info, "size": None} for name, info in super().find(path, **kwargs).items()}


class Remembering(MemoryFileSystem):
    """Remembers which folders there are, as FTP does, and does not make one that is there."""

    protocol = "remembering"
    known = set()

    def makedirs(self, path, exist_ok=False):
        if path in Remembering.known and exist_ok:
            return
        if self.isdir(path):
            raise OSError(errno.EPERM, "550 File exists")
        super().makedirs(path, exist_ok=exist_ok)

    def rm_file(self, path):
        if not self.exists(path):
            raise OSError(errno.EPERM, "550 No such file")
        super().rm_file(path)

    def invalidate_cache(self, path=None):
        Remembering.known = {name for name in MemoryFileSystem.pseudo_dirs if name}


class OneLine(MemoryFileSystem):
    """One connection, as FTP has: who asks while another is being answered breaks it."""

    protocol = "oneline"
    line = threading.Lock()

    def cat_file(self, path, **kwargs):
        if not self.line.acquire(blocking=False):
            raise ConnectionError("two talk at once")
        try:
            time.sleep(0.02)
            return super().cat_file(path, **kwargs)
        finally:
            self.line.release()


for kind in (Asked, Sizeless, Remembering, OneLine):
    fsspec.register_implementation(kind.protocol, kind, clobber=True)


@pytest.fixture
def failing():
    def with_(error):
        Asked.failure = error
        return Store.open("asked://place")

    Asked.asked.clear()
    yield with_
    Asked.failure = None


@pytest.mark.parametrize("url", ["s3://", "s3:///", "gs://", "az://"])
def test_an_object_store_without_a_bucket_is_refused(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="names no bucket: write"):
        open_content(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("url", "package"), [("az://box/x", "adlfs"), ("dropbox://x", "dropbox")])
def test_a_package_that_no_extra_brings_is_named(url, package, monkeypatch):
    for name in ("adlfs", "dropboxdrivefs"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingExtraError, match=package) as caught:
        open_content(url)
    assert "flowbridge[all]" not in str(caught.value)


def test_a_place_that_can_only_be_read_is_told_at_once(failing):
    with pytest.raises(StoreUnavailableError, match=r"can only be read .*Name another with --store"):
        failing(NotImplementedError("no write")).save(b"x" * 100_000)
    assert len(Asked.asked) == 1


def test_credentials_that_are_missing_are_asked_for(failing):
    class NoCredentialsError(Exception):
        """As botocore has it."""

    with pytest.raises(StoreUnavailableError, match="Give credentials in the profile's store_options, or where"):
        failing(NoCredentialsError("Unable to locate credentials")).save(b"x" * 100_000)


def test_a_name_that_no_bucket_can_have_is_told_at_once(failing):
    class ParamValidationError(Exception):
        """As botocore has it."""

    with pytest.raises(StoreUnavailableError, match=r"Invalid bucket name.*Check the store's URL"):
        failing(ParamValidationError("Invalid bucket name")).save(b"x" * 100_000)
    assert len(Asked.asked) == 1


def test_sizes_that_a_listing_does_not_tell_are_asked_for():
    content = open_content("sizeless://sizes")
    content.put("a/b", b"12345")
    assert [(path, size) for path, size, _ in content.entries("")] == [("a/b", 5)]


def test_a_folder_that_another_process_made_is_no_trouble():
    content = open_content("remembering://folders")
    MemoryFileSystem().makedirs("/folders/runs", exist_ok=True)
    content.put("runs/a", b"1")
    content.put("runs/b", b"2")
    assert content.paths("runs/") == ["runs/a", "runs/b"]


def test_what_is_gone_already_is_deleted_whatever_the_place_says():
    content = open_content("remembering://gone")
    content.put("a", b"1")
    content.put("c", b"1")
    content.delete(["a", "b", "c"])
    assert content.paths("") == []


def test_what_cannot_be_deleted_is_told(monkeypatch):
    content = open_content("remembering://kept")
    content.put("a", b"1")
    monkeypatch.setattr(Remembering, "rm_file", lambda *_: (_ for _ in ()).throw(PermissionError("not yours")))
    with pytest.raises(StoreUnavailableError, match="does not allow to delete 1 objects: not yours"):
        content.delete(["a"])
    assert content.paths("") == ["a"]


def test_a_place_with_one_connection_is_asked_one_thing_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setattr("flowbridge.artifacts.remote._ONE_AT_A_TIME", {"oneline"})
    store = Store.open("oneline://place", cache_dir=tmp_path)
    arrays = [np.full(3 << 20, number, dtype=float) for number in range(2)]
    loaded = store.load(store.save(arrays))
    assert [float(array[-1]) for array in loaded] == [0.0, 1.0]


def test_the_root_of_a_file_system_is_a_place():
    content = open_content("asked://")
    content.put("runs/a/1.json", b"1")
    assert content.get("runs/a/1.json") == b"1"
    assert content.paths("runs/") == [path for path, _, _ in content.entries("")] == ["runs/a/1.json"]
    assert content.folders("runs") == ["a"]
    content.delete(["runs/a/1.json"])
    assert content.paths("") == []


def test_an_archive_is_read(tmp_path):
    """As someone who is sent a store looks at it."""
    with zipfile.ZipFile(tmp_path / "store.zip", "w") as archive:
        archive.writestr("runs/a/1.json", "1")
    for content in (open_content("zip://", {"fo": str(tmp_path / "store.zip")}), open_content(f"zip://::file://{tmp_path / 'store.zip'}")):
        assert content.get("runs/a/1.json") == b"1"
        assert content.paths("") == ["runs/a/1.json"]
        assert content.folders("runs") == ["a"]


@pytest.mark.parametrize(
    ("url", "slip", "meant"),
    [("s3://bucket", "endpont_url", "endpoint_url"), ("gs://bucket", "tokn", "token"), ("zip://", "compresion", "compression")],
)
def test_an_option_that_is_misspelt_is_refused_also_where_the_file_system_takes_anything(url, slip, meant):
    pytest.importorskip({"s3": "s3fs", "gs": "gcsfs"}.get(url.partition(":")[0], "fsspec"))
    with pytest.raises(ConfigError, match=f"'{slip}' in the store_options of {url}. Did you mean '{meant}'"):
        open_content(url, {slip: "x"})


def test_options_that_a_file_system_hands_on_are_left_to_it():
    s3fs = pytest.importorskip("s3fs")
    content = open_content("s3://bucket", {"key": "k", "secret": "s", "use_listings_cache": False, "profile": None, "max_paths": 3})
    assert isinstance(content._filesystem(), s3fs.S3FileSystem)


def test_a_limit_of_a_store_that_the_suite_does_not_know_is_refused():
    with pytest.raises(
        ConfigError, match=r"'test_names_of_al_kinds', which is no test of the suite. Did you mean 'test_names_of_all_kinds'"
    ):

        class TestMine(StoreSuite):
            unlike: ClassVar = {"test_names_of_al_kinds": "it takes ASCII only"}
