"""The generated FlowSpecs, to the letter. ``FLOWBRIDGE_UPDATE_GOLDEN=1`` writes them anew; look at the difference before it is committed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flowbridge.backends.metaflow.compile import compile_flow
from flowbridge.ir.bindings import FromParameter
from flowbridge.ir.environment import EnvironmentWish, Secret
from flowbridge.ir.flow import FlowGraph, Schedule
from flowbridge.ir.policies import Retry
from flowbridge.ir.ports import Parameter
from flowbridge.ir.resources import Resources
from tests.unit.backends.metaflow.make import graph, over, profile, step

FOLDER = Path(__file__).parents[3] / "golden" / "metaflow"

PARAMETERS = (
    Parameter(name="lr", type="float", json_schema={"type": "number"}, required=False, default=0.1),
    Parameter(name="names", type="list[str]", json_schema={"type": "array"}, required=False, default=["ä", 'quote "'] * 8),
    Parameter(name="tag", type="str", json_schema={"type": "string"}),
    Parameter(name="next", type="int | None", json_schema={"anyOf": [{"type": "integer"}, {"type": "null"}]}, required=False),
)

TRAINING = graph(
    step("load", doc='Read the "data".\n\nMore about it.'),
    step("split", "load", resources=Resources(cpu=0.5, memory=2**30)),
    over("train-map", "split"),
    step("train", "split", scope=("train-map",), resources=Resources(cpu=4, gpu=1, memory=8 * 2**30), retry=Retry(retries=7, delay=90.0)),
    step("select", "train", timeout=90.0),
    step("report", "select", "split", environment=EnvironmentWish(env=(("A", "1"), ("B", "{{x}}")))),
    parameters=PARAMETERS,
    doc="Train models and choose one.",
)

BRIDGE = graph(step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"), step("e", "b"), step("f", "d", "e", "c"), name="bridge")

MAPS = graph(
    step("numbers"),
    over("outer", "numbers"),
    step("rows", scope=("outer",)),
    over("inner", "rows", scope=("outer",)),
    step("cell", scope=("outer", "inner")),
    step("row", "cell", scope=("outer",)),
    over("lanes", "numbers", parallel=4),
    step("slow", scope=("lanes",)),
    step("slower", "slow", scope=("lanes",)),
    step("table", "row", "slower"),
    name="maps",
)

ODD = graph(
    step("start"),
    step("Load.Data v2", "start"),
    step("next", "Load.Data v2"),
    step("retry", "next", retry=Retry(retries=1)),
    step("größe", "retry"),
    step("gang", "größe", nodes=2),
    step("end", "gang"),
    name="class",
)

CLUSTER = graph(
    step("load", target="local"),
    step(
        "train",
        "load",
        resources=Resources(cpu=1.5, memory=2**32, memory_max=2**33, gpu=1, gpu_type="A100", disk=2**34, shm=2**28),
        environment=EnvironmentWish(image="train:1", secrets=(Secret(env="TOKEN", name="hub", key="token"),)),
        retry=Retry(retries=2, delay=180.0, backoff=2),
        platform=(("metaflow", {"kubernetes": {"tolerations": [{"key": "gpu"}]}, "card": {"type": "default"}}), ("kubeflow", {"x": 1})),
    ),
    step("tell", "train"),
    schedule=Schedule(cron="0 6 * * 1", timezone="Europe/Berlin"),
    platform=(("metaflow", {"project": {"name": "digits"}}),),
    name="cluster",
)

BATCH = graph(
    step("load"),
    step(
        "train",
        "load",
        resources=Resources(cpu=1.5, gpu=2, gpu_type="A100"),
        environment=EnvironmentWish(image="train:1", secrets=(Secret(env="TOKEN", name="hub"),)),
    ),
    schedule=Schedule(cron="30 6 * * 1-5"),
    name="batch",
)

FLOWS: dict[str, tuple[FlowGraph, dict[str, Any]]] = {
    "training": (TRAINING, {}),
    "bridge": (BRIDGE, {}),
    "maps": (MAPS, {}),
    "odd_names": (ODD, {}),
    "kubernetes": (
        CLUSTER,
        {"target": "kubernetes", "image": "base:2", "install": "flowbridge[metaflow,s3]", "kubernetes": {"namespace": "ml"}},
    ),
    "airflow": (MAPS, {"target": "airflow", "datastore": "s3"}),
    "batch": (BATCH, {"target": "step-functions", "batch": {"queue": "main"}, "gpu_queues": {"A100": "big"}}),
}


@pytest.mark.parametrize("name", FLOWS)
def test_the_file_is_as_it_was(name: str) -> None:
    flow, settings = FLOWS[name]
    text = compile_flow(flow, profile(**settings)).text
    path = FOLDER / f"{name}.py.txt"
    if os.environ.get("FLOWBRIDGE_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FLOWS)
def test_two_compiles_are_equal_and_are_python(name: str) -> None:
    flow, settings = FLOWS[name]
    text = compile_flow(flow, profile(**settings)).text
    assert text == compile_flow(FlowGraph.model_validate_json(flow.model_dump_json()), profile(**settings)).text
    compile(text, name, "exec")


def test_parameters_reach_the_file_under_names_that_metaflow_takes() -> None:
    text = compile_flow(graph(step("a"), parameters=PARAMETERS), profile()).text
    assert 'tag = Parameter("tag_", type=str, required=True, help="str")' in text
    assert 'next_ = Parameter("next", type=int, help="int | None")' in text


def test_nothing_of_the_users_can_end_a_comment_or_a_string() -> None:
    flow = graph(step("a", doc='x"""\nimport os\u2028os.abort()'), doc="\\", name="a")
    flow = flow.model_copy(update={"parameters": (Parameter(name="p", type="str\n#", required=False, default='"""\\\n{{x}}'),)})
    flow = flow.model_copy(update={"result": (("result", FromParameter(name="p")),)})
    compile(compile_flow(flow, profile()).text, "a", "exec")
