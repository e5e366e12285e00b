"""The contract on S3's protocol, and a whole run there."""

from uuid import uuid4

import numpy as np
import pytest

from flowbridge import each, flow, get_run, runs, step
from flowbridge.artifacts.store import Store
from flowbridge.testing import StoreSuite

pytestmark = pytest.mark.s3


class TestS3(StoreSuite):
    @pytest.fixture
    def place(self, s3_options):
        return f"s3://artifacts/{uuid4().hex}", s3_options


def test_a_small_value_is_one_request_each_way(s3_options, tmp_path, monkeypatch):
    store = Store.open(f"s3://artifacts/{uuid4().hex}", options=s3_options, cache_dir=tmp_path / "cache")
    fs = store.content._filesystem()
    call, asked = fs._call_s3, []

    async def call_s3(method, *rest, **kwargs):
        asked.append(method)
        return await call(method, *rest, **kwargs)

    monkeypatch.setattr(fs, "_call_s3", call_s3)
    ref = store.save(np.arange(5000))
    assert asked == ["put_object"]
    assert store.load(ref)[-1] == 4999
    assert asked == ["put_object", "get_object"]


@step
def numbers(n: int) -> list[int]:
    print("making", n)
    return list(range(n))


@step
def square(x: int) -> int:
    print("squaring", x)
    return x * x


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@flow
def squares(n: int = 3) -> int:
    return total(square.map(each(numbers(n))))


def test_a_run_whose_store_is_on_s3(s3_options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("FLOWBRIDGE_ACCOUNT_DIR", str(tmp_path / "account"))
    monkeypatch.setenv("FLOWBRIDGE_CACHE_DIR", str(tmp_path / "cache"))
    url = f"s3://artifacts/{uuid4().hex}"
    endpoint = s3_options["client_kwargs"]["endpoint_url"]
    (tmp_path / "flowbridge.toml").write_text(
        f'[profiles.s3]\nstore = "{url}"\n[profiles.s3.store_options]\nkey = "test"\nsecret = "test"\n'
        f'[profiles.s3.store_options.client_kwargs]\nendpoint_url = "{endpoint}"\n'
    )
    monkeypatch.setenv("FLOWBRIDGE_PROFILE", "s3")
    run = squares.options(backend="local").run(n=4)
    assert run.status == "done", run.message
    assert run.result() == 14
    again = get_run(run.id)
    assert [task.load() for task in again["square"]] == [0, 1, 4, 9]
    assert {task.state for task in again.tasks} == {"done"}
    assert "squaring 3" in again["square"][3].logs()
    assert [r.id for r in runs()] == [run.id]
