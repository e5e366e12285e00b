"""What a flow becomes: golden files, kfp's own reading of them, and the figures the project promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.lint import problems
from flowbridge.ir.bindings import FromStep
from flowbridge.ir.flow import FlowGraph
from tests.unit.backends.kubeflow.flows import ALL, RandomFlow, chain, item, items, nested, profile, step, training

GOLDEN = Path(__file__).parents[3] / "golden" / "kubeflow"
ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("name", ALL)
def test_pipeline_is_the_golden_file(name: str) -> None:
    """A change of what the compiler writes is a change somebody has to look at: UPDATE_GOLDEN=1 rewrites the files."""
    data = compile_flow(ALL[name](), profile()).data
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_bytes(data)
    assert data.decode() == path.read_text()


def test_two_processes_compile_to_the_same_bytes() -> None:
    """Nothing of the pipeline follows hash seeds, clocks or this machine."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.unit.backends.kubeflow.flows import ALL, RandomFlow, profile\n"
        "from flowbridge.backends.kubeflow.compile import compile_flow\n"
        "sys.stdout.buffer.write(b''.join(compile_flow(f(), profile()).data for f in ALL.values()))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != b""


def test_compiling_needs_no_kfp() -> None:
    """kfp's exact pins must stay out of the user's way."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.unit.backends.kubeflow.flows import training, profile\n"
        "from flowbridge.backends.kubeflow.backend import KubeflowBackend\n"
        "KubeflowBackend().compile(training(), profile())\n"
        "print([m for m in sys.modules if m.split('.')[0] in {'kfp', 'kubernetes', 'yaml', 'google', 'networkx', 'fsspec'}])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "[]"


def test_chain_is_compact() -> None:
    """Tasks of one interface and one set of resources cost at most 600 bytes each."""
    data = compile_flow(chain(1000), profile()).data
    assert len(data) / 1000 <= 600


def test_tasks_of_one_interface_share_a_component() -> None:
    """Only the first step differs: it takes the flow's parameters and may begin the run."""
    spec = compile_flow(chain(20), profile()).spec
    containers = [c for c in spec["components"].values() if "executorLabel" in c]
    assert len(containers) == 2 + (1 if chain(20).parameters else 0)


def test_no_text_of_the_user_is_in_the_pipeline() -> None:
    """Argo's templating would touch it: environment values, constants and code stay in the store."""
    flow = FlowGraph(name="texts", steps=(step("a", doc="{{workflow.name}}", tags=("{{x}}",)), *ALL["options"]().steps))
    data = compile_flow(flow, profile()).data.decode()
    assert "{{workflow.name}}" not in data
    assert "fast" not in data
    assert set(placeholders(data)) <= {"{{$}}", "{{$.pipeline_job_uuid}}"}


def placeholders(text: str) -> list[str]:
    return ["{{" + part.split("}}")[0] + "}}" for part in text.split("{{")[1:]]


def test_names_are_the_users() -> None:
    """Tasks and parameters bear the names of steps and parameters; titles keep what slugs lose."""
    flow = FlowGraph(
        name="My_Flow", steps=(step("prep.Clean_Up", name="Clean_Up", group=("prep",)), step("prep.Clean-up", group=("prep",)))
    )
    spec = compile_flow(flow, profile()).spec
    assert spec["pipelineInfo"]["name"] == "my-flow"
    tasks = spec["components"]["comp-my-flow-flow"]["dag"]["tasks"]
    assert {name: task["taskInfo"]["name"] for name, task in tasks.items()} == {
        "prep-clean-up": "prep.Clean_Up",
        "prep-clean-up-2": "prep.prep.Clean-up",
    }
    assert list(compile_flow(training(), profile()).spec["root"]["inputDefinitions"]["parameters"]) == ["run-id", "path", "lrs"]


