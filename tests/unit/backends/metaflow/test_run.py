"""Runs under Metaflow's own runtime, looked at from flowbridge's side and from Metaflow's."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from flowbridge.backends.metaflow.lower import lower
from flowbridge.client.start import run as start
from flowbridge.errors import BackendError, ConfigError, RunFailedError
from tests.unit.backends.metaflow import run_flows

pytest.importorskip("metaflow")
pytestmark = pytest.mark.metaflow

IN_METAFLOW = """
import json, sys
from metaflow import Run, namespace
from metaflow.cards import get_cards
namespace(None)
run = Run(sys.argv[1])
tasks = {}
for step in run:
    for task in step:
        about = {"successful": task.successful, "artifacts": sorted(a.id for a in task), "state": task.data.state}
        about["outputs"] = {k: v.load() for k, v in task.data.outputs.items()}
        about["metrics"] = task.data.metrics
        if about["state"] and step.id not in ("start", "end"):
            about["card"] = get_cards(task)[0].get()
        tasks.setdefault(step.id, []).append(about)
result = run.data.result.load() if run.successful else None
parameters = {k: getattr(run["start"].task.data, k) for k in sys.argv[2:]}
print(json.dumps({"successful": run.successful, "tags": sorted(run.tags), "tasks": tasks, "result": result, "parameters": parameters}))
"""


def seen_in_metaflow(store: Path, pathspec: str, *parameters: str) -> dict[str, Any]:
    """What Metaflow's own client says of a run."""
    import json

    env = {**os.environ, "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(store / "metaflow"), "METAFLOW_USER": "tester"}
    done = subprocess.run([sys.executable, "-c", IN_METAFLOW, pathspec, *parameters], env=env, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def states(run: Any) -> dict[str, str]:
    return {f"{t.step}{list(t.index) or ''}": t.state for t in run.tasks}


def test_everything_once(store: Path) -> None:
    heard: list[Any] = []
    options = {"backend": "metaflow", "store": str(store), "tags": ["today"], "listener": heard.append}
    run = start(run_flows.everything, (5, {"none": []}), {}, options)
    rows = [sum(i + x for i in range(2)) for x in (2, 3, 4)]
    assert run.result() == {"left": 1, "taken": 10, "rows": rows, "nothing": [], "busiest": run.result()["busiest"]}
    assert run.result()["busiest"] <= 2
    assert run["stubborn"][0].record.attempt == 5
    assert Counter(type(h).__name__ for h in heard)["TaskRecord"] >= len(run.tasks)
    assert "halving [0, 1, 2, 3, 4]" in run.logs("halve")
    native = run.native
    assert native.startswith("everything/")
    assert run["halve"][0].record.native.startswith(f"{native}/halve/")

    seen = seen_in_metaflow(store, native, "n", "names", "run")
    assert seen["successful"]
    assert seen["parameters"] == {"n": 5, "names": {"none": []}, "run": 0.5}
    assert {"everything", "today", f"flowbridge:{run.id}"} <= set(seen["tags"])
    halve = seen["tasks"]["halve"][0]
    assert halve["outputs"] == {"left": [0, 1], "right": [2, 3, 4]}
    assert halve["metrics"] == {"length": 5.0}
    for part in ("output of numbers", "middle", "length", "builtins.list", f"flowbridge logs {run.id} halve"):
        assert part in halve["card"]
    assert seen["result"] == run.result()


def test_all_that_is_inside_a_map_runs_in_one_step(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for Airflow, which takes no more; here under Metaflow's own runtime."""
    from flowbridge.backends.metaflow import compile as compiling

    monkeypatch.setattr(compiling, "lower", lambda graph, bundles: lower(graph, bundles=True))
    run = run_flows.triangles.options(backend="metaflow", store=str(store)).run(4)
    wanted = [sum(2 * i for i in range(x)) + x for x in range(4)]
    assert run.result() == {"rows": wanted, "lanes": wanted}
    text = (store / "metaflow" / "flows" / "triangles" / run.id / "triangles.py").read_text()
    assert text.count('foreach="') == 2
    assert {t.record.attempt for t in run.tasks if t.step.endswith("twice")} == {1}


def test_gangs_and_limits(store: Path) -> None:
    run = run_flows.limits.options(backend="metaflow", store=str(store)).run(200)
    assert run.result() == [["0", "2"], 1, -2]
    assert run["greedy"][0].record.reason.kind == "out_of_memory"
    assert run["hungry"][0].attempts[0].reason.kind == "out_of_memory"


def test_a_failed_run_fails_in_metaflow_too_and_metaflow_resumes_it(store: Path, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    run = run_flows.failing.options(backend="metaflow", store=str(store)).run(3, str(flag))
    assert run.status == "failed"
    assert states(run)["double"] == "done"
    assert states(run)["total"] == "cancelled"
    with pytest.raises(RunFailedError, match="the flag is missing"):
        run.result()
    seen = seen_in_metaflow(store, run.native)
    assert not seen["successful"]
    assert [t["state"] for t in seen["tasks"]["shaky"]].count("failed") == 1

    flag.touch()
    folder = store / "metaflow" / "flows" / "failing" / run.id
    number = run.native.rpartition("/")[2]
    command = [sys.executable, "failing.py", "--no-pylint", "--datastore", "local", "--metadata", "local", "resume", "shaky"]
    env = {**os.environ, "METAFLOW_USER": "tester"}
    done = subprocess.run([*command, "--origin-run-id", number], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    from flowbridge import get_run

    again = next(r for r in _runs(store) if r.id != run.id)
    assert again.id.startswith(f"{run.id}-resumed-")
    assert get_run(again.id, store=str(store)).result() == 3 + 6
    kept = {t.step for t in again.tasks if t.record.why}
    assert kept == {"numbers", "double"}


def _runs(store: Path) -> list[Any]:
    from flowbridge import runs

    return list(runs(store=str(store)))


def test_stop_ends_at_the_first_failure(store: Path) -> None:
    run = run_flows.stopping.options(backend="metaflow", store=str(store), on_failure="stop").run(1)
    assert run.status == "failed"
    assert states(run)["fail"] == "failed"
    assert states(run)["double_2"] == "cancelled"


def test_cancel_leaves_no_process_and_says_so(store: Path, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    run = run_flows.endless.options(backend="metaflow", store=str(store), wait=False).run(str(marker))
    deadline = time.monotonic() + 60
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = int(marker.read_text())
    threading.Thread(target=run.cancel).start()
    assert run.wait().status == "cancelled"
    assert states(run) == {"sleeps": "cancelled"}
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_file_that_was_compiled_runs_with_metaflow_alone(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    compiled = run_flows.failing.compile(folder / "failing.py", backend="metaflow", store=str(store))
    assert list(compiled.files) == ["failing.py", "failing.flow.json", "failing.code.zip"]
    env = {**os.environ, "METAFLOW_USER": "tester"}
    command = [sys.executable, "failing.py", "--no-pylint", "--datastore", "local", "--metadata", "local", "run", "--n", "1", "--flag", "x"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = _runs(store)
    assert run.result() == 2
    assert run.params == {"n": 1, "flag": "x"}


def test_in_a_container_secrets_come_by_their_keys_and_the_machine_is_not_asked(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task looks as if it ran in a pod of Metaflow's, with the keys of a Kubernetes secret as variables."""
    monkeypatch.setenv("METAFLOW_KUBERNETES_WORKLOAD", "1")
    monkeypatch.setenv("FLOWBRIDGE_METAFLOW__WARM", "false")
    monkeypatch.setenv("hub", "only named so that nothing is missing here")
    monkeypatch.setenv("token", "s3cret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    run = run_flows.in_container.options(backend="metaflow", store=str(store)).run()
    assert run.result() == ["s3cret", "7"]


def test_a_datastore_that_cannot_be_made_is_told_before_anything_starts(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWBRIDGE_METAFLOW__DATASTORE_ROOT", "/proc/nowhere")
    with pytest.raises(ConfigError, match="/proc/nowhere cannot be made"):
        run_flows.failing.options(backend="metaflow", store=str(store)).run(1, "x")
    assert _runs(store) == []


def test_what_ended_metaflow_itself_is_the_runs_reason(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it refuses a list of three."""
    from flowbridge.backends.metaflow import submit

    monkeypatch.setattr(submit, "MOST_SPLITS", 1)
    run = run_flows.failing.options(backend="metaflow", store=str(store)).run(3, "x")
    assert run.status == "failed"
    said = run["shaky"][0].record.reason.message
    assert said.startswith("not run, because Metaflow ended with exit code 1: Step failure: Step numbers")
    assert "Task is starting" not in said


def test_what_metaflow_refuses_is_told_in_its_words(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFLOW_DEFAULT_METADATA", "service")
    monkeypatch.setenv("FLOWBRIDGE_METAFLOW__METADATA", "service")
    monkeypatch.delenv("METAFLOW_SERVICE_URL", raising=False)
    with pytest.raises(BackendError, match=r"(?i)service"):
        run_flows.failing.options(backend="metaflow", store=str(store)).run(1, "x")
    assert [r.status for r in _runs(store)] == ["cancelled"]
