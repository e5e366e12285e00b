"""An environment that has Airflow, made once and kept: Airflow pins too much to live beside anything else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from flowbridge.environments.uv import cache_folder, call
from flowbridge.errors import FlowbridgeError

REQUIREMENTS = ("apache-airflow>=2.11,<2.12", "apache-airflow-providers-cncf-kubernetes>=8.4,<8.5")
"""The provider is the last one whose class Metaflow's DAG files can be read with where they hold a map."""
NEWEST = (3, 12)
"""The newest Python of Airflow 2."""

SHOW = """
import sys
from airflow.models import DagBag

bag = DagBag(sys.argv[1], include_examples=False)
assert not bag.import_errors, bag.import_errors
(dag,) = bag.dags.values()
print("schedule", dag.schedule_interval)
for task in dag.tasks:
    print("task", task.task_id, type(task).__name__, *sorted(task.downstream_task_ids))
"""


def airflow_python() -> Path:
    """The Python of that environment: the one that AIRFLOW_PYTHON names, else the one in the user's cache folder, which is made if need be."""
    if named := os.environ.get("AIRFLOW_PYTHON"):
        return Path(named)
    version = min(sys.version_info[:2], NEWEST)
    place = cache_folder().parent / "tests" / f"airflow-2.11-kubernetes-8.4-python-{version[0]}.{version[1]}"
    if not (place / "complete").exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
        try:
            _make(beside, version)
            if not place.exists():
                beside.replace(place)
        except FlowbridgeError as error:
            pytest.skip(f"AIRFLOW IS NOT TRIED: an environment with {' and '.join(REQUIREMENTS)} cannot be made here: {error}")
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return place / "bin" / "python"


def _make(place: Path, version: tuple[int, int]) -> None:
    call(["venv", "--quiet", "--allow-existing", "--python", f"{version[0]}.{version[1]}", str(place)], doing="Making a place for Airflow")
    call(["pip", "install", "--quiet", "--python", str(place / "bin" / "python"), *REQUIREMENTS], doing="Installing Airflow")
    (place / "complete").touch()


def read_by_airflow(python: Path, dag_file: str, folder: Path) -> str:
    """What Airflow makes of a DAG file: its schedule, and each task with its class and those that follow it."""
    (folder / "dags").mkdir()
    (folder / "dags" / "dag.py").write_text(dag_file)
    env = {**os.environ, "AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        env.pop(name, None)
    done = subprocess.run([str(python), "-c", SHOW, str(folder / "dags")], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
