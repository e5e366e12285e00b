"""What happens in a pod before and after the worker: the bootstrap, the arguments, what Kubeflow is told."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowbridge.artifacts.reference import Reference
from flowbridge.backends.kubeflow import lineage, pod, status
from flowbridge.backends.kubeflow.bootstrap import COMMAND, MARKER, SCRIPT
from flowbridge.ir.flow import FlowGraph
from flowbridge.records.models import Reason, TaskRecord, TaskStarted
from tests.unit.backends.kubeflow.flows import chain, crossed, step

# --- bootstrap ---

PIP = """
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
with open(here + "/calls", "a") as f:
    f.write(json.dumps(sys.argv[1:]) + chr(10))
if any("flowbridge" in a for a in sys.argv):
    for p in ("flowbridge", "flowbridge/backends", "flowbridge/backends/kubeflow"):
        os.makedirs(f"{here}/{p}", exist_ok=True)
        open(f"{here}/{p}/__init__.py", "w").close()
    with open(here + "/flowbridge/backends/kubeflow/pod.py", "w") as f:
        f.write("import sys; print('pod runs', sys.argv[1:])")
"""
FSSPEC = "import builtins\ndef open(url, mode, **options):\n    assert options == {'anon': True, 'key': 'k'}, options\n    return builtins.open(url, mode)\n"


def start(folder: Path, *arguments: str) -> str:
    """Start the pod's command with an interpreter that has no packages, and a pip that only pretends; a secret holds the store's key."""
    (folder / "pip.py").write_text(PIP)
    (folder / "fsspec.py").write_text(FSSPEC)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "TMPDIR": str(folder), "PYTHONNOUSERSITE": "1"}
    env["FLOWBRIDGE_STORE_OPTIONS"] = '{"key":"k"}'
    done = subprocess.run(
        [sys.executable, "-S", "-c", SCRIPT, MARKER, *arguments], env=env, capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plain_image_installs_flowbridge_once(tmp_path: Path) -> None:
    arguments = ["--install", '["flowbridge[s3]==0.1.0"]', "--flow", "f"]
    assert start(tmp_path, *arguments) == f"pod runs {[MARKER, *arguments]}\n"
    assert start(tmp_path, *arguments) == f"pod runs {[MARKER, *arguments]}\n"
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == [["install", "--quiet", "--disable-pip-version-check", "--no-user", "flowbridge[s3]==0.1.0"]]


def test_wheel_comes_from_the_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "wheel").write_bytes(b"the wheel")
    install = json.dumps(["fsspec", "s3fs", "store:wheel#flowbridge-0.1.0-py3-none-any.whl#[s3]"])
    start(tmp_path, "--install", install, "--store", str(tmp_path / "store"), "--options", '{"anon":true,"key":""}')
    first, second = [json.loads(line)[4:] for line in (tmp_path / "calls").read_text().splitlines()]
    assert first == ["fsspec", "s3fs"]
    (wheel,) = tmp_path.glob("flowbridge-*/flowbridge-0.1.0-py3-none-any.whl")
    assert second == [f"{wheel}[s3]"]
    assert wheel.read_bytes() == b"the wheel"


def test_command_passes_kfps_local_runner() -> None:
    """It replaces the word python3 wherever it stands, and takes a lock where it reads of pip installing."""
    assert COMMAND[0] == "python3"
    assert "python3" not in SCRIPT
    assert "pip install" not in " ".join(COMMAND)
    assert "{{" not in SCRIPT


# --- arguments ---


def job(does: str = "task", **inputs: Any) -> pod.Job:
    executor_input = json.dumps({"inputs": {"parameterValues": {"job-id": "abc", **inputs}}, "outputs": {}})
    return pod.parse(
        [MARKER, "--store", "s", "--install", "[]", "--flow", "f", "--interface", f"{does}/0//", "--executor-input", executor_input]
    )


def test_run_is_the_given_one_or_one_of_its_own() -> None:
    assert job(**{"run-id": "run-1"}).run_id == "run-1"
    assert job(**{"run-id": ""}).run_id == "kfp-abc"
    assert job().run_id == "kfp-abc"


def test_index_is_read_from_whole_numbers_floats_and_texts() -> None:
    """The server writes 3, kfp's local runner 3.0."""
    assert job(**{"index-0": 3, "index-1": 1.0, "index-2": "2"}).index == (3, 1, 2)
    assert job().index == ()


