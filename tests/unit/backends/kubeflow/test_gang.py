"""Steps with ``nodes=``: as TrainJobs on a small Kubernetes API server whose nodes are real processes, and under kfp's local runner."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowbridge.backends.kubeflow import rest, submit
from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.gang import cluster as cluster_module
from flowbridge.backends.kubeflow.gang import launch
from flowbridge.backends.kubeflow.gang.launch import TrainJobGang
from flowbridge.backends.kubeflow.gang.member import rank_of
from flowbridge.backends.kubeflow.gang.template import GANG
from flowbridge.backends.kubeflow.gang.trainjob import failure
from flowbridge.errors import BackendError
from flowbridge.ir.bindings import Constant, FromStep
from flowbridge.ir.control import Truth
from flowbridge.ir.environment import EnvironmentWish, Secret
from flowbridge.ir.flow import FlowGraph
from flowbridge.ir.policies import Retry
from flowbridge.ir.resources import Resources
from flowbridge.records.models import TaskRecord
from flowbridge.settings import Profile
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.session import Session
from tests.unit.backends.kubeflow import flows, steps
from tests.unit.backends.kubeflow.fake_cluster import FakeCluster
from tests.unit.backends.kubeflow.fake_server import FakeServer
from tests.unit.backends.kubeflow.flows import item, items, step
from tests.unit.backends.kubeflow.runs import prepare, states, value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowbridge.backends.base import PreparedRun

TOGETHER = [["0", "2", "0", "2"], ["1", "2", "1", "2"]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(submit, "GRACE", 1.0)
    monkeypatch.setattr(rest, "PAUSE", 0.0)
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    (tmp_path / "cluster").mkdir()
    made = FakeCluster(tmp_path / "cluster")
    monkeypatch.setenv(cluster_module.ADDRESS, made.address)
    monkeypatch.setenv(cluster_module.FOLDER, str(made.account))
    monkeypatch.setattr(cluster_module, "PAUSE", 0.0)
    yield made
    made.close()


def profile(tmp_path: Path, host: str, **kubeflow: Any) -> Profile:
    settings = {
        "host": host,
        "image": "python:3.11",
        "install": "flowbridge",
        "poll": 0.1,
        "volumes": [{"path": str(tmp_path), "claim": "x"}],
        **kubeflow,
    }
    return Profile(backend="kubeflow", store=str(tmp_path / "store"), kubeflow=settings)


def gang(step_id: str = "meet", *needs: str, **options: Any) -> Any:
    return step(step_id, *needs, nodes=2, **options)


def on_server(tmp_path: Path, fake: FakeServer, graph: FlowGraph, functions: dict[str, Any], **kubeflow: Any) -> PreparedRun:
    run = prepare(graph, functions, profile(tmp_path, fake.address, **kubeflow))
    KubeflowBackend().submit(run).wait(120)
    assert run.files.ended() is not None
    return run


def reason(run: PreparedRun, step_id: str, attempt: int = 0) -> Any:
    record = run.files.attempt(step_id, (), attempt)
    assert record is not None
    assert record.reason is not None
    return record.reason


# --- runs ---


def test_members_meet_in_a_trainjob(tmp_path: Path, fake: FakeServer, cluster: FakeCluster) -> None:
    run = on_server(tmp_path, fake, FlowGraph(name="f", steps=(gang(), step("after", "meet"))), {"meet": steps.meet, "after": len_of})
    assert value(run, "meet") == TOGETHER
    assert value(run, "after") == 2
    assert cluster.jobs == {}
    (job,) = cluster.made
    assert job["spec"]["trainer"]["numNodes"] == 2
    log = run.files.read_log("meet", ()).decode()
    assert log.index("member 0 of 2") < log.index("--- member 1 of meet ---") < log.index("member 1 of 2")


@pytest.mark.kubeflow
def test_members_meet_under_the_local_runner(tmp_path: Path) -> None:
    pytest.importorskip("kfp", reason="kfp is not installed: pip install 'flowbridge[kubeflow]'")
    run = prepare(FlowGraph(name="f", steps=(gang(),)), {"meet": steps.meet}, profile(tmp_path, "local"))
    assert KubeflowBackend().submit(run).wait(120) == "done"
    assert value(run, "meet") == TOGETHER
    assert b"member 1 of 2" in run.files.read_log("meet", ())


@pytest.mark.kubeflow
def test_failing_members_under_the_local_runner(tmp_path: Path) -> None:
    pytest.importorskip("kfp", reason="kfp is not installed: pip install 'flowbridge[kubeflow]'")
    one, zero = failing(tmp_path, "second_member_fails", retry=Retry(retries=1)), failing(tmp_path, "first_member_fails")
    graph = FlowGraph(name="f", steps=(*one.steps, *zero.steps))
    functions = {"second_member_fails": steps.second_member_fails, "first_member_fails": steps.first_member_fails}
    run = prepare(graph, functions, profile(tmp_path, "local"))
    assert KubeflowBackend().submit(run).wait(120) == "failed"
    assert reason(run, "first_member_fails").message.startswith("ValueError: member zero is not well")
    assert reason(run, "second_member_fails").message.startswith("member 1 of the gang failed with exit code 1")


def test_every_item_of_a_map_has_its_own_gang(tmp_path: Path, fake: FakeServer, cluster: FakeCluster) -> None:
    mapped = step("meet", nodes=2, inputs=item("meet.map"), scope=("meet.map",))
    graph = FlowGraph(name="f", maps=(items("meet.map", Constant(value=[3, 4])),), steps=(mapped,))
    run = on_server(tmp_path, fake, graph, {"meet": steps.meet})
    assert [value(run, "meet", i)[-1] for i in (0, 1)] == [["3"], ["4"]]
    assert len({job["metadata"]["name"] for job in cluster.made}) == 2


def test_nothing_is_started_for_a_skipped_gang(tmp_path: Path, fake: FakeServer, cluster: FakeCluster) -> None:
    guarded = gang(guards=(Truth(value=FromStep(step="never", output="result")),))
    run = on_server(tmp_path, fake, FlowGraph(name="f", steps=(step("never"), guarded)), {"never": steps.never, "meet": steps.meet})
    assert states(run.files) == {"never": "done", "meet": "skipped"}
    assert cluster.requests == []


def failing(tmp_path: Path, name: str, **options: Any) -> FlowGraph:
    folder = tmp_path / "marks"
    folder.mkdir(exist_ok=True)
    return FlowGraph(name="f", steps=(gang(name, inputs=(("folder", Constant(value=str(folder))),), **options),))


def test_retry_of_a_failed_member_makes_a_fresh_trainjob(tmp_path: Path, fake: FakeServer, cluster: FakeCluster) -> None:
    graph = failing(tmp_path, "second_member_fails", retry=Retry(retries=1))
    run = on_server(tmp_path, fake, graph, {"second_member_fails": steps.second_member_fails})
    assert value(run, "second_member_fails") == 2
    first = reason(run, "second_member_fails")
    assert (first.kind, first.message) == ("error", "member 1 of the gang failed with exit code 1; its error is in the log")
    assert b"ValueError: member one is not well" in run.files.read_log("second_member_fails", (), 0)
    assert [job["metadata"]["name"][-2:] for job in cluster.made] == ["-0", "-1"]
    assert cluster.jobs == {}


def test_error_of_the_first_member_is_the_tasks(tmp_path: Path, fake: FakeServer, cluster: FakeCluster) -> None:
    run = on_server(tmp_path, fake, failing(tmp_path, "first_member_fails"), {"first_member_fails": steps.first_member_fails})
    assert reason(run, "first_member_fails").error == "ValueError"
    assert cluster.jobs == {}
    for process in cluster.processes[cluster.made[0]["metadata"]["name"]]:
        assert process.wait(30)


def test_timeout_ends_the_gang(tmp_path: Path, fake: FakeServer, cluster: FakeCluster) -> None:
    run = on_server(tmp_path, fake, failing(tmp_path, "gang_that_lasts", timeout=3.0), {"gang_that_lasts": steps.gang_that_lasts})
    assert reason(run, "gang_that_lasts").kind == "timeout"
    assert cluster.jobs == {}


def test_cancelling_the_run_removes_the_trainjob(tmp_path: Path, fake: FakeServer, cluster: FakeCluster) -> None:
    graph = failing(tmp_path, "gang_that_lasts")
    run = prepare(graph, {"gang_that_lasts": steps.gang_that_lasts}, profile(tmp_path, fake.address))
    submission = KubeflowBackend().submit(run)
    _until(lambda: len(list((tmp_path / "marks").iterdir())) == 2)
    submission.cancel()
    fake.wait(submission.native)
    assert cluster.jobs == {}
    assert states(run.files)["gang_that_lasts"] == "cancelled"
    for process in cluster.processes[cluster.made[0]["metadata"]["name"]]:
        process.wait(30)
    for file in (tmp_path / "marks").iterdir():
        assert not Path(f"/proc/{file.read_text()}").exists()


def test_node_that_is_started_anew_ends_the_attempt(tmp_path: Path, fake: FakeServer, cluster: FakeCluster) -> None:
    """Kubernetes starts a lost container again; it cannot meet the others any more, and must not run the step twice."""
    graph = failing(tmp_path, "gang_that_lasts")
    run = prepare(graph, {"gang_that_lasts": steps.gang_that_lasts}, profile(tmp_path, fake.address))
    cluster.restarts = 1
    submission = KubeflowBackend().submit(run)
    _until(lambda: len(list((tmp_path / "marks").iterdir())) == 2)
    (name,) = cluster.processes
    for process in cluster.processes[name][:2]:
        process.kill()
    submission.wait(60)
    found = reason(run, "gang_that_lasts")
    assert found.kind == "lost_worker"
    assert "was started anew" in found.message


def _until(there: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)


def len_of(meet: list[Any]) -> int:
    return len(meet)


# --- one attempt, in this process ---


def attempt(
    tmp_path: Path, graph: FlowGraph, functions: dict[str, Any], *, number: int = 0, **kubeflow: Any
) -> tuple[TaskRecord, PreparedRun]:
    """Make one attempt of the first step as its pod would."""
    settings = profile(tmp_path, "kfp.example.com", **kubeflow)
    run = prepare(graph, functions, settings)
    node = graph.steps[0]
    container = next(
        e["container"] for e in compile_flow(graph, settings).spec["deploymentSpec"]["executors"].values() if GANG in e["container"]["args"]
    )
    arguments = [a for a in container["args"] if a != "{{$}}"]
    arguments[arguments.index("--executor-input") : arguments.index("--executor-input") + 1] = ["--executor-input", "{}"]
    template = json.loads(arguments[arguments.index(GANG) + 1])
    order = WorkOrder(store=settings.store, flow=graph.name, run=run.record.id, step=node.id, attempt=number, backend="kubeflow")
    return TrainJobGang(Session(run.store).run(order), node, template, arguments).attempt(order), run


def one(**options: Any) -> FlowGraph:
    return FlowGraph(name="f", steps=(gang(**options),))


RICH = Resources(cpu=2, memory="4Gi", gpu=2, gpu_type="A100", disk="10Gi", shm="1Gi")


def test_trainjob_has_all_that_the_step_and_the_profile_ask_for(
    tmp_path: Path, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.fail = {"reason": "x"}
    monkeypatch.setenv("KFP_POD_NAME", "wf-1")
    monkeypatch.setenv("KFP_POD_UID", "uid-1")
    graph = one(
        resources=RICH,
        environment=EnvironmentWish(image="ghcr.io/me/train:1", secrets=(Secret(env="TOKEN", name="hub", key="token"),)),
        platform=(("kubeflow", {"tolerations": [{"key": "gpu", "operator": "Exists"}], "podMetadata": {"labels": {"a": "b"}}}),),
    )
    attempt(
        tmp_path,
        graph,
        {"meet": steps.meet},
        image_pull_secrets=["registry"],
        env={"HTTP_PROXY": "http://p"},
        secrets={"AWS_KEY": "store/key"},
        node_selector={"pool": "big"},
        service_account="trainer",
        volumes=[{"path": "/data", "claim": "data"}, {"path": "/cert", "secret": "cert"}, {"path": "/conf", "config_map": "conf"}],
        gang_runtime="torch-distributed",
    )
    (job,) = cluster.made
    trainer, pod = job["spec"]["trainer"], cluster.patched_pod(job)
    assert job["spec"]["runtimeRef"] == {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": "torch-distributed"}
    assert job["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "wf-1", "uid": "uid-1"}]
    assert trainer["image"] == "ghcr.io/me/train:1"
    amounts = {"cpu": "2", "memory": "4352Mi", "nvidia.com/gpu": "2"}
    assert trainer["resourcesPerNode"] == {"limits": amounts, "requests": amounts}
    assert trainer["env"] == [
        {"name": "HTTP_PROXY", "value": "http://p"},
        {"name": "AWS_KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "key"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
    ]
    assert pod["serviceAccountName"] == "trainer"
    assert pod["nodeSelector"] == {"pool": "big", "nvidia.com/gpu.product": "A100"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
    volumes = {v.pop("name"): v for v in pod["volumes"]}
    assert volumes[mounts["/data"]] == {"persistentVolumeClaim": {"claimName": "data"}}
    assert volumes[mounts["/cert"]] == {"secret": {"secretName": "cert", "optional": False}}
    assert volumes[mounts["/conf"]] == {"configMap": {"name": "conf", "optional": False}}
    assert volumes[mounts["/dev/shm"]] == {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}
    assert volumes[mounts["/flowbridge/scratch"]] == {"emptyDir": {"sizeLimit": "10Gi"}}
    (patch,) = job["spec"]["runtimePatches"]
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert replicated["template"]["spec"]["template"]["metadata"] == {"labels": {"a": "b"}}


def test_pods_have_the_service_account_of_the_task(tmp_path: Path, cluster: FakeCluster) -> None:
    cluster.fail = {"reason": "x"}
    attempt(tmp_path, one(), {"meet": steps.meet})
    assert cluster.patched_pod(cluster.made[0])["serviceAccountName"] == "pipeline-runner"


def test_trainer_of_version_2_1_is_told_in_its_own_words(tmp_path: Path, cluster: FakeCluster) -> None:
    cluster.version = "2.1"
    record, run = attempt(tmp_path, one(), {"meet": steps.meet})
    assert run.store.load(record.output("result")) == TOGETHER
    assert "runtimePatches" not in cluster.made[0]["spec"]
    assert cluster.patched_pod(cluster.made[0])["volumes"]


def test_lost_answer_does_not_start_two_gangs(tmp_path: Path, cluster: FakeCluster) -> None:
    cluster.refuse = {"POST": [(0, "")]}
    record, _ = attempt(tmp_path, one(), {"meet": steps.meet})
    assert record.state == "done"
    assert len(cluster.made) == 1


def test_server_that_is_not_well_is_asked_again(tmp_path: Path, cluster: FakeCluster) -> None:
    cluster.refuse = {"POST": [(503, "busy")], "GET": [(500, "etcd"), (429, "slowly")], "DELETE": [(503, "busy")]}
    record, _ = attempt(tmp_path, one(), {"meet": steps.meet})
    assert record.state == "done"
    assert cluster.jobs == {}


def test_leftover_of_a_lost_pod_is_removed_first(tmp_path: Path, cluster: FakeCluster) -> None:
    """The pod of the attempt before was lost with its node, and could not remove its TrainJob."""
    cluster.waiting = ("ContainerCreating", "")
    graph, settings = one(retry=Retry(retries=1)), profile(tmp_path, "kfp.example.com")
    run = prepare(graph, {"meet": steps.meet}, settings)
    order = WorkOrder(store=settings.store, flow="f", run=run.record.id, step="meet", backend="kubeflow")
    template = {"runtime": {"name": "torch-distributed"}, "image": "x", "env": [], "resources": {}, "pod": {}, "poll": 0.01}
    first = TrainJobGang(Session(run.store).run(order), graph.steps[0], template, ["--store", settings.store, "--flow", "f"])
    first._create(order)
    second = order.model_copy(update={"attempt": 1})
    first._remove_older(second)
    assert cluster.jobs == {}


REFUSALS = [
    (
        403,
        'trainjobs.trainer.kubeflow.org is forbidden: User "system:serviceaccount:ml:default" cannot list resource "trainjobs"',
        "create, get, list and delete on trainjobs",
    ),
    (404, "404 page not found", "page not found"),
]


@pytest.mark.parametrize(("code", "text", "told"), REFUSALS)
def test_refusals_are_told_in_the_record(tmp_path: Path, cluster: FakeCluster, code: int, text: str, told: str) -> None:
    cluster.refuse = {"GET": [(code, text)]}
    record, run = attempt(tmp_path, one(), {"meet": steps.meet})
    assert record.state == "failed"
    assert told in reason(run, "meet").message


def test_runtime_that_is_not_there_is_told(tmp_path: Path, cluster: FakeCluster) -> None:
    cluster.runtimes = set()
    attempt(tmp_path, one(), {"meet": steps.meet})
    _, run = attempt(tmp_path, one(), {"meet": steps.meet})
    assert "spec.runtimeRef: not found" in reason(run, "meet").message


def test_image_that_cannot_be_pulled_is_given_up(tmp_path: Path, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PATIENCE", 0.2)
    monkeypatch.setattr(launch, "LOOK_AT_PODS", 1)
    cluster.waiting = ("ImagePullBackOff", 'Back-off pulling image "python:3.99"')
    record, run = attempt(tmp_path, one(), {"meet": steps.meet})
    assert record.reason is not None
    assert record.reason.kind == "lost_worker"
    assert "ImagePullBackOff" in record.reason.message
    assert cluster.jobs == {}
    del run


def test_pods_that_never_start_are_given_up_after_the_steps_time(
    tmp_path: Path, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "GRACE", 0.0)
    cluster.waiting = ("ContainerCreating", "")
    record, _ = attempt(tmp_path, one(timeout=0.2), {"meet": steps.meet})
    assert record.reason is not None
    assert (record.reason.kind, record.reason.declared) == ("timeout", 0.2)


def test_condition_tells_what_the_records_cannot(tmp_path: Path, cluster: FakeCluster) -> None:
    cluster.fail = {"reason": "DeadlineExceeded", "message": "TrainJob exceeded its active deadline"}
    record, _ = attempt(tmp_path, one(), {"meet": steps.meet})
    assert record.reason is not None
    assert record.reason.kind == "timeout"
    assert "exceeded its active deadline" in record.reason.message


def test_killed_pods_are_told_from_failed_ones() -> None:
    pod = {
        "metadata": {"name": "p"},
        "status": {"containerStatuses": [{"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]},
    }
    assert failure({}, [pod]).kind == "out_of_memory"
    evicted = {"metadata": {"name": "p"}, "status": {"reason": "Evicted", "message": "The node was low on resource: memory."}}
    found = failure({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "JobSetFailed"}]}}, [evicted])
    assert found.kind == "lost_worker"
    assert "Evicted The node was low on resource" in found.message


def test_trainjob_removed_by_somebody_is_lost(tmp_path: Path, cluster: FakeCluster) -> None:
    cluster.waiting = ("ContainerCreating", "")

    def remove() -> None:
        _until(lambda: cluster.jobs)
        cluster.jobs.clear()

    thread = threading.Thread(target=remove)
    thread.start()
    record, _ = attempt(tmp_path, one(), {"meet": steps.meet})
    thread.join()
    assert record.reason is not None
    assert "somebody removed TrainJob" in record.reason.message


def test_place_is_told_by_the_runtime_or_by_the_job() -> None:
    assert rank_of({"PET_NODE_RANK": "2", "JOB_COMPLETION_INDEX": "1"}) == 2
    assert rank_of({"JOB_COMPLETION_INDEX": "1"}) == 1
    with pytest.raises(BackendError, match="Nothing tells this node its place"):
        rank_of({})


# --- compiled ---


def test_launcher_asks_for_nothing_that_is_the_gangs() -> None:
    """A GPU held by a pod that only waits would be lost to everybody."""
    pipeline = compile_flow(FlowGraph(name="f", steps=(gang(resources=RICH, timeout=60.0, retry=Retry(retries=1)),)), flows.profile())
    (executor,) = [e["container"] for n, e in pipeline.spec["deploymentSpec"]["executors"].items() if n == "exec-meet"]
    assert "resources" not in executor
    assert pipeline.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"] == {"exec-meet": {"activeDeadlineSeconds": "1260"}}
    assert json.loads(executor["args"][executor["args"].index(GANG) + 1])["resources"]["limits"]["nvidia.com/gpu"] == "2"


def test_what_the_pods_of_a_gang_cannot_have_is_a_gap() -> None:
    graph = FlowGraph(
        name="f",
        maps=(items("b", Constant(value=[1]), batch=2),),
        steps=(
            gang("affine", platform=(("kubeflow", {"nodeAffinity": [{}]}),)),
            gang("json", platform=(("kubeflow", {"tolerations": [{"tolerationJson": {}}]}),)),
            gang("claim", platform=(("kubeflow", {"pvcMount": [{"mountPath": "/x", "taskOutputParameter": {}}]}),)),
            gang("batched", inputs=(), scope=("b",)),
        ),
    )
    told = KubeflowBackend().gaps(graph, flows.profile(host="kfp.example.com"))
    for name in ("affine", "json", "claim", "batched"):
        assert len([line for line in told if f"step {name}:" in line]) == 1, told
    policy = KubeflowBackend().gaps(one(), flows.profile(host="kfp.example.com", image_pull_policy="Always"))
    assert "kubeflow.image_pull_policy" in policy[0]


def test_vertex_has_no_gangs() -> None:
    settings = flows.profile(store="gs://b/s", flavor="vertex", project="p", location="l", pipeline_root="gs://b/r")
    assert any("Vertex has no Kubeflow Trainer" in line for line in KubeflowBackend().gaps(one(), settings))


def test_pods_of_a_gang_are_counted() -> None:
    notes = KubeflowBackend().notes(one(), flows.profile(host="kfp.example.com"))
    assert notes[0].startswith("about 8 pods a run")
