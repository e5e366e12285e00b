"""Every rule of the server is broken on purpose, and seen."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.lint import RULES, PipelineRuleError, check, problems
from flowbridge.backends.kubeflow.options import Volume
from flowbridge.backends.kubeflow.resources import _mount
from tests.unit.backends.kubeflow.flows import ALL, profile, uneven

Json = dict[str, Any]
Break = Callable[[Json, Json], None]
_SPECS: dict[str, tuple[Json, Json]] = {}


def compiled(name: str) -> tuple[Json, Json]:
    if name not in _SPECS:
        pipeline = compile_flow(ALL[name](), profile())
        _SPECS[name] = (pipeline.spec, pipeline.platform)
    return copy.deepcopy(_SPECS[name])


def tasks(spec: Json, dag: str) -> Json:
    found: Json = spec["components"][dag]["dag"]["tasks"]
    return found


def rename(mapping: Json, old: str, new: str) -> None:
    mapping[new] = mapping.pop(old)


def copied(spec: Json, component: str, new: str) -> Json:
    """Add a second component with the same container."""
    spec["components"][new] = copy.deepcopy(spec["components"][component])
    spec["deploymentSpec"]["executors"][f"exec-{new}"] = copy.deepcopy(
        spec["deploymentSpec"]["executors"][spec["components"][component]["executorLabel"]]
    )
    spec["components"][new]["executorLabel"] = f"exec-{new}"
    added: Json = spec["components"][new]
    return added


def container(spec: Json, component: str) -> Json:
    found: Json = spec["deploymentSpec"]["executors"][spec["components"][component]["executorLabel"]]["container"]
    return found


FLOW, TRAIN = "comp-training-flow", "comp-train-map-loop"
BREAKS: dict[str, list[Break]] = {
    "schema-version": [lambda s, _: s.update(schemaVersion="2.0.0")],
    "pipeline-name": [
        lambda s, _: s["pipelineInfo"].update(name="Training"),
        lambda s, _: s["pipelineInfo"].update(name="my_flow"),
        lambda s, _: s["pipelineInfo"].update(name="x" * 51),
    ],
    "task-name": [
        lambda s, _: rename(tasks(s, FLOW), "publish", "pub_lish"),
        lambda s, _: rename(tasks(s, FLOW), "publish", "2nd"),
        lambda s, _: rename(tasks(s, FLOW), "publish", "Publish"),
    ],
    "driver-name": [lambda s, _: rename(tasks(s, FLOW), "publish", "select-driver")],
    "loop-title": [
        lambda s, _: tasks(s, FLOW)["train-map"]["taskInfo"].update(name="publish"),
        lambda s, _: tasks(s, FLOW).update({"more": tasks(s, FLOW)["train-map"]}),
    ],
    "template-name": [
        lambda s, _: tasks(s, FLOW).update(again=tasks(s, FLOW)["train-map"]),
        lambda s, _: rename(tasks(s, FLOW), "train-map", "t" * 120),
    ],
    "loader-name": [lambda s, _: s["pipelineInfo"].update(name="load")],
    "unknown-component": [
        lambda s, _: tasks(s, FLOW)["load"]["componentRef"].update(name="comp-gone"),
        lambda s, _: s["components"]["comp-load"].update(executorLabel="exec-gone"),
    ],
    "unknown-task": [lambda s, _: tasks(s, FLOW)["select"].update(dependentTasks=["gone"])],
    "cycle": [lambda s, _: tasks(s, FLOW)["load"].update(dependentTasks=["publish"])],
    "empty-dag": [lambda s, _: tasks(s, TRAIN).clear()],
    "skip-spreads": [
        lambda s, _: tasks(s, FLOW)["select"].update(triggerPolicy={"condition": "inputs.parameter_values['run-id'] == 'x'"}),
    ],
    "exit-dependencies": [
        lambda s, _: s["root"]["dag"]["tasks"]["finish"].update(dependentTasks=[]),
        lambda s, _: (
            s["root"]["dag"]["tasks"].update(more=s["root"]["dag"]["tasks"]["training"]),
            s["root"]["dag"]["tasks"]["finish"].update(dependentTasks=["training", "more"]),
        )[0],
    ],
    "exit-after-loop": [
        lambda s, _: tasks(s, FLOW)["select"].update(triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
        lambda s, _: s["root"]["dag"]["tasks"].update(more=s["root"]["dag"]["tasks"]["finish"]),
    ],
    "exit-data": [
        lambda s, _: s["root"]["dag"]["tasks"]["finish"]["inputs"]["parameters"].update(
            {"run-id": {"taskOutputParameter": {"producerTask": "training", "outputParameterKey": "x"}}}
        ),
    ],
    "after-exit": [lambda s, _: s["root"]["dag"]["tasks"]["training"].update(dependentTasks=["finish"])],
    "loop-body": [
        lambda s, _: tasks(s, FLOW)["train-map"].update(artifactIterator={}),
        lambda s, _: tasks(s, FLOW)["train-map"]["componentRef"].update(name="comp-load"),
        lambda s, _: tasks(s, FLOW)["train-map"].update(iteratorPolicy={"parallelismLimit": 0}),
    ],
    "retry-of-dag": [lambda s, _: tasks(s, FLOW)["train-map"].update(retryPolicy={"maxRetryCount": 1})],
    "retry-duration": [
        lambda s, _: tasks(s, TRAIN)["train"]["retryPolicy"].update(backoffMaxDuration="3600s"),
        lambda s, _: tasks(s, TRAIN)["train"]["retryPolicy"].pop("backoffMaxDuration"),
    ],
    "retry-factor": [
        lambda s, _: tasks(s, TRAIN)["train"]["retryPolicy"].update(backoffFactor=1.5),
        lambda s, _: tasks(s, TRAIN)["train"]["retryPolicy"].update(backoffFactor=0.0),
    ],
    "caching": [
        lambda s, _: tasks(s, FLOW)["load"].update(cachingOptions={"enableCache": True}),
        lambda s, _: tasks(s, FLOW)["load"].pop("cachingOptions"),
    ],
    "input-missing": [lambda s, _: tasks(s, FLOW)["load"]["inputs"]["parameters"].pop("step-id")],
    "input-unknown": [
        lambda s, _: tasks(s, FLOW)["select"]["inputs"]["parameters"].update(more={"runtimeValue": {"constant": "x"}}),
    ],
    "input-type": [
        lambda s, _: tasks(s, FLOW)["load"]["inputs"]["parameters"].update({"step-id": {"runtimeValue": {"constant": 3}}}),
        lambda s, _: tasks(s, FLOW)["load"]["inputs"]["parameters"].update({"step-id": {"componentInputParameter": "gone"}}),
        lambda s, _: s["components"][TRAIN]["inputDefinitions"]["parameters"]["index-0"].update(parameterType="STRING"),
        lambda s, _: s["components"]["comp-train-map-items"]["outputDefinitions"]["parameters"]["Output"].update(parameterType="STRING"),
    ],
    "loop-items": [
        lambda s, _: tasks(s, FLOW)["train-map"]["parameterIterator"].update(items={"raw": "[0, 1]"}),
        lambda s, _: tasks(s, FLOW)["train-map"]["parameterIterator"].update(items={"inputParameter": "run-id"}),
        lambda s, _: s["components"][TRAIN]["inputDefinitions"]["parameters"]["index-0"].update(parameterType="STRING"),
    ],
    "local-loop": [
        lambda s, _: tasks(s, FLOW)["train-map"]["inputs"]["parameters"].update(
            {"job-id": {"taskOutputParameter": {"producerTask": "train-map-items", "outputParameterKey": "Output"}}}
        ),
        lambda s, _: (
            rename(tasks(s, FLOW)["train-map"]["inputs"]["parameters"], "pipelinechannel--train-map-items-Output", "units"),
            tasks(s, FLOW)["train-map"]["parameterIterator"].update(items={"inputParameter": "units"}),
        )[0],
    ],
    "artifact-input": [
        lambda s, _: tasks(s, FLOW)["select"]["inputs"].update(
            artifacts={"m": {"taskOutputArtifact": {"producerTask": "load", "outputArtifactKey": "train"}}}
        ),
        lambda s, _: s["components"]["comp-select"]["inputDefinitions"].update(artifacts={"m": {}}),
    ],
    "artifact-type": [
        lambda s, _: s["components"]["comp-load"]["outputDefinitions"]["artifacts"]["train"]["artifactType"].update(schemaTitle="Frame"),
    ],
    "output-unwritten": [lambda s, _: container(s, "comp-train-map-items").update(args=["--step", "x"])],
    "parameter-default": [
        lambda s, _: s["root"]["inputDefinitions"]["parameters"]["lrs"].update(defaultValue="[0.1]"),
        lambda s, _: s["root"]["inputDefinitions"]["parameters"]["run-id"].update(defaultValue="x" * 10_001),
    ],
    "component-collapse": [
        lambda s, _: copied(s, "comp-select", "comp-twin")["outputDefinitions"]["artifacts"].pop("result"),
        lambda s, _: container(s, "comp-finish").update(copy.deepcopy(container(s, "comp-select"))),
    ],
    "placeholder-in-constant": [
        lambda s, _: tasks(s, FLOW)["load"]["inputs"]["parameters"].update(
            {"step-id": {"runtimeValue": {"constant": "run {{$.pipeline_job_uuid}}"}}}
        ),
        lambda s, _: tasks(s, FLOW)["load"]["inputs"]["parameters"].update(
            {"step-id": {"runtimeValue": {"constant": "{{workflow.name}}"}}}
        ),
    ],
    "placeholder-in-argument": [
        lambda s, _: container(s, "comp-load")["args"].append("{{$.pipeline_job_uuid}}"),
        lambda s, _: container(s, "comp-load")["args"].append("{{pod.name}}"),
        lambda s, _: container(s, "comp-load")["args"].append("{{retries}}"),
        lambda s, _: container(s, "comp-load")["args"].append("x-{{$.inputs.parameters['gone']}}"),
        lambda s, _: container(s, "comp-load")["args"].append("{{$.outputs.parameters['gone'].output_file}}"),
        lambda s, _: container(s, "comp-load")["args"].append('{"Concat": ["a", "b"]}'),
        lambda s, _: container(s, "comp-load")["args"].append('{"IfPresent": {"InputName": "a"}}'),
        lambda s, _: tasks(s, TRAIN)["train"].pop("retryPolicy"),
    ],
    "placeholder-elsewhere": [
        lambda s, _: container(s, "comp-load").update(env=[{"name": "A", "value": "{{$.inputs.parameters['run-id']}}"}]),
        lambda s, _: container(s, "comp-load").update(image="python:{{workflow.name}}"),
        lambda s, _: container(s, "comp-load")["command"].append("{{$}}"),
    ],
    "template-in-text": [
        lambda s, _: tasks(s, FLOW)["load"]["taskInfo"].update(name="{{workflow.name}}"),
        lambda s, _: s["root"]["inputDefinitions"]["parameters"]["run-id"].update(defaultValue="{{x}}"),
        lambda _, p: p.update(
            platforms={"kubernetes": {"deploymentSpec": {"executors": {"exec-load": {"podMetadata": {"labels": {"a": "{{x}}"}}}}}}}
        ),
    ],
    "argument-length": [lambda s, _: container(s, "comp-load")["args"].append("x" * 131_072)],
    "image": [
        lambda s, _: container(s, "comp-load").update(image=""),
        lambda s, _: container(s, "comp-load").update(image="argostub/createpvc"),
        lambda s, _: container(s, "comp-load").pop("command"),
    ],
    "quantity": [
        lambda s, _: container(s, "comp-train")["resources"].update(resourceMemoryLimit="4 GB"),
        lambda s, _: container(s, "comp-train")["resources"].update(cpuRequest=3.0),
        lambda s, _: container(s, "comp-train")["resources"].update(accelerator={"resourceCount": "1"}),
    ],
    "platform-setting": [
        lambda _, p: configs(p).update({"exec-gone": {}}),
        lambda _, p: configs(p)["exec-heavy"].update(nodeSelectors={}),
        lambda _, p: configs(p)["exec-heavy"].update(securityContext={"runAsUser": 1}),
        lambda _, p: configs(p)["exec-heavy"].update(podAffinity=[]),
        lambda _, p: configs(p)["exec-heavy"].update(enabledSharedMemory={"size": "1Gi"}),
    ],
    "platform-value": [
        lambda _, p: configs(p)["exec-heavy"].update(imagePullPolicy="Sometimes"),
        lambda _, p: configs(p)["exec-heavy"].update(activeDeadlineSeconds="0"),
        lambda _, p: configs(p)["exec-heavy"].update(pvcMount=[{"constant": "data", "mountPath": "data"}]),
        lambda _, p: configs(p)["exec-heavy"]["emptyDirMounts"].append({"volumeName": "shm", "mountPath": "/other"}),
        lambda _, p: configs(p)["exec-heavy"]["emptyDirMounts"].append({"volumeName": "more", "mountPath": "/dev/shm"}),
        lambda _, p: mount(p, *(_mount(Volume(path=path, secret="keys")) for path in ("/a", "/b"))),
        lambda _, p: mount(p, _mount(Volume(path="/a", secret="keys")), _mount(Volume(path="/b", config_map="keys"))),
        lambda _, p: mount(p, _mount(Volume(path="/a", claim="keys")), _mount(Volume(path="/b", config_map="keys"))),
        lambda _, p: mount(p, _mount(Volume(path="/a", secret="shm"))),
        lambda _, p: mount(p, _mount(Volume(path="/a", secret="my.keys"))),
        lambda _, p: mount(p, _mount(Volume(path="/a", config_map="k" * 64))),
        lambda _, p: mount(p, _mount(Volume(path="/a", config_map="kfp-launcher"))),
        lambda _, p: mount(p, ("secretAsVolume", {"secretName": "My", "mountPath": "/a"})),
    ],
}


def configs(platform: Json) -> Json:
    found: Json = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return found


def mount(platform: Json, *volumes: tuple[str, Json]) -> None:
    for kind, volume in volumes:
        configs(platform)["exec-heavy"].setdefault(kind, []).append(volume)


def test_volumes_of_different_names_may_be_mounted() -> None:
    """The driver names each after what it is of."""
    spec, platform = compiled("options")
    mount(
        platform,
        _mount(Volume(path="/a", secret="keys")),
        _mount(Volume(path="/b", config_map="more")),
        _mount(Volume(path="/c", claim="data")),
    )
    assert problems(spec, platform) == []


def test_every_rule_is_broken_here() -> None:
    """A rule without a test that breaks it might as well not be there."""
    assert set(BREAKS) == set(RULES)


@pytest.mark.parametrize(("rule", "number"), [(rule, i) for rule, breaks in BREAKS.items() for i in range(len(breaks))])
def test_broken_rule_is_seen(rule: str, number: int) -> None:
    """One change to a good pipeline, and the rule it breaks is among those told."""
    spec, platform = compiled("options" if rule in {"platform-setting", "platform-value"} else "training")
    assert problems(spec, platform) == []
    BREAKS[rule][number](spec, platform)
    assert rule in {p.rule for p in problems(spec, platform)}


@pytest.mark.parametrize("name", ALL)
def test_what_the_compiler_writes_breaks_none(name: str) -> None:
    spec, platform = compiled(name)
    assert problems(spec, platform) == []


def test_all_problems_are_told_at_once() -> None:
    """The error names every broken rule and where."""
    spec, platform = compiled("training")
    tasks(spec, FLOW)["load"]["componentRef"]["name"] = "comp-gone"
    tasks(spec, FLOW)["select"]["dependentTasks"] = ["gone"]
    with pytest.raises(PipelineRuleError) as caught:
        check(spec, platform)
    assert {p.rule for p in caught.value.problems} >= {"unknown-component", "unknown-task"}
    assert "task 'select' of comp-training-flow waits for 'gone'" in str(caught.value)
    assert "nothing has been submitted" in str(caught.value)


def test_conditions_inside_a_wrapper_are_allowed() -> None:
    """A DAG around a condition ends well either way, so others may wait for the DAG."""
    spec, platform = compiled("uneven")
    inner = tasks(spec, "comp-uneven-flow")["collect"]
    inner["triggerPolicy"] = {"condition": "inputs.parameter_values['run-id'] == 'x'"}
    tasks(spec, "comp-uneven-flow").pop("check")
    assert problems(spec, platform) == []
    assert uneven().name == "uneven"