@pytest.mark.parametrize(("text", "attempt"), [("0", 0), ("2", 2), ("{{retries}}", None)])
def test_attempt_is_counted_by_the_server_or_by_the_records(text: str, attempt: int | None) -> None:
    arguments = ["--store", "s", "--flow", "f", "--interface", "task/0//", "--executor-input", "{}", "--attempt", text]
    assert pod.parse(arguments).attempt == attempt


def test_store_options_come_from_the_pipeline_and_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is secret comes from the environment, and counts."""
    monkeypatch.setenv(pod.OPTIONS, '{"key": "k", "anon": false}')
    pod.parse(["--store", "s", "--flow", "f", "--interface", "x", "--executor-input", "{}", "--options", '{"anon": true, "x": 1}'])
    assert json.loads(os.environ[pod.OPTIONS]) == {"anon": False, "x": 1, "key": "k"}


@pytest.mark.parametrize(
    ("state", "final", "allowed", "soft", "code"),
    [
        ("done", True, False, False, 0),
        ("cached", True, False, False, 0),
        ("skipped", True, False, False, 0),
        ("cancelled", True, False, False, 0),
        ("failed", True, False, False, 1),
        ("failed", False, False, False, 1),
        ("failed", True, True, False, 0),
        ("failed", False, True, False, 1),
        ("failed", True, False, True, 0),
        ("failed", False, False, True, 1),
    ],
)
def test_server_sees_a_failure_where_it_must_act_on_it(state: Any, final: bool, allowed: bool, soft: bool, code: int) -> None:
    """Not where the failure is allowed or soft; but a failed attempt that is to be repeated, always."""
    record = TaskRecord(step="a", state=state, final=final, allowed=allowed, finished=0)
    assert pod._exit_code(SimpleNamespace(soft=soft), record) == code  # type: ignore[arg-type]


# --- what Kubeflow is told ---


def session(store: Any = None) -> Any:
    return SimpleNamespace(files=SimpleNamespace(flow="f", run_id="r1"), store=store or SimpleNamespace(url="s3://ml/flowbridge"))


def told(tmp_path: Path, record: TaskRecord, store: Any = None) -> Any:
    artifact = {"artifacts": [{"uri": str(tmp_path / "report")}]}
    path = tmp_path / "out" / "output.json"
    executor_input = {"outputs": {"artifacts": {"result": artifact, "metrics": artifact, "report": artifact}, "outputFile": str(path)}}
    lineage.write_outputs(executor_input, record, session(store))
    return {name: a["artifacts"][0] for name, a in json.loads(path.read_text())["artifacts"].items()}


def test_outputs_have_uris_that_no_bucket_has(tmp_path: Path) -> None:
    """The server fails a task whose artifact is in a bucket that is not its own."""
    blob = Reference(digest="sha256:" + "ab" * 32, size=10, serializer="numpy", type="numpy.ndarray", length=3)
    artifacts = told(tmp_path, TaskRecord(step="a", index=(3, 1), state="done", finished=0, outputs=(("result", blob),)))
    assert artifacts["result"]["uri"] == "flowbridge://f/r1/a/3.1/result"
    about = artifacts["result"]["metadata"]
    assert about["store"].startswith("s3://ml/flowbridge/blobs/")
    assert (about["type"], about["size"], about["length"]) == ("numpy.ndarray", 10, 3)


def test_failed_task_has_a_report_with_its_traceback(tmp_path: Path) -> None:
    reason = Reason(kind="error", message="ValueError: <b>", traceback="Traceback: <script>alert(1)</script>")
    artifacts = told(tmp_path, TaskRecord(step="a", state="failed", finished=0, reason=reason, metrics={"loss": 0.5}))
    assert artifacts["metrics"]["metadata"] == {"loss": 0.5}
    assert artifacts["result"]["metadata"]["state"] == "failed"
    page = (tmp_path / "report").read_text()
    assert "ValueError: &lt;b&gt;" in page
    assert "<script>" not in page


def test_metric_that_is_no_number_does_not_fail_the_task(tmp_path: Path) -> None:
    """The launcher reads strict JSON, which has neither NaN nor infinity; Kubeflow shows them as texts."""
    record = TaskRecord(step="a", state="done", finished=0, metrics={"loss": math.nan, "best": -math.inf, "f1": 0.5})
    artifacts = told(tmp_path, record)
    assert artifacts["metrics"]["metadata"] == {"loss": "nan", "best": "-inf", "f1": 0.5}
    with pytest.raises(ValueError, match="Out of range float"):
        pod.write_executor_output({"outputs": {"outputFile": str(tmp_path / "x" / "y")}}, {"a": math.nan})


def test_report_shows_figures_and_tables(tmp_path: Path) -> None:
    values = {"picture": b"\x89PNG....", "scores": [{"name": "a", "score": 1}], "other": {"x"}}
    store = SimpleNamespace(url="s", load=lambda reference: values[reference.digest])
    extras = tuple((name, Reference(digest=name, size=9, serializer="x")) for name in values)
    extras += (("large", Reference(digest="large", size=10**9, serializer="x")),)
    told(tmp_path, TaskRecord(step="a", state="done", finished=0, extras=extras), store)
    page = (tmp_path / "report").read_text()
    assert "data:image/png;base64," in page
    assert "<td>score</td>" not in page
    assert "<th>score</th>" in page
    assert "1000000000 bytes" in page


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("minio://mlpipeline/v2/x", "/minio/mlpipeline/v2/x"),
        ("s3://b/x", "/s3/b/x"),
        ("gs://b/x", "/gcs/b/x"),
        ("/tmp/x", "/tmp/x"),
        ("oci://x", None),
    ],
)
def test_report_is_written_where_the_server_takes_it_from(uri: str, path: str | None) -> None:
    assert lineage.local_path(uri) == (Path(path) if path else None)


# --- what the server tells ---


def run_told(*tasks: tuple[str, str, str]) -> dict[str, Any]:
    details = [{"display_name": n, "state": s, "error": {"message": m}} for n, s, m in tasks]
    return {"state": "FAILED", "run_details": {"task_details": details}}


class Records:
    """Records in a list."""

    def __init__(self, *known: TaskRecord | TaskStarted) -> None:
        self.known = list(known)

    def read_tasks(self) -> list[TaskRecord | TaskStarted]:
        return self.known

    def end(self, record: TaskRecord) -> TaskRecord:
        return record


def test_server_completes_only_what_records_cannot_know() -> None:
    flow, names = crossed(), {s.id: s.id for s in crossed().steps}
    told_ = run_told(
        ("a", "FAILED", "OOMKilled"), ("b-driver", "FAILED", "ImagePullBackOff\nstack"), ("c", "FAILED", "x"), ("d", "SUCCEEDED", "")
    )
    known = Records(TaskStarted(step="a", started=1.0), TaskRecord(step="c", state="failed", finished=0))
    made = status.complete(flow, known, told_, names)  # type: ignore[arg-type]
    assert [(r.step, r.state, r.attempt) for r in made] == [("a", "failed", 0), ("b", "failed", 0)]
    assert made[0].reason is not None
    assert "its pod ended without a result; Kubeflow says: OOMKilled" in made[0].reason.message
    assert made[1].reason is not None
    assert made[1].reason.message.endswith("never got as far as the step; Kubeflow says: ImagePullBackOff")


def test_lost_attempt_follows_the_ones_that_are_recorded() -> None:
    flow = FlowGraph(name="f", steps=(step("a"),))
    known = Records(TaskRecord(step="a", state="failed", final=False, finished=0))
    (made,) = status.complete(flow, known, run_told(("a", "FAILED", "evicted")), {"a": "a"})  # type: ignore[arg-type]
    assert made.attempt == 1
    assert status.complete(chain(1), Records(), {"state": "SUCCEEDED"}, {}) == []  # type: ignore[arg-type]


def test_retry_of_a_run_that_has_ended_says_why_it_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kubeflow's own pages offer it; the records of the run do not change any more."""
    graph = SimpleNamespace(node=lambda _: step("a"))
    run = SimpleNamespace(files=SimpleNamespace(ended=object), graph=graph)
    order = SimpleNamespace(step="a", index=(), attempt=0)
    monkeypatch.setattr(pod, "_session", lambda _job, _store: (None, run, order))
    record, _ = pod._execute(SimpleNamespace(attempt=0, gang=None), None)  # type: ignore[arg-type]
    assert record.state != "done"
    assert capsys.readouterr().err == "flowbridge: a: not run, because the run has ended\n"
