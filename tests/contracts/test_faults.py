"""A network that breaks off, stalls and loses answers, between the real clients and the servers that stand for object stores."""

import logging
import os
from uuid import uuid4

import pytest

from flowbridge.artifacts import patience
from flowbridge.artifacts.content import open_content
from flowbridge.artifacts.options import of_gcs, of_s3
from flowbridge.artifacts.store import Store
from flowbridge.errors import ArtifactDamagedError, StoreUnavailableError
from tests.contracts.faults import INTERNAL, SLOW_DOWN, Fault, fault_proxy, times

SMALL = os.urandom(100_000)
LARGE = os.urandom(20 << 20)
BROKEN = {
    "reset": Fault(forward=False, reset=True),
    "lost answer": Fault(reset=True),
    "internal error": Fault(status=500, body=INTERNAL),
    "slow down": Fault(status=503, body=SLOW_DOWN),
    "cut off": Fault(keep=0.5),
    "cut short": Fault(keep=0.5, honest=True),
}


@pytest.fixture(params=[pytest.param("s3", marks=pytest.mark.s3), pytest.param("gcs", marks=pytest.mark.gcs)])
def kind(request):
    return request.param


@pytest.fixture
def proxy(request, kind, monkeypatch):
    monkeypatch.setattr(patience, "PAUSE", 0.001)
    options = request.getfixturevalue(f"{kind}_options")
    with fault_proxy(options["client_kwargs"]["endpoint_url"] if kind == "s3" else options["endpoint_url"]) as made:
        made.options = {**options, "client_kwargs": {"endpoint_url": made.url}} if kind == "s3" else {**options, "endpoint_url": made.url}
        yield made


@pytest.fixture
def url(kind):
    return f"{'s3' if kind == 's3' else 'gs'}://artifacts/{uuid4().hex}"


@pytest.fixture
def content(proxy, url):
    return open_content(url, proxy.options)


def is_body(method, path, _):
    return method == "GET" and not any(part in path for part in ("list-type", "prefix=", "uploads"))


def is_list(method, path, _):
    return method == "GET" and ("list-type" in path or "prefix=" in path)


def into(content, path, size):
    target = bytearray(size)
    content.get_into(path, memoryview(target))
    return bytes(target)


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_read_is_what_was_written(content, proxy, broken):
    content.put("x/small", SMALL)
    content.put("x/large", LARGE)
    proxy.rule = times(1, BROKEN[broken], is_body)
    assert into(content, "x/small", len(SMALL)) == SMALL
    proxy.rule = times(1, BROKEN[broken], is_body)
    assert into(content, "x/large", len(LARGE)) == LARGE
    proxy.rule = times(1, BROKEN[broken], is_list)
    assert content.paths("x") == ["x/large", "x/small"]


def test_a_blob_that_was_cut_short_on_its_way_is_not_called_damaged(proxy, url):
    store = Store.open(url, options=proxy.options, cache_size=0)
    reference = store.save(SMALL)
    proxy.rule = times(1, BROKEN["cut short"], is_body)
    assert store.load(reference) == SMALL
    proxy.rule = lambda *exchange: BROKEN["cut short"] if is_body(*exchange) else None
    with pytest.raises((ArtifactDamagedError, StoreUnavailableError)):  # which of them depends on whether its size can be asked for
        store.load(reference)


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_written_arrives_once(content, proxy, broken):
    for path, data in (("x/small", SMALL), ("x/large", LARGE)):
        for ending in (lambda *_: True, lambda method, path, _: method == "POST" and "uploadId" in path):
            proxy.rule = times(1, BROKEN[broken], ending)
            content.put(path, data)
            proxy.reset()
            assert into(content, path, len(data)) == data
    assert content.paths("") == ["x/large", "x/small"]
    left = list(content.entries("", temporary=True))
    assert sum(size for _, size, _ in left) == 0  # an upload whose beginning was not heard of holds no part, and gc ends it
    content.delete([path for path, _, _ in left])
    assert list(content.entries("", temporary=True)) == []


def test_who_creates_and_gets_no_answer_knows_its_own(content, proxy, kind):
    if kind == "gcs":  # the emulator ignores the precondition: the proxy says what the real one would
        answers = iter([Fault(reset=True), Fault(status=412, body=b"{}")])
        proxy.rule = lambda method, *_: next(answers, None) if method == "POST" else None
    else:
        proxy.rule = times(2, Fault(reset=True), lambda method, *_: method == "PUT")
    content.create("x/mine", b"data")
    proxy.reset()
    assert content.get("x/mine") == b"data"
    if kind == "gcs":
        proxy.rule = lambda method, *_: Fault(status=412, body=b"{}") if method == "POST" else None
    with pytest.raises(FileExistsError):
        open_content(content.url, proxy.options).create("x/mine", b"data")


