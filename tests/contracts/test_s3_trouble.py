"""A large object on S3 whose parts fail: nothing is half-visible, and no upload is left open that somebody would pay for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from flowbridge.artifacts import layout, patience, s3parts, transfer
from flowbridge.artifacts.collect import GRACE, Retention
from flowbridge.artifacts.s3parts import Parts, parts_of
from flowbridge.artifacts.store import Store
from flowbridge.client.gc import carry_out, make_plan, usage_of
from flowbridge.errors import ArtifactNotFoundError, StoreUnavailableError
from tests.unit.artifacts.test_memory import BODIES, MIB, measured

pytestmark = pytest.mark.s3
PARTS = 5
FAILURE = ClientError({"Error": {"Code": "InternalError", "Message": "We encountered an internal error"}}, "UploadPart")


@pytest.fixture(params=["botocore", "s3fs"])
def store(request, s3_options, tmp_path, monkeypatch):
    monkeypatch.setattr("flowbridge.artifacts.patience.PAUSE", 0.001)
    options = s3_options if request.param == "botocore" else {**s3_options, "use_ssl": False}  # which only s3fs knows what to do with
    made = Store.open(f"s3://artifacts/{uuid4().hex}", options=options, cache_dir=tmp_path / "cache")
    assert (parts_of(made.content._filesystem()) is None) == (request.param == "s3fs")
    return made


@pytest.fixture
def failing(monkeypatch, store):
    """Make the third part fail as often as is told, and count the parts that were tried."""
    told = {"times": 0, "tried": 0}

    def count(number):
        told["tried"] += 1
        if number == 3 and told["times"]:
            told["times"] -= 1
            raise FAILURE

    send = Parts.send
    monkeypatch.setattr(Parts, "send", lambda self, bucket, key, number, *rest: count(number) or send(self, bucket, key, number, *rest))
    fs = store.content._filesystem()
    call = fs.call_s3

    def call_s3(method, **kwargs):
        if method == "upload_part":
            count(kwargs["PartNumber"])
        return call(method, **kwargs)

    monkeypatch.setattr(fs, "call_s3", call_s3)
    return told


def open_uploads(options):
    fs = fsspec.filesystem("s3", **options, skip_instance_cache=True)
    return fs.call_s3("list_multipart_uploads", Bucket="artifacts").get("Uploads", [])


def large():
    return np.arange(PARTS * transfer.PART // 8 - 1000)


def test_parts_that_fail_once_are_not_noticed(store, failing, s3_options):
    failing["times"] = 1
    ref = store.save(large())
    assert failing["tried"] > PARTS
    assert store.load(ref)[-1] == large()[-1]
    assert open_uploads(s3_options) == []


def test_parts_that_never_arrive_leave_nothing(store, failing, s3_options):
    failing["times"] = 1000
    with pytest.raises(StoreUnavailableError, match=r"did not write .* tried 6 times"):
        store.save(large())
    assert failing["tried"] >= 4
    assert list(store.content.entries("")) == []
    assert list(store.content.entries("", temporary=True)) == []
    assert open_uploads(s3_options) == []
    failing["times"] = 0
    ref = store.save(large())
    assert store.content.paths("blobs/") == [layout.blob(ref.digest)]


def test_credentials_of_the_profile_are_those_of_the_parts(s3_options):
    wrong = {**s3_options, "client_kwargs": {"endpoint_url": "http://127.0.0.1:1"}, "config_kwargs": {"retries": {"max_attempts": 1}}}
    fs = fsspec.filesystem("s3", **wrong, skip_instance_cache=True)
    client = parts_of(fs)._client
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client._request_signer._credentials.access_key == "test"
    assert client.meta.config.retries["total_max_attempts"] == 2


def test_one_client_is_made_however_many_want_it_at_once(s3_options, monkeypatch):
    fs = fsspec.filesystem("s3", **s3_options, skip_instance_cache=True)
    made, real = [], s3parts._client
    barrier = threading.Barrier(6)

    def slowly(*given):
        made.append(1)
        time.sleep(0.2)  # so that all others ask meanwhile
        return real(*given)

    def ask(_):
        barrier.wait()
        return parts_of(fs)

    monkeypatch.setattr(s3parts, "_client", slowly)
    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(ask, range(6)))) == 1
    assert made == [1]


def test_options_that_only_aiobotocore_has_go_through_s3fs(s3_options, tmp_path):
    options = {**s3_options, "config_kwargs": {"connector_args": {"keepalive_timeout": 5}}}
    store = Store.open(f"s3://artifacts/{uuid4().hex}", options=options, cache_dir=tmp_path / "cache")
    assert parts_of(store.content._filesystem()) is None
    assert store.load(store.save(large()))[-1] == large()[-1]


@pytest.mark.parametrize("store", ["botocore"], indirect=True)
@pytest.mark.parametrize(
    ("code", "told", "error"),
    [
        ("AccessDenied", "does not allow to", StoreUnavailableError),
        ("403", "does not allow to", StoreUnavailableError),
        ("NoSuchKey", "Nothing stands at", ArtifactNotFoundError),
        ("404", "Nothing stands at", ArtifactNotFoundError),
    ],
)
def test_parts_that_are_forbidden_or_gone_are_told_and_not_asked_for_again(store, monkeypatch, code, told, error):
    ref = store.save(large())
    client, tried = parts_of(store.content._filesystem())._client, []

    def refused(**request):
        tried.append(request["Range"])
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "GetObject")

    monkeypatch.setattr(client, "get_object", refused)
    with pytest.raises(error, match=told):
        store.load(ref)
    assert len(tried) == len(set(tried))


@pytest.mark.parametrize("store", ["botocore"], indirect=True)
def test_a_part_that_may_not_be_sent_is_told_and_not_sent_again(store, monkeypatch, s3_options):
    client, tried = parts_of(store.content._filesystem())._client, []

    def refused(**request):
        tried.append(request["PartNumber"])
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "UploadPart")

    monkeypatch.setattr(client, "upload_part", refused)
    with pytest.raises(StoreUnavailableError, match="does not allow to write"):
        store.save(large())
    assert len(tried) == len(set(tried))
    assert open_uploads(s3_options) == []


def begin_upload(store, options, path, parts=2):
    """Do what a writer does that is killed midway."""
    fs = fsspec.filesystem("s3", **options, skip_instance_cache=True)
    bucket, key, _ = fs.split_path(f"{store.url}/{path}")
    upload = fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key)["UploadId"]
    for number in range(1, parts + 1):
        fs.call_s3("upload_part", Bucket=bucket, Key=key, PartNumber=number, UploadId=upload, Body=bytes(5 << 20))
    return upload


@pytest.mark.parametrize("store", ["botocore"], indirect=True)
def test_uploads_of_writers_that_were_killed_are_found_and_ended(store, s3_options):
    kept = store.save(large())
    begun = {begin_upload(store, s3_options, layout.blob(f"blake3:{name * 64}")) for name in "ab"}
    other = Store.open(f"{store.url}-other", options=s3_options)
    not_ours = begin_upload(other, s3_options, "blobs/x")
    assert [path for path, _, _ in store.content.entries("", temporary=False)] == [layout.blob(kept.digest)]
    plan = make_plan(store, Retention(), grace=GRACE)
    assert [size for _, size, _ in plan.files] == [10 << 20] * 2
    assert usage_of(store).total == kept.size + (20 << 20)
    assert len(carry_out(store, plan).files) == 2
    still = {upload["UploadId"] for upload in open_uploads(s3_options)}
    assert not begun & still
    assert not_ours in still
    assert make_plan(store, Retention()).files == ()
    assert store.exists(kept)
    other.content.delete([path for path, _, _ in other.content.entries("", temporary=True)])
    assert open_uploads(s3_options) == []


@pytest.mark.parametrize("store", ["botocore"], indirect=True)
@pytest.mark.parametrize("code", ["AccessDenied", "NotImplemented", "MethodNotAllowed"])
def test_a_server_that_does_not_tell_of_uploads_is_cleaned_without(store, monkeypatch, code):
    begun = store.content._filesystem()
    call = begun.call_s3

    def call_s3(method, **kwargs):
        if method == "list_multipart_uploads":
            raise translate_boto_error(ClientError({"Error": {"Code": code, "Message": "no"}}, method))
        return call(method, **kwargs)

    monkeypatch.setattr(begun, "call_s3", call_s3)
    assert make_plan(store, Retention()).files == ()


@pytest.mark.parametrize("store", ["botocore"], indirect=True)
def test_a_server_in_trouble_is_asked_again_for_its_uploads(store, monkeypatch):
    begun = store.content._filesystem()
    call, asked = begun.call_s3, []

    def call_s3(method, **kwargs):
        if method == "list_multipart_uploads":
            asked.append(method)
            raise translate_boto_error(FAILURE)
        return call(method, **kwargs)

    monkeypatch.setattr(begun, "call_s3", call_s3)
    with pytest.raises(StoreUnavailableError, match="unfinished uploads"):
        make_plan(store, Retention())
    assert len(asked) == patience.ATTEMPTS


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"use_ssl": False}], ids=["botocore", "s3fs"])
def test_a_large_array_takes_little_memory_more(s3_options, tmp_path, more):
    save, load = measured(tmp_path, BODIES["array"], f"s3://artifacts/{uuid4().hex}", repr({**s3_options, **more}))
    assert save <= 64 * MIB, f"saving took {save >> 20} MiB"
    assert load <= 64 * MIB, f"loading took {load >> 20} MiB"