def test_indices_are_handed_down_one_by_one() -> None:
    """A task in two maps takes both indices; nothing but run, step and indices passes between tasks."""
    spec = compile_flow(nested(), profile()).spec
    leaf = spec["components"]["comp-inner-loop"]["dag"]["tasks"]["leaf"]["inputs"]["parameters"]
    assert leaf == {
        "run-id": {"componentInputParameter": "run-id"},
        "job-id": {"componentInputParameter": "job-id"},
        "index-0": {"componentInputParameter": "index-0"},
        "index-1": {"componentInputParameter": "index-1"},
        "step-id": {"runtimeValue": {"constant": "leaf"}},
    }


def test_retry_policy_and_attempt_go_together() -> None:
    """The server fills in the attempt only where there is a retry policy."""
    spec = compile_flow(training(), profile()).spec
    task = spec["components"]["comp-train-map-loop"]["dag"]["tasks"]["train"]
    assert task["retryPolicy"] == {"maxRetryCount": 2, "backoffDuration": "10s", "backoffFactor": 2.0, "backoffMaxDuration": "315360000s"}
    for label, executor in spec["deploymentSpec"]["executors"].items():
        assert ("{{retries}}" in executor["container"]["args"]) == (label == "exec-train"), label


@pytest.mark.kubeflow
@pytest.mark.parametrize("name", ALL)
def test_kfp_loads_the_pipeline(name: str, tmp_path: Path) -> None:
    """kfp's own loader and its protobuf messages accept what was written."""
    components = pytest.importorskip("kfp.components")
    json_format = pytest.importorskip("google.protobuf.json_format")
    from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
    from kfp.pipeline_spec import pipeline_spec_pb2 as messages

    pipeline = compile_flow(ALL[name](), profile())
    path = tmp_path / "flow.yaml"
    path.write_bytes(pipeline.data)
    loaded = components.load_component_from_file(str(path))
    assert loaded.name == name
    assert "run-id" in loaded.component_spec.inputs
    assert "job-id" not in loaded.component_spec.inputs
    json_format.ParseDict(pipeline.spec, messages.PipelineSpec())
    json_format.ParseDict(pipeline.platform, messages.PlatformSpec())
    for config in pipeline.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {}).values():
        json_format.ParseDict(config, kubernetes.KubernetesExecutorConfig())


def test_file_is_json_document_by_document() -> None:
    """JSON is YAML: both documents read as JSON too."""
    spec, platform = compile_flow(ALL["options"](), profile()).data.decode().split("---\n")
    assert json.loads(spec)["schemaVersion"] == "2.1.0"
    assert "exec-heavy" in json.loads(platform)["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_flows_of_any_shape_break_no_rule(data: st.DataObject) -> None:
    """Whatever is inside what, every task waits for tasks of its own DAG, and every step has exactly one task."""
    flow = RandomFlow(lambda choices: data.draw(st.sampled_from(choices))).flow()
    pipeline = compile_flow(flow, profile())
    assert problems(pipeline.spec, pipeline.platform) == []
    dags = [c["dag"]["tasks"] for c in pipeline.spec["components"].values() if "dag" in c]
    told = [
        t["inputs"]["parameters"]["step-id"]["runtimeValue"]["constant"]
        for tasks in dags
        for t in tasks.values()
        if "step-id" in _inputs(t)
    ]
    assert sorted(told) == sorted([s.id for s in flow.steps] + [m.id for m in flow.maps])


def _inputs(task: Any) -> Any:
    return task.get("inputs", {}).get("parameters", {})


def test_maps_with_names_alike_are_recorded_apart() -> None:
    """The server records a loop under its title: neither another task's name nor another loop's title may be the same."""
    nodes = (step("sq_map"), step("load"))
    inner = step("sq", scope=("sq.map",), inputs=item("sq.map"))
    graph = FlowGraph(name="alike", steps=(*nodes, inner), maps=(items("sq.map", FromStep(step="load", output="result")),))
    pipeline = compile_flow(graph, profile())
    tasks = pipeline.spec["components"]["comp-alike-flow"]["dag"]["tasks"]
    assert {"sq-map", "sq-map-2"} <= set(tasks)
    assert tasks["sq-map-2"]["taskInfo"]["name"] == "sq-map-2"