@pytest.mark.parametrize("kind", [pytest.param("s3", marks=pytest.mark.s3)], indirect=True)
@pytest.mark.parametrize("then", [None, Fault(status=404, body=b"<Error><Code>NoSuchUpload</Code></Error>")], ids=["s3", "others"])
def test_an_upload_that_was_completed_unheard_is_complete(content, proxy, then):
    answers = iter([Fault(reset=True), then])
    proxy.rule = lambda method, path, _: next(answers, None) if method == "POST" and "uploadId" in path else None
    content.put("x/large", LARGE)
    proxy.reset()
    assert into(content, "x/large", len(LARGE)) == LARGE


@pytest.mark.parametrize("kind", [pytest.param("s3", marks=pytest.mark.s3)], indirect=True)
def test_an_upload_that_the_server_does_not_know_is_not_taken_for_complete(content, proxy):
    gone = Fault(status=404, body=b"<Error><Code>NoSuchUpload</Code></Error>")
    proxy.rule = lambda method, path, _: gone if method == "POST" and "uploadId" in path else None
    with pytest.raises(StoreUnavailableError, match="cannot be written"):
        content.put("x/large", LARGE)
    proxy.reset()
    assert content.paths("") == []


@pytest.mark.parametrize("kind", [pytest.param("s3", marks=pytest.mark.s3)], indirect=True)
def test_an_error_in_an_answer_of_success_is_one(content, proxy):
    proxy.rule = lambda method, path, _: Fault(status=200, body=INTERNAL) if method == "POST" and "uploadId" in path else None
    with pytest.raises(StoreUnavailableError, match="tried 6 times"):
        content.put("x/large", LARGE)
    proxy.reset()
    assert content.paths("") == []
    assert list(content.entries("", temporary=True)) == []


@pytest.mark.parametrize("kind", [pytest.param("s3", marks=pytest.mark.s3)], indirect=True)
def test_no_request_is_made_more_often_than_is_told(content, proxy, caplog):
    content.put("x/small", SMALL)
    proxy.seen.clear()
    proxy.rule = lambda *_: Fault(status=500, body=INTERNAL)
    with caplog.at_level(logging.WARNING, "flowbridge"), pytest.raises(StoreUnavailableError, match="tried 6 times"):
        content.paths("x")
    assert len(proxy.seen) == patience.ATTEMPTS
    told = [record.getMessage() for record in caplog.records if record.name == "flowbridge"]
    assert len(told) == 1
    assert "did not list x" in told[0]
    assert "Trying again" in told[0]


@pytest.mark.parametrize("kind", [pytest.param("s3", marks=pytest.mark.s3)], indirect=True)  # gcsfs has pauses of its own, half a minute
def test_a_server_that_says_nothing_is_given_up(proxy, url, monkeypatch):
    monkeypatch.setattr(patience, "SILENCE", 0.2)
    monkeypatch.setattr(patience, "LONGEST", 0.5)
    content = open_content(url, proxy.options)
    content.put("x/small", SMALL)
    proxy.rule = lambda *_: Fault(stall=600)
    with pytest.raises(StoreUnavailableError, match="did not read"):
        content.get("x/small")
    with pytest.raises(StoreUnavailableError, match="did not write"):
        content.put("x/large", LARGE)


def test_what_the_profile_says_of_timeouts_and_attempts_holds():
    options = of_s3({"config_kwargs": {"read_timeout": 300, "retries": {"max_attempts": 7}}})
    assert options["config_kwargs"]["read_timeout"] == 300
    assert options["config_kwargs"]["retries"] == {"max_attempts": 7}
    assert options["config_kwargs"]["connect_timeout"] == patience.CONNECT
    assert of_gcs({"requests_timeout": 300})["requests_timeout"] == 300


def test_sizes_are_asked_of_the_store_and_not_of_an_old_listing(content, proxy):
    content.put("x/one", SMALL)
    assert content.paths("x") == ["x/one"]
    open_content(content.url, proxy.options).delete(["x/one"])
    assert content.size("x/one") is None
    assert not content.exists("x/one")
