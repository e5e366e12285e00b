"""Steps with packages of their own: the client locks them, the pod makes and enters the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowbridge import environments
from flowbridge.backends.kubeflow import locks
from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.environments import EnvironmentLock
from flowbridge.errors import ConfigError
from flowbridge.ir.environment import EnvironmentWish
from flowbridge.ir.flow import FlowGraph
from flowbridge.settings import Profile
from tests.unit.backends.kubeflow import steps
from tests.unit.backends.kubeflow.flows import step
from tests.unit.backends.kubeflow.runs import prepare

LOCKED = EnvironmentLock.of("six==1.16.0", "3.11")
WISH = EnvironmentWish(packages=("six==1.16.0",))


def locked_run(tmp_path: Path, lock: EnvironmentLock) -> Any:
    settings = {"host": "http://127.0.0.1:9", "install": "flowbridge", "image": "python:3.11"}
    profile = Profile(backend="kubeflow", store=str(tmp_path / "store"), kubeflow=settings)
    run = prepare(FlowGraph(name="f", steps=(step("a", environment=WISH),)), {"a": steps.nothing}, profile)
    digest = run.store.put_environment(lock.text.encode())
    object.__setattr__(run, "record", run.record.model_copy(update={"locks": (("a", digest),)}))
    return run


def test_pod_enters_the_lock_that_the_run_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(locks, "materialise", lambda lock: made.append(lock) or Path("/made/bin/python"))
    run = locked_run(tmp_path, LOCKED)
    assert locks.interpreter_for(run.graph.steps[0], run.record, run.store) == Path("/made/bin/python")
    assert made == [LOCKED]


def test_step_without_wishes_stays_in_the_pods_own_python(tmp_path: Path) -> None:
    run = locked_run(tmp_path, LOCKED)
    assert locks.interpreter_for(step("b"), run.record, run.store).name.startswith("python")


def test_packages_of_this_machine_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    run = locked_run(tmp_path, EnvironmentLock.of("mine @ file:///home/me/mine", "3.11"))
    with pytest.raises(ConfigError, match="step a asks for packages that only this machine has: mine"):
        KubeflowBackend().submit(run)


def test_client_locks_for_this_backend() -> None:
    assert KubeflowBackend.enters_locks
    assert environments.wants_own(WISH)
