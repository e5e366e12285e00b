"""Declared resources, image, secrets and placement of a step as the container and the Kubernetes settings of its pod."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flowbridge.ir.attempts import growths_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowbridge.backends.kubeflow.options import KubeflowOptions, Volume
    from flowbridge.ir.environment import Secret
    from flowbridge.ir.flow import StepNode
    from flowbridge.ir.resources import Resources

Json = dict[str, Any]
SCRATCH = "/flowbridge/scratch"
GRACE = 600
"""Seconds that the pod outlives the step's own time limit, which holds for each attempt that it makes with more memory: installing,
loading inputs, writing the record of the timeout."""
_BINARY = (("Ei", 2**60), ("Pi", 2**50), ("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
_GIGA = 1e9


def quantity(size: int) -> str:
    """Return bytes as an exact Kubernetes quantity."""
    for unit, factor in _BINARY:
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def cores(cpu: float) -> str:
    """Return cores as a Kubernetes quantity, rounded up to a thousandth."""
    thousandths = math.ceil(round(cpu * 1000, 6))
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def container_resources(resources: Resources, options: KubeflowOptions) -> Json:
    """Return the `resources` of a container: what is requested is the limit too, so a declared amount is kept and held.

    Only `memory_max` goes beyond what is requested: the pod holds the step to less, until it has run out of that. The limit is that of the
    whole container, in which Kubeflow's launcher, pip and the process that holds the step to its memory live too: they get theirs on top.
    """
    result: Json = {}
    if resources.cpu is not None:
        result |= {"cpuLimit": float(resources.cpu), "cpuRequest": float(resources.cpu)}
        result |= {"resourceCpuLimit": cores(resources.cpu), "resourceCpuRequest": cores(resources.cpu)}
    if resources.memory is not None:
        beside = 0 if options.flavor == "vertex" else options.memory_overhead  # Vertex chooses a whole machine by it
        least, most = resources.memory + beside, max(resources.memory, resources.memory_max or 0) + beside
        result |= {"memoryLimit": most / _GIGA, "memoryRequest": least / _GIGA}
        result |= {"resourceMemoryLimit": quantity(most), "resourceMemoryRequest": quantity(least)}
    if resources.gpu is not None:
        kind = gpu_resource(resources, options)
        count = str(math.ceil(resources.gpu))
        result["accelerator"] = {"count": count, "resourceCount": count, "resourceType": kind, "type": kind}
    return result


def gpu_resource(resources: Resources, options: KubeflowOptions) -> str:
    """Return the extended resource of a GPU: `gpu_type` itself where it is written as one (``nvidia.com/mig-1g.10gb``)."""
    if options.flavor == "vertex":
        return resources.gpu_type or "NVIDIA_TESLA_T4"
    if resources.gpu_type and "/" in resources.gpu_type:
        return resources.gpu_type
    return options.gpu_resource


def platform_config(node: StepNode | None, options: KubeflowOptions, items: int = 1) -> Json:
    """Return the Kubernetes settings of a pod, in the form of the executor configurations of `kfp-kubernetes`.

    Args:
        node: The step; None for a pod that only looks at records (a map's expansion, the end of the run).
        options: The profile's settings.
        items: One pod takes so many items of a map, one after the other; each may take as long as the step may.
    """
    config = _from_profile(options)
    if node is not None:
        _add_step(config, node, options, items)
        for key, value in raw_kubernetes(node).items():
            config[key] = _merge(config.get(key), value)
    return {key: config[key] for key in sorted(config)}


def launcher_config(node: StepNode | None, options: KubeflowOptions, items: int = 1) -> Json:
    """Return the Kubernetes settings of a pod that starts a gang and looks after it: what the step asks for is for the gang's pods."""
    config = _from_profile(options)
    if node is not None and node.timeout is not None:
        config["activeDeadlineSeconds"] = _deadline(node, node.timeout * items, GRACE)
    return {key: config[key] for key in sorted(config)}


def raw_kubernetes(node: StepNode) -> Mapping[str, Any]:
    """Return what the step passes through to the pod, as it is: ``kubeflow={...}``."""
    raw = dict(node.platform).get("kubeflow")
    return raw if isinstance(raw, dict) else {}


def _merge(ours: object, theirs: object) -> object:
    """Join a raw setting with what is there: lists are appended, mappings joined, anything else replaced."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return ours + theirs
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours | {k: _merge(ours.get(k), v) for k, v in theirs.items()}
    return theirs


def _from_profile(options: KubeflowOptions) -> Json:
    config: Json = {}
    if options.image_pull_policy:
        config["imagePullPolicy"] = options.image_pull_policy
    if options.image_pull_secrets:
        config["imagePullSecret"] = [_named("secretName", name) for name in options.image_pull_secrets]
    if options.node_selector:
        config["nodeSelector"] = {"labels": dict(options.node_selector)}
    if options.tolerations:
        config["tolerations"] = [dict(t) for t in options.tolerations]
    metadata = {key: dict(value) for key, value in (("annotations", options.annotations), ("labels", options.labels)) if value}
    if metadata:
        config["podMetadata"] = metadata
    for volume in options.volumes:
        key, mount = _mount(volume)
        config.setdefault(key, []).append(mount)
    for env, text in options.secrets.items():
        name, key = text.split("/")
        config.setdefault("secretAsEnv", []).append(_secret(env, name, key))
    return config


def _add_step(config: Json, node: StepNode, options: KubeflowOptions, items: int) -> None:
    resources = node.resources
    for secret in node.environment.secrets:
        name, key = kubernetes_secret(secret, options)
        if options.secrets.get(secret.env) != f"{name}/{key}":  # which every pod has
            config.setdefault("secretAsEnv", []).append(_secret(secret.env, name, key))
    if node.timeout is not None:
        config["activeDeadlineSeconds"] = _deadline(node, node.timeout * items)
    if resources.shm is not None:
        config.setdefault("emptyDirMounts", []).append(
            {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": quantity(resources.shm)}  # noqa: S108
        )
    if resources.disk is not None:
        key, volume = _scratch(resources.disk, options)
        config.setdefault(key, []).append(volume)
    if resources.gpu_type and "/" not in resources.gpu_type and options.flavor == "open":
        labels = config.setdefault("nodeSelector", {"labels": {}})["labels"]
        labels[options.gpu_label] = resources.gpu_type


def _deadline(node: StepNode, limit: float, beside: int = 0) -> str:
    """Return the seconds that a pod may live: for each attempt with more memory its time limit and what it takes beside, and once more the rest."""
    return str((1 + growths_of(node.resources)) * (math.ceil(limit) + beside) + GRACE)


def kubernetes_secret(secret: Secret, options: KubeflowOptions) -> tuple[str, str]:
    """Return the name of a Kubernetes secret and the key in it: for a secret that is a single value, those that the profile tells of it."""
    if secret.key is None and secret.name in options.secrets:
        name, key = options.secrets[secret.name].split("/")
        return name, key
    return secret.name, secret.key or secret.env


def _scratch(size: int, options: KubeflowOptions) -> tuple[str, Json]:
    if options.disk_class is None:
        return "emptyDirMounts", {"volumeName": "scratch", "mountPath": SCRATCH, "sizeLimit": quantity(size)}
    return "genericEphemeralVolume", {
        "volumeName": "scratch",
        "mountPath": SCRATCH,
        "accessModes": ["ReadWriteOnce"],
        "size": quantity(size),
        "storageClassName": options.disk_class,
    }


def _secret(env: str, name: str, key: str) -> Json:
    return {**_named("secretName", name), "keyToEnv": [{"envVar": env, "secretKey": key}], "optional": False}


def _named(field: str, name: str) -> Json:
    """Name an object of the cluster twice: as servers before 2.14 read it, and as later ones do."""
    return {field: name, f"{field}Parameter": {"runtimeValue": {"constant": name}}}


def _mount(volume: Volume) -> tuple[str, Json]:
    if volume.claim:
        constant = {"runtimeValue": {"constant": volume.claim}}
        return "pvcMount", {"constant": volume.claim, "mountPath": volume.path, "pvcNameParameter": constant}
    if volume.secret:
        return "secretAsVolume", {**_named("secretName", volume.secret), "mountPath": volume.path, "optional": False}
    return "configMapAsVolume", {**_named("configMapName", volume.config_map or ""), "mountPath": volume.path, "optional": False}
