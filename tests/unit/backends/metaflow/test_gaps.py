"""What cannot be done is refused before anything starts, in full, with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from flowbridge.backends.metaflow import gaps, quick_graph
from flowbridge.backends.metaflow.gaps import find_gaps
from flowbridge.backends.metaflow.options import options_of
from flowbridge.backends.metaflow.support import TABLE
from flowbridge.backends.support import Unsupported
from flowbridge.errors import ConfigError
from flowbridge.ir.environment import EnvironmentWish, Secret
from flowbridge.ir.flow import ContainerSpec, FlowGraph, Schedule, StepNode
from flowbridge.ir.ports import Parameter
from flowbridge.ir.resources import Resources
from flowbridge.settings import Profile
from tests.unit.backends.metaflow.make import graph, over, step

pytest.importorskip("metaflow")

S3 = {"METAFLOW_DATASTORE_SYSROOT_S3": "s3://b/mf"}
AWS = {**S3, "METAFLOW_BATCH_JOB_QUEUE": "q", "METAFLOW_ECS_S3_ACCESS_IAM_ROLE": "r", "METAFLOW_SFN_IAM_ROLE": "s"}


def profile(store: str = "s3://b/fb", **settings: Any) -> Profile:
    return Profile(backend="metaflow", store=store, metaflow=settings)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nothing is configured but what the test says."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", *AWS, "METAFLOW_SFN_DYNAMO_DB_TABLE", "METAFLOW_DEFAULT_DATASTORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def one(flow: FlowGraph, **settings: Any) -> str:
    """The one gap of a flow."""
    (found,) = find_gaps(flow, profile(**settings))
    return found


def airflow(**about: Any) -> dict[str, Any]:
    return {"target": "airflow", "datastore": "s3", "env": S3, **about}


def argo() -> dict[str, Any]:
    return {"target": "argo-workflows", "datastore": "s3", "env": S3}


def states() -> dict[str, Any]:
    return {"target": "step-functions", "datastore": "s3", "env": AWS}


def test_nothing_is_refused_that_metaflow_or_lowering_could_do() -> None:
    """The cache is a matter of the worker, which does not look results up yet."""
    assert [f.name for f, support in TABLE.items() if isinstance(support, Unsupported)] == ["CACHE"]


def test_a_plain_flow_has_no_gaps_anywhere() -> None:
    flow = graph(step("a"), over("m", "a"), step("b", scope=("m",)), step("c", "b"))
    assert find_gaps(flow, profile("/tmp/x")) == []
    assert find_gaps(flow, profile(**argo())) == []
    assert find_gaps(flow, profile(**airflow())) == []
    env = {**AWS, "METAFLOW_SFN_DYNAMO_DB_TABLE": "t"}
    assert find_gaps(flow, profile(**{**states(), "env": env})) == []


def test_a_machine_that_is_too_small() -> None:
    assert "step a" in one(graph(step("a", resources=Resources(cpu=5000))), target="local")
    assert "step gang" in one(graph(step("gang", nodes=5000)), target="local")


def test_a_secret_that_is_not_there() -> None:
    wish = EnvironmentWish(secrets=(Secret(env="NO_SUCH_A", name="NO_SUCH_B"),))
    assert "set the environment variable NO_SUCH_B" in one(graph(step("a", environment=wish)))


def test_the_folder_of_a_laptop_is_no_store_for_containers() -> None:
    found = find_gaps(graph(step("a")), profile(".flowbridge", **argo()))
    assert len(found) == 1
    assert "Use a bucket" in found[0]


def test_the_memory_of_a_process_is_no_store() -> None:
    assert "lives in one process only" in find_gaps(graph(step("a")), profile("memory://x"))[0]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"target": "argo-workflows"}, ["Metaflow's own datastore is local"]),
        ({"target": "argo-workflows", "datastore": "s3"}, ["METAFLOW_DATASTORE_SYSROOT_S3"]),
        ({"target": "kubernetes", "datastore": "gs"}, ["METAFLOW_DATASTORE_SYSROOT_GS", "no Kubernetes cluster is configured"]),
        ({"target": "batch", "datastore": "s3", "env": S3}, ["METAFLOW_BATCH_JOB_QUEUE", "METAFLOW_ECS_S3_ACCESS_IAM_ROLE"]),
        ({"target": "step-functions", "datastore": "s3", "env": {**AWS, "METAFLOW_SFN_IAM_ROLE": ""}}, ["METAFLOW_SFN_IAM_ROLE"]),
        (states(), ["METAFLOW_SFN_DYNAMO_DB_TABLE"]),
    ],
)
def test_what_metaflow_is_not_configured_with(settings: dict[str, Any], named: list[str]) -> None:
    flow = graph(step("a"), over("m", "a"), step("b", scope=("m",))) if settings == states() else graph(step("a"))
    found = find_gaps(flow, profile(**settings))
    assert len(found) == len(named)
    for sentence, name in zip(found, named, strict=True):
        assert name in sentence


def within(first: dict[str, Any], second: dict[str, Any]) -> FlowGraph:
    """A map over two steps."""
    return graph(step("a"), over("m", "a"), step("b", scope=("m",), **first), step("c", "b", scope=("m",), **second))


def image(name: str) -> dict[str, Any]:
    return {"environment": EnvironmentWish(image=name)}


CONTAINER = StepNode(id="c", name="c", container=ContainerSpec(image="x", command=("true",)))


@pytest.mark.parametrize(
    ("flow", "settings", "said"),
    [
        (graph(step("a", resources=Resources(gpu=0.5))), argo(), "whole GPUs only"),
        (graph(step("a", resources=Resources(custom=(("licence", 1.0),)))), argo(), "asks for licence"),
        (graph(step("a", resources=Resources(gpu=1, gpu_type="A100"))), states(), "gpu_queues"),
        (graph(step("a", resources=Resources(disk=2**30))), states(), "ephemeral_storage"),
        (graph(CONTAINER), argo(), "target='local'"),
        (graph(step("a", target="local")), argo(), "drop the placement"),
        (graph(step("a", target="moon")), {}, "'moon'"),
        (graph(step("a", nodes=2)), airflow(), "cannot deploy to airflow"),
        (graph(step("a"), over("m", "a", parallel=2), step("b", scope=("m",), nodes=2)), {}, "Drop one of the two"),
        (within(image("x"), image("y")), airflow(), "steps inside of map m name different images"),
        (within({"resources": Resources(gpu=1, gpu_type="A100")}, {}), airflow(), "different kinds of GPU"),
        (within({"platform": (("metaflow", {"card": {}}),)}, {}), airflow(), "different metaflow= settings"),
        (graph(step("a"), parameters=(Parameter(name="p"),)), airflow(), "has no default"),
        (graph(step("a"), parameters=(Parameter(name="p", required=False, default="{{x}}"),)), argo(), "'{{'"),
        (graph(step("a"), schedule=Schedule(cron="0 6 * * *", timezone="Europe/Berlin")), states(), "clocks of Europe/Berlin are moved"),
        (graph(step("a"), schedule=Schedule(cron="0 6 * * *", timezone="Moon/Sea")), airflow(), "no time zone 'Moon/Sea'"),
        (graph(step("a"), schedule=Schedule(cron="0 6 1 * 1")), states(), "not both"),
        (graph(step("a"), schedule=Schedule(cron="hourly")), {}, "five fields"),
        (graph(step("a"), platform=(("metaflow", {"trigger": {"event": "e"}}),)), airflow(), "@trigger"),
    ],
)
def test_what_a_target_cannot_do(flow: FlowGraph, settings: dict[str, Any], said: str) -> None:
    assert said in one(flow, **settings)


def test_maps_of_several_steps_and_maps_in_maps_go_to_airflow() -> None:
    nested = graph(step("a"), over("m", "a"), step("b", scope=("m",)), over("n", "b", scope=("m",)), step("c", scope=("m", "n")))
    assert find_gaps(nested, profile(**airflow())) == []
    assert find_gaps(within(image("x"), image("x")), profile(**airflow())) == []


def test_what_was_written_for_metaflow_alone_is_checked_against_metaflow() -> None:
    flow = graph(
        step("a", platform=(("metaflow", {"kuberntes": {}, "retry": {"tims": 3}}), ("kubeflow", {"anything": 1}))),
        platform=(("metaflow", {"project": {"nam": "x"}}),),
    )
    found = find_gaps(flow, profile("/tmp/x"))
    assert len(found) == 3
    assert "Did you mean 'kubernetes'?" in found[0]
    assert "@retry(tims=...)" in found[1]
    assert "the flow asks Metaflow for @project(nam=...)" in found[2]
    many = graph(step("a", platform=(("metaflow", {"retry": {"times": 5}}),)))
    assert "takes 4 at most" in find_gaps(many, profile("/tmp/x"))[0]


def test_a_large_flow_on_a_metaflow_that_was_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [step("a0")]
    for i in range(20):
        nodes += [step(f"b{i}", f"a{i}"), step(f"c{i}", f"a{i}"), step(f"a{i + 1}", f"b{i}", f"c{i}")]
    monkeypatch.setattr(gaps, "version", lambda _: "9.9.9")
    assert "1,048,576 paths" in one(graph(*nodes))
    assert find_gaps(graph(*nodes[:7]), profile("/tmp/x")) == []
    monkeypatch.setattr(gaps, "version", lambda _: f"{quick_graph.LAST_KNOWN[0]}.{quick_graph.LAST_KNOWN[1]}.1")
    assert find_gaps(graph(*nodes), profile("/tmp/x")) == []


def test_settings_that_do_not_exist_are_refused_with_near_names() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'datastore'"):
        options_of(profile(datastor="s3"))
    with pytest.raises(ConfigError, match="target"):
        options_of(profile(target="argo"))
