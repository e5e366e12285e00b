"""Runs whose tasks are containers, under kfp's own Docker runner, on Docker or podman.

They need a Docker API (``DOCKER_HOST`` may name podman's socket) and an image with flowbridge and Python 3.11 in it, named by
``FLOWBRIDGE_TEST_IMAGE``; `docs/backends/kubeflow.md` says how to make both. Without them the tests are skipped, and say why.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from flowbridge.backends.kubeflow import backend, local_docker
from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.components import IN_CONTAINER
from flowbridge.errors import UnsupportedError
from flowbridge.ir.bindings import Constant
from flowbridge.ir.environment import EnvironmentWish
from flowbridge.ir.flow import ContainerSpec, FlowGraph, StepNode
from flowbridge.ir.policies import Retry
from flowbridge.settings import Profile
from tests.unit.backends.kubeflow import flows, steps
from tests.unit.backends.kubeflow.flows import nested, step, training
from tests.unit.backends.kubeflow.runs import prepare, states, value

IMAGE = os.environ.get("FLOWBRIDGE_TEST_IMAGE")


def _why_not() -> str | None:
    if IMAGE is None:
        return "NO CONTAINERS WERE RUN: FLOWBRIDGE_TEST_IMAGE names no image with flowbridge in it"
    try:
        import kfp  # noqa: F401
    except ImportError:
        return "NO CONTAINERS WERE RUN: kfp is not installed: pip install 'flowbridge[kubeflow]' docker"
    reason = local_docker.why_not()
    return None if reason is None else f"NO CONTAINERS WERE RUN: {reason}"


_REASON = _why_not()
containers = pytest.mark.skipif(_REASON is not None, reason=_REASON or "")


def profile(tmp_path: Path, **kubeflow: Any) -> Profile:
    settings = {"host": "local", "local_runner": "docker", "install": "flowbridge", "image": IMAGE or "python:3.11", **kubeflow}
    return Profile(backend="kubeflow", store=str(tmp_path / "store"), kubeflow=settings)


@containers
@pytest.mark.kubeflow
def test_training_flow_in_containers(tmp_path: Path) -> None:
    functions = {"load": steps.load, "train": steps.train, "select": steps.select, "publish": steps.publish}
    run = prepare(training(), functions, profile(tmp_path, image=IMAGE), path="abcd")
    for_all = [s.model_copy(update={"environment": EnvironmentWish(), "resources": type(s.resources)()}) for s in run.graph.steps]
    run = prepare(FlowGraph(**{**dict(run.graph), "steps": tuple(for_all)}), functions, profile(tmp_path), path="abcd")
    assert KubeflowBackend().submit(run).wait(300) == "done"
    assert value(run, "select") == pytest.approx(1.2)
    (first, *_) = run.files.task_files()
    started = run.files.started(first.step, first.index, 0)
    assert started is not None
    assert started.pid != os.getpid()


@containers
@pytest.mark.kubeflow
def test_nested_maps_and_an_empty_one_in_containers(tmp_path: Path) -> None:
    run = prepare(
        nested(),
        {"plan": steps.plan, "inner_plan": steps.count_up, "row": steps.total, "leaf": steps.one_more, "total": steps.total},
        profile(tmp_path),
    )
    assert KubeflowBackend().submit(run).wait(300) == "done"


@containers
@pytest.mark.kubeflow
def test_failure_and_retry_in_containers(tmp_path: Path) -> None:
    graph = FlowGraph(name="f", steps=(step("fails", retry=Retry(retries=1)), step("after", "fails"), step("beside")))
    run = prepare(graph, {"fails": steps.fail, "after": steps.same, "beside": steps.nothing}, profile(tmp_path))
    assert KubeflowBackend().submit(run).wait(300) == "failed"
    assert states(run.files)["fails"] == "failed"
    assert run.files.attempt("fails", (), 1) is not None


@containers
@pytest.mark.kubeflow
def test_cancelled_run_leaves_no_container(tmp_path: Path) -> None:
    import docker

    graph = FlowGraph(name="long", steps=(step("a", inputs=(("seconds", Constant(value=120)),)),))
    run = prepare(graph, {"a": steps.sleep}, profile(tmp_path))
    submission = KubeflowBackend().submit(run)
    until = time.monotonic() + 120
    while run.files.started("a", (), 0) is None:
        assert time.monotonic() < until, "it never came"
        time.sleep(0.1)
    client = docker.from_env()
    mine = {"label": f"{local_docker.LABEL}={run.record.id}"}
    assert len(client.containers.list(filters=mine)) == 1
    submission.cancel()
    assert client.containers.list(filters=mine) == []
    client.close()
    assert states(run.files) == {"a": "cancelled"}


def test_machine_without_containers_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kfp", reason="kfp is not installed: pip install 'flowbridge[kubeflow]'")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(UnsupportedError, match=r"kubeflow.local_runner = 'docker': no Docker API answers"):
        KubeflowBackend().admit(profile(tmp_path))
    assert not (tmp_path / "store").exists()
    assert backend.LOCAL == "local"


def test_programs_run_inside_their_images(tmp_path: Path) -> None:
    """Under the subprocess runner the worker starts a container of its own; here it is inside already."""
    program = StepNode(id="sort", name="sort", container=ContainerSpec(image="alpine", command=("sort",)), outputs=flows.RESULT)
    graph = FlowGraph(name="f", steps=(program,))
    for runner, inside in (("docker", True), ("subprocess", False)):
        spec = compile_flow(graph, profile(tmp_path, local_runner=runner)).spec
        (container,) = [e["container"] for n, e in spec["deploymentSpec"]["executors"].items() if n == "exec-sort"]
        assert ({"name": IN_CONTAINER, "value": "1"} in container.get("env", [])) is inside
