"""The REST calls against a small server, and what a user is told when it does not answer, refuses, or does not let him in."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING, Any

import pytest

from flowbridge.backends.kubeflow import rest
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.cron import cron_of
from flowbridge.backends.kubeflow.options import KubeflowOptions
from flowbridge.backends.kubeflow.submit import source
from flowbridge.errors import ConfigError
from flowbridge.ir.flow import Schedule
from tests.unit.backends.kubeflow.fake_server import FakeServer
from tests.unit.backends.kubeflow.flows import chain, profile, training

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    server = FakeServer()
    server.held = True
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "PAUSE", 0.0)


def connect(fake: FakeServer, **options: Any) -> rest.Server:
    return rest.Server(KubeflowOptions(host=fake.address, **options))


def request(name: str = "chain 1") -> dict[str, Any]:
    return {"display_name": name, "pipeline_spec": source(compile_flow(chain(2), profile())), "runtime_config": {"parameters": {}}}


def test_experiment_is_found_or_made(fake: FakeServer) -> None:
    server = connect(fake)
    first = server.experiment("training")
    assert server.experiment("training") == first
    assert server.experiment("other") != first
    assert [r[:2] for r in fake.requests] == [("GET", "/experiments"), ("POST", "/experiments")] * 1 + [("GET", "/experiments")] * 2 + [
        ("POST", "/experiments")
    ]


def test_run_is_created_watched_and_ended(fake: FakeServer) -> None:
    server = connect(fake)
    run = server.create_run(request())
    assert server.run(run)["state"] == "RUNNING"
    assert server.find_run("chain 1") == run
    server.terminate(run)
    assert server.run(run)["state"] == "FAILED"
    assert server.page(run, None) == f"{fake.address}/#/runs/details/{run}"
    assert server.page(run, "https://ui.example.com/pipeline/") == f"https://ui.example.com/pipeline/#/runs/details/{run}"


def test_token_and_cookies_are_sent(fake: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    fake.token = "t0ken"
    monkeypatch.setenv("KFP_TOKEN", "t0ken")
    (tmp_path / "token").write_text("t0ken\n")
    for how in ({"token": "t0ken"}, {"token_env": "KFP_TOKEN"}, {"token_file": str(tmp_path / "token")}):
        assert connect(fake, **how).experiment("x")
    assert rest.credentials(KubeflowOptions(cookies="authservice_session=abc")) == {"Cookie": "authservice_session=abc"}


def test_missing_credential_is_told() -> None:
    with pytest.raises(ConfigError, match="token_env names the environment variable NOT_SET"):
        rest.credentials(KubeflowOptions(token_env="NOT_SET"))
    with pytest.raises(ConfigError, match="token_file '/no/such' cannot be read"):
        rest.credentials(KubeflowOptions(token_file="/no/such"))
    with pytest.raises(ConfigError, match="ca_cert"):
        rest.tls(KubeflowOptions(host="https://x", ca_cert="/no/such"))


def test_no_host_is_told() -> None:
    with pytest.raises(ConfigError, match=r"kubeflow.host is not set.*'local'"):
        rest.Server(KubeflowOptions())


def test_unreachable_server_is_told() -> None:
    server = rest.Server(KubeflowOptions(host="http://127.0.0.1:9"))
    with pytest.raises(
        rest.ServerUnreachableError, match=r"No Kubeflow Pipelines server answers at http://127.0.0.1:9.*Check kubeflow.host"
    ):
        server.experiment("x")


def test_not_let_in_is_told(fake: FakeServer) -> None:
    fake.token = "right"
    with pytest.raises(rest.AccessDeniedError, match=r"\(401\).*no user identity header.*check kubeflow.token"):
        connect(fake, token="wrong").experiment("x")


def test_foreign_namespace_is_told(fake: FakeServer) -> None:
    fake.namespaces = frozenset({"ml"})
    with pytest.raises(rest.AccessDeniedError, match=r"in namespace 'other' \(403\).*kubeflow.namespace"):
        connect(fake, namespace="other").experiment("x")


def test_missing_namespace_is_told(fake: FakeServer) -> None:
    fake.namespaces = frozenset({"ml"})
    with pytest.raises(rest.RefusedError, match=r"set kubeflow\.namespace"):
        connect(fake).experiment("x")
    assert connect(fake, namespace="ml").experiment("x")


def test_refused_pipeline_is_told_without_a_stack(fake: FakeServer) -> None:
    bad = request()
    bad["pipeline_spec"]["components"]["comp-chain-flow"]["dag"]["tasks"]["s1"]["dependentTasks"] = ["gone"]
    with pytest.raises(rest.RefusedError, match=r"refused POST /runs \(500\): InternalServerError: dependency 'gone'"):
        connect(fake).create_run(bad)
    assert fake.runs == {}


def test_login_page_is_told() -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>Log in</html>")

        def log_message(self, *args: Any) -> None:
            pass

    page = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    try:
        with pytest.raises(rest.AccessDeniedError, match="behind a login page"):
            rest.Server(KubeflowOptions(host=f"http://127.0.0.1:{page.server_port}")).experiment("x")
    finally:
        page.shutdown()
        page.server_close()


def test_lost_answer_does_not_start_a_run_twice(fake: FakeServer) -> None:
    """The server did it and the connection broke: the run is found by its name."""
    fake.fail_next = {"POST /runs": [(-1, "")]}
    run = connect(fake).create_run(request())
    assert list(fake.runs) == [run]


def test_lost_request_leaves_no_run(fake: FakeServer) -> None:
    fake.fail_next = {"POST /runs": [(0, "")]}
    with pytest.raises(rest.ServerUnreachableError):
        connect(fake).create_run(request())
    assert fake.runs == {}


def test_reads_are_repeated(fake: FakeServer) -> None:
    fake.fail_next = {"GET /experiments": [(0, ""), (0, "")]}
    assert connect(fake).experiment("x")


def test_pipelines_are_uploaded_once_per_version(fake: FakeServer) -> None:
    server, data = connect(fake), compile_flow(training(), profile()).data
    first = server.upload("training", "training-abc", data, "flowbridge flow training")
    assert server.upload("training", "training-abc", data, "flowbridge flow training") == first
    second = server.upload("training", "training-def", data, "flowbridge flow training")
    assert second[0] == first[0]
    assert second[1] != first[1]
    assert all(sent == data for sent in fake.uploads)


def test_schedules_are_listed_switched_and_removed(fake: FakeServer) -> None:
    server = connect(fake)
    made = server.create_schedule({**request("nightly"), "trigger": {"cron_schedule": {"cron": cron_of(Schedule(cron="0 6 * * *"))}}})
    assert [s["recurring_run_id"] for s in server.schedules("nightly")] == [made]
    assert server.schedules("other") == []
    server.switch_schedule(made, on=False)
    assert fake.schedules[made]["mode"] == "DISABLE"
    server.delete_schedule(made)
    assert server.schedules() == []


@pytest.mark.parametrize(
    ("cron", "zone", "sent"),
    [
        ("0 6 * * *", None, "0 0 6 * * *"),
        ("*/5 * * * 7", None, "0 */5 * * * 0"),
        ("0 6 * * 1,7", "Asia/Tokyo", "0 0 21 * * 0,6"),
        ("30 12 1 * MON-SUN", "Asia/Tokyo", "0 30 3 1 * 1,2,3,4,5,6,0"),
    ],
)
def test_schedule_is_written_as_the_server_reads_it(cron: str, zone: str | None, sent: str) -> None:
    """Its parser takes the first of five fields for seconds: sent as it is, '0 6 * * *' would run every hour."""
    assert cron_of(Schedule(cron=cron, timezone=zone)) == sent


def test_wrong_schedule_is_told() -> None:
    with pytest.raises(ConfigError, match="has 3 fields"):
        cron_of(Schedule(cron="0 6 *"))
