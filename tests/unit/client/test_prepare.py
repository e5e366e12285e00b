"""What is looked at before a run, what is written, and that nothing is where something is wrong."""

import json
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

import flowbridge
from flowbridge import each, flow, step
from flowbridge.backends import registry
from flowbridge.backends.inline.backend import InlineBackend
from flowbridge.client import prepare as prepared
from flowbridge.client.options import RunOptions, absolute
from flowbridge.errors import (
    BackendError,
    BackendNotFoundError,
    ConfigError,
    FlowError,
    ParameterError,
    StoreError,
    UnsupportedError,
    UsageError,
)
from tests.unit.client.steps import doubling


@step(image="python:3.11", nodes=2)
def demanding(n: int) -> int:
    return n


@step(nodes=3)
def also(n: int) -> int:
    return n


@flow
def impossible(n: int) -> int:
    return also(demanding(n))


@flow
def hidden(key: SecretStr, n: int = 1) -> int:
    return demanding(n)


def run(target=doubling, **options):
    return target.options(**{"backend": "inline", **options})


class TestRefused:
    """Nothing is written in any of these cases."""

    @pytest.fixture(autouse=True)
    def _nothing_written(self, store):
        yield
        assert not Path(store).exists()

    def test_wrong_parameters(self):
        with pytest.raises(ParameterError, match=r"n: .*'abc' was given"):
            run().run("abc")
        with pytest.raises(ParameterError):
            run().run(m=3)

    def test_unknown_backend(self):
        with pytest.raises(BackendNotFoundError, match=r"'inlien'.*'inline'"):
            run(backend="inlien").run(3)

    def test_unknown_profile(self):
        with pytest.raises(ConfigError, match="Unknown profile 'x'"):
            run(profile="x").run(3)

    def test_every_gap_at_once(self):
        with pytest.raises(UnsupportedError) as caught:
            run(impossible).run(1)
        assert len(caught.value.gaps) == 1 or len(caught.value.gaps) == 2
        assert "demanding, also" in str(caught.value)

    def test_secrets_as_parameters(self):
        with pytest.raises((ParameterError, UnsupportedError)) as caught:
            prepared._refuse_secrets("hidden", {"key": SecretStr("x")})
        assert "parameter 'key' is a secret" in str(caught.value)

    def test_settings_of_a_backend_that_is_not_used(self, tmp_path):
        (tmp_path / "flowbridge.toml").write_text('default_profile="a"\n[profiles.a.kubeflow]\nhots = "x"\n')
        with pytest.raises(ConfigError, match=r"'hots'.*'host'"):
            run().run(3)

    def test_code_that_cannot_travel(self):
        lock = __import__("threading").Lock()

        @step
        def closing(n: int) -> int:
            with lock:
                return n

        @flow
        def closed(n: int) -> int:
            return closing(n)

        with pytest.raises(FlowError, match="closing"):
            run(closed, backend="local").run(1)


@pytest.mark.parametrize("url", ["dir::file://{}", "simplecache::file://{}"])
def test_chained_urls(store, url):
    """The environments of steps ask for what opens the store, of every part of a chain."""
    done = run(store=url.format(store), backend="local").run(3)
    assert done.result().total == 6


def test_a_url_with_one_slash_is_no_folder(store, tmp_path):
    with pytest.raises(ConfigError, match="write s3:// with two slashes"):
        run(store="s3:/bucket/x").run(3)
    (tmp_path / "flowbridge.toml").write_text('default_profile="a"\n[profiles.a]\nstore = "s3:/bucket/x"\n')
    with pytest.raises(ConfigError, match="write s3:// with two slashes"):
        flowbridge.runs()


def test_an_unwritable_store_is_one_clear_error(store):
    with pytest.raises(StoreError, match=r"/dev/null/x"):
        run(store="/dev/null/x").run(3)


def test_inline_runs_what_cannot_travel(store):
    lock = __import__("threading").Lock()

    @step
    def closing(n: int) -> int:
        with lock:
            return n + 1

    @flow
    def closed(n: int) -> int:
        return closing(n)

    done = run(closed).run(1)
    assert done.result() == 2
    assert done.record.bundle is None


