"""The main job, on real data, on every backend: the same file, the same metrics to the last bit, the same fields in the listing."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the example needs scikit-learn: pip install 'flowbridge[examples]'")
pytest.importorskip("matplotlib")

FILE = Path(__file__).parents[2] / "examples" / "training.py"
BACKENDS = [
    "inline",
    "local",
    *(name for name, package in (("metaflow", "metaflow"), ("kubeflow", "kfp")) if importlib.util.find_spec(package) is not None),
]

pytestmark = [pytest.mark.slow, pytest.mark.metaflow, pytest.mark.kubeflow]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The main job, run on every backend into one store; and the command to look at it."""
    folder = tmp_path_factory.mktemp("training")
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWBRIDGE_")}
    env |= {"XDG_CONFIG_HOME": str(folder / "no-config"), "MPLBACKEND": "agg"}

    def call(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "flowbridge", *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call.printed = {backend: call("run", str(FILE), "--backend", backend) for backend in BACKENDS}
    return call


@pytest.fixture(scope="module")
def listed(project):
    return json.loads(project("runs", "--json", "--flow", "training"))


def test_every_backend_prints_what_it_found_and_what_to_type_next(project):
    for backend, text in project.printed.items():
        assert re.match(rf"Run \S+ of training on {backend}, store ", text)
        assert re.search(r"(?m)^Result: \{'accuracy': 0\.9\d+, 'f1': 0\.9\d+\}$", text), text
        assert re.search(r"(?m)^  flowbridge show \S+$", text)


def test_results_are_the_same_to_the_last_bit(project):
    found = {re.search(r"(?m)^Result: .*$", text)[0] for text in project.printed.values()}
    assert len(found) == 1


def test_metrics_are_the_same_to_the_last_bit(listed):
    assert sorted(row["backend"] for row in listed) == sorted(BACKENDS)
    assert len({json.dumps(row["metrics"], sort_keys=True) for row in listed}) == 1
    assert set(listed[0]["metrics"]) == {"accuracy", "f1"}


def test_the_listing_has_the_same_fields(listed):
    assert len({tuple(row) for row in listed}) == 1
    assert len({json.dumps(row["params"]) for row in listed}) == 1
    assert {row["status"] for row in listed} == {"done"}


def test_each_task_has_the_same_record_but_for_times(project, listed):
    told = {}
    for row in listed:
        tasks = json.loads(project("show", row["id"], "--json"))["tasks"]
        told[row["backend"]] = sorted(
            json.dumps({k: t[k] for k in ("step", "index", "attempt", "status", "metrics", "reason")}) for t in tasks
        )
        assert all(t["peak_memory"] > 0 and t["duration"] >= 0 for t in tasks)
    assert len({tuple(t) for t in told.values()}) == 1


def test_the_report_is_there(project, listed):
    for row in listed:
        shown = project("show", row["id"])
        assert "'confusion' of report" in shown
        assert "'by digit' of report" in shown


def test_a_branch_not_taken(project):
    run = json.loads(project("run", str(FILE), "--good-enough", "0.999", "--depths", "2", "--learning-rates", "0.1", "--json"))
    states = {t["step"]: t["status"] for t in run["tasks"]}
    assert (states["select"], states["report"]) == ("done", "skipped")
