"""A gang as a TrainJob: made from what was compiled and from the task, and what its conditions tell."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.bootstrap import COMMAND
from flowbridge.backends.kubeflow.gang.template import GANG
from flowbridge.backends.kubeflow.names import slug
from flowbridge.records.models import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowbridge.worker.order import WorkOrder

Json = dict[str, Any]
MANAGER = "flowbridge/kubeflow"
TASK, LAUNCHER = "flowbridge/task", "flowbridge/launcher"
MEMBER = "member"
PATCHES, OVERRIDES = "runtimePatches", "podTemplateOverrides"
"""Fields by which a TrainJob changes its runtime's pods: since Trainer 2.2, and in 2.1."""
LONGEST_STEP = 20
_OURS = ("--interface", "--attempt", "--executor-input", GANG)
_WAITS_FOR_EVER = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})


def task_label(order: WorkOrder) -> str:
    """Return what all TrainJobs of a task are labelled with, whichever attempt they are for."""
    text = json.dumps([order.flow, order.run, order.step, order.index])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def job_name(order: WorkOrder) -> str:
    """Return the name of an attempt's TrainJob: short enough for the names that Kubernetes makes from it."""
    return f"fb-{slug(order.step, LONGEST_STEP)}-{task_label(order)[:10]}-{order.attempt}"


def train_job(
    order: WorkOrder, template: Json, arguments: Sequence[str], size: int, *, form: str = PATCHES, account: str | None = None
) -> Json:
    """Return the TrainJob of an attempt.

    Args:
        order: The attempt.
        template: What was compiled.
        arguments: Of this pod's own worker.
        size: Number of nodes.
        form: How the runtime's pods are changed.
        account: Service account of the pods, if the profile names none.
    """
    name = job_name(order)
    pod = {**({"serviceAccountName": account} if account else {}), **template["pod"]}
    spec: Json = {
        "runtimeRef": template["runtime"],
        "trainer": {
            "image": template["image"],
            "command": list(COMMAND),
            "args": [a.replace("$(", "$$(") for a in member_arguments(order, arguments, size, name)],
            "env": template["env"],
            "numNodes": size,
            "numProcPerNode": 1,
            **({"resourcesPerNode": template["resources"]} if template["resources"] else {}),
        },
    }
    if pod or template.get("metadata"):
        spec[form] = (_patches if form == PATCHES else _overrides)(pod, template.get("metadata"))
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": {TASK: task_label(order)}, "annotations": _annotations(order), **_owner()},
        "spec": spec,
    }


def member_arguments(order: WorkOrder, arguments: Sequence[str], size: int, name: str) -> list[str]:
    """Return the arguments of a gang's pods: those of this pod, but for what it does and for which task."""
    kept, given = [], iter(arguments)
    for argument in given:
        if argument in _OURS:
            next(given)
        elif argument != "--soft":
            kept.append(argument)
    inputs: Json = {"run-id": order.run, "step-id": order.step, **{f"index-{d}": i for d, i in enumerate(order.index)}}
    gang = {"size": size, "first": f"{name}-node-0-0.{name}", "growths": order.growths}
    return [
        *kept,
        "--interface",
        MEMBER,
        "--attempt",
        str(order.attempt),
        "--executor-input",
        json.dumps({"inputs": {"parameterValues": inputs}}),
        GANG,
        json.dumps(gang),
    ]


def _patches(pod: Json, metadata: Json | None) -> list[Json]:
    template = {**({"metadata": metadata} if metadata else {}), **({"spec": pod} if pod else {})}
    job = {"name": "node", "template": {"spec": {"template": template}}}
    return [{"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}]


def _overrides(pod: Json, metadata: Json | None) -> list[Json]:
    return [{"targetJobs": [{"name": "node"}], **({"metadata": metadata} if metadata else {}), **({"spec": pod} if pod else {})}]


def _annotations(order: WorkOrder) -> dict[str, str]:
    index = ".".join(map(str, order.index))
    told = {"flow": order.flow, "run": order.run, "step": order.step, "index": index, "attempt": str(order.attempt)}
    return {LAUNCHER: launcher(), **{f"flowbridge/{name}": value for name, value in told.items() if value}}


def launcher() -> str:
    """Return what tells this pod from any other that ever started a gang."""
    return os.environ.get("KFP_POD_UID") or os.environ.get("KFP_POD_NAME") or f"process-{os.getpid()}"


def _owner() -> Json:
    """Have Kubernetes remove the TrainJob with this pod, if it cannot be removed in time."""
    name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    if not name or not uid:
        return {}
    return {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]}


def condition(job: Mapping[str, Any], kind: str) -> Json | None:
    """Return a condition of a TrainJob that holds: ``Complete``, ``Failed``, ``Suspended``."""
    for found in job.get("status", {}).get("conditions") or ():
        if found.get("type") == kind and found.get("status") == "True":
            return dict(found)
    return None


def failure(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Reason:
    """Return why a TrainJob that failed did, as far as Kubernetes knows: its pods first, then its condition."""
    told = condition(job, "Failed") or {}
    text = " ".join(str(told.get(key) or "") for key in ("reason", "message")).strip()
    ends = list(_ends(pods))
    message = "; ".join([*ends, *([f"Kubeflow Trainer says: {text}"] if text else [])]) or "Kubeflow Trainer says nothing about why"
    kind: Any = "out_of_memory" if any("OOMKilled" in end for end in ends) else "lost_worker"
    if told.get("reason") == "DeadlineExceeded":
        kind = "timeout"
    return Reason(kind=kind, message=f"the gang failed and left no result: {message}")


def _ends(pods: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        if status.get("reason"):
            yield f"pod {name}: {status['reason']} {status.get('message', '')}".strip()
        for container in status.get("containerStatuses") or ():
            ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
            if ended.get("exitCode"):
                yield f"pod {name} ended with exit code {ended['exitCode']} ({ended.get('reason', 'Error')})"


def waits(pods: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return what the pods of a gang wait for: the name of each and why it does not run."""
    found = []
    for pod in pods:
        status = pod.get("status", {})
        for container in status.get("containerStatuses") or ():
            waiting = container.get("state", {}).get("waiting")
            if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                found.append((pod["metadata"]["name"], f"{waiting['reason']} {waiting.get('message', '')}".strip()))
        found += [
            (pod["metadata"]["name"], f"{told.get('reason', '')} {told.get('message', '')}".strip())
            for told in status.get("conditions") or ()
            if told.get("type") == "PodScheduled" and told.get("status") == "False"
        ]
    return found


def hopeless(waiting: Sequence[tuple[str, str]]) -> bool:
    """Say whether a pod waits for something that seldom comes: an image that cannot be pulled, a secret that is not there."""
    return any(why.split(" ", 1)[0] in _WAITS_FOR_EVER for _, why in waiting)