class TestWritten:
    def test_the_record(self, store):
        record = run(tags=["b", "nightly"]).run(3).record
        assert (record.flow, record.backend, record.profile) == ("doubling", "inline", None)
        assert record.tags == ("nightly", "b")
        assert record.user
        assert record.host
        assert record.python.startswith("3.")
        assert record.flowbridge == flowbridge.__version__
        assert record.bundle is not None
        assert record.on_failure == "finish"

    def test_ids_sort_by_time_and_differ(self):
        ids = [prepared.new_run_id() for _ in range(200)]
        assert len(set(ids)) == 200
        assert [i[:15] for i in ids] == sorted(i[:15] for i in ids)

    def test_the_commit(self, store, tmp_path):
        commit = prepared.provenance.commit_of(tmp_path)
        assert commit.hash is None
        for command in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "x"]):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
        commit = prepared.provenance.commit_of(tmp_path)
        assert len(commit.hash) == 40
        assert commit.dirty is False
        (tmp_path / "file").write_text("x")
        subprocess.run(["git", "add", "file"], cwd=tmp_path, check=True)
        assert prepared.provenance.commit_of(tmp_path).dirty is True

    def test_parameters_for_listings(self):
        shown = prepared.shown({"a": 1, "b": float("nan"), "path": Path("/x"), "odd": object(), "long": "x" * 20_000})
        assert shown == {"a": 1, "b": "NaN", "path": "/x"}
        json.dumps(shown, allow_nan=False)


class Refusing(InlineBackend):
    """A backend that cannot be reached."""

    name = "refusing"
    error: Exception = BackendError("nobody answers")

    def submit(self, run):
        raise self.error


class TestSubmission:
    @pytest.fixture
    def backend(self, store, monkeypatch):
        backend = Refusing()
        monkeypatch.setattr("flowbridge.client.prepare.get_backend", lambda name: backend)
        monkeypatch.setattr("flowbridge.client.start.get_backend", lambda name: backend)
        return backend

    def test_a_run_that_was_not_taken_is_closed(self, backend):
        with pytest.raises(BackendError):
            run().run(3)
        (left,) = flowbridge.runs()
        assert left.status == "cancelled"

    def test_a_run_that_was_wrong_is_taken_away(self, backend):
        backend.error = UsageError("no")
        with pytest.raises(UsageError):
            run().run(3)
        assert len(flowbridge.runs()) == 0

    def test_a_backend_may_refuse_before_anything_is_written(self, backend, store):
        def admit(profile, *, max_parallel=None):
            raise UsageError(f"not with {max_parallel}")

        backend.admit = admit
        with pytest.raises(UsageError, match="not with 3"):
            run(max_parallel=3).run(3)
        assert not Path(store).exists()


class TestOptions:
    def test_an_unknown_option(self):
        with pytest.raises(ConfigError, match=r"'backned'.*'backend'"):
            RunOptions.of({"backned": "x"})

    @pytest.mark.parametrize("url", ["s3://a/b", "memory://x", "simplecache::s3://a/b"])
    def test_urls_stay(self, url):
        assert absolute(url) == url

    def test_paths_become_absolute(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        assert absolute("x") == str(tmp_path / "x")
        assert absolute("~/x") == str(Path.home() / "x")

    def test_plug_ins_are_found_by_entry_point(self, store):
        assert {"inline", "local", "kubeflow", "metaflow"} <= set(registry.backend_names())


class TestLooking:
    def test_check(self, store):
        report = doubling.check(backend="inline")
        assert report.ok
        assert "can run on 'inline'" in str(report)
        assert not Path(store).exists()

    def test_check_refuses(self, store):
        with pytest.raises(UnsupportedError, match="demanding"):
            impossible.check(backend="inline")

    def test_examine_tells(self, store):
        report = flowbridge.client.inspection.examine(impossible, backend="inline")
        assert not report.ok
        assert "demanding" in str(report)

    def test_compile(self, store, tmp_path):
        compiled = doubling.compile(tmp_path / "out" / "flow.json", backend="inline")
        written = json.loads((tmp_path / "out" / "flow.json").read_text())
        assert written["name"] == "doubling"
        assert next(iter(compiled.files.values())) == (tmp_path / "out" / "flow.json").read_bytes()
        assert doubling.compile(backend="inline").files == compiled.files

    def test_compile_refuses(self, store, tmp_path):
        with pytest.raises(UnsupportedError):
            impossible.compile(tmp_path / "x.json", backend="inline")
        assert not (tmp_path / "x.json").exists()


def test_each_is_used():
    assert each is flowbridge.each
