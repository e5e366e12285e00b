"""Rules about resources and the Kubernetes settings of pods."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowbridge.backends.kubeflow.names import LONGEST_LABEL, is_label
from flowbridge.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowbridge.backends.kubeflow.lint.view import Json, View

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_LABEL_RULE = f"of a-z, 0-9 and '-', at most {LONGEST_LABEL} long"
_NAMED_BY = {
    "emptyDirMounts": "volumeName",
    "genericEphemeralVolume": "volumeName",
    "pvcMount": "constant",
    "secretAsVolume": "secretName",
    "configMapAsVolume": "configMapName",
}
_PARAMETER = {"constant": "pvcName"}
_WHAT = {"pvcMount": "claim", "secretAsVolume": "secret", "configMapAsVolume": "config map"}
SERVERS_VOLUMES = frozenset(
    {
        "ca-bundle",
        "ca-secret",
        "dot-cache-scratch",
        "dot-config-scratch",
        "dot-local-scratch",
        "gcs-scratch",
        "kfp-launcher",
        "minio-scratch",
        "s3-scratch",
    }
)
"""What the server mounts into each pod itself (`backend/src/v2/compiler/argocompiler/container.go`)."""
_POLICIES = ("Always", "Never", "IfNotPresent")
FIELDS = frozenset(
    {
        "activeDeadlineSeconds",
        "configMapAsEnv",
        "configMapAsVolume",
        "emptyDirMounts",
        "fieldPathAsEnv",
        "genericEphemeralVolume",
        "imagePullPolicy",
        "imagePullSecret",
        "nodeAffinity",
        "nodeSelector",
        "podMetadata",
        "pvcMount",
        "secretAsEnv",
        "secretAsVolume",
        "tolerations",
    }
)
"""Of `KubernetesExecutorConfig` (`kubernetes_platform/proto/kubernetes_executor_config.proto` of 2.15.0), as far as the driver reads it."""
REFUSED = {
    "enabledSharedMemory": "the server drops it without a word. Use shm= of the step.",
    "podAffinity": "the server drops it without a word. Use nodeAffinity, nodeSelector or tolerations.",
    "securityContext": "the server does not know it and refuses the whole pipeline. Set it in the image, or by a policy of the namespace.",
}
"""Settings of kfp-kubernetes that do not reach a pod on servers up to 2.15.0, and why."""


def quantities(view: View) -> Iterator[str]:
    """Amounts are written as Kubernetes reads them, and a request does not exceed its limit."""
    for label, executor in view.executors.items():
        resources: Json = executor.get("container", {}).get("resources", {})
        for name in ("Cpu", "Memory"):
            limit, request = resources.get(f"resource{name}Limit"), resources.get(f"resource{name}Request")
            for text in (limit, request):
                if text is not None and not _QUANTITY.fullmatch(text):
                    yield f"executor {label!r}: {text!r} is not a Kubernetes quantity"
            low, high = resources.get(f"{name.lower()}Request"), resources.get(f"{name.lower()}Limit")
            if low is not None and high is not None and low > high:
                yield f"executor {label!r} requests more {name.lower()} than its limit"
        accelerator = resources.get("accelerator")
        if accelerator is not None and not (accelerator.get("resourceType") and accelerator.get("resourceCount")):
            yield f"executor {label!r}: an accelerator needs a resourceType and a resourceCount"


def known_settings(view: View) -> Iterator[str]:
    """A setting that the server does not know is dropped without a word, or fails the driver."""
    for label, config in _configs(view).items():
        if label not in view.executors:
            yield f"platform settings for {label!r}, which is no executor"
        for name in config:
            if name not in FIELDS:
                yield f"platform settings of {label!r}: {unknown_setting(name)}"


def setting_values(view: View) -> Iterator[str]:
    """What the driver would refuse when the run gets there."""
    for label, config in _configs(view).items():
        policy = config.get("imagePullPolicy")
        if policy is not None and policy not in _POLICIES:
            yield f"platform settings of {label!r}: imagePullPolicy {policy!r} is none of {', '.join(_POLICIES)}"
        deadline = str(config.get("activeDeadlineSeconds", "1"))
        if not deadline.isdigit() or int(deadline) < 1:
            yield f"platform settings of {label!r}: activeDeadlineSeconds {deadline!r} is not a whole number of seconds"
        yield from (f"platform settings of {label!r}: {problem}" for problem in _mount_problems(config))


def unknown_setting(name: str) -> str:
    """Return why a setting is not possible, with what to use instead."""
    if name in REFUSED:
        return f"{name!r} is not possible: {REFUSED[name]}"
    return f"there is no pod setting {name!r}.{suggest(name, FIELDS)}"


def _mount_problems(config: Json) -> Iterator[str]:
    """Yield what is wrong with volumes: names and paths are unique in a pod, names are DNS labels, paths absolute."""
    paths: set[str] = set()
    names: set[str] = set()
    for kind, field in _NAMED_BY.items():
        for mount in config.get(kind, ()):
            path, name = mount.get("mountPath", ""), _volume_name(mount, field)
            if not path.startswith("/"):
                yield f"the mount path {path!r} is not absolute"
            if path in paths:
                yield f"{path} is mounted twice"
            if name in names:
                yield f"two volumes are called {name!r}: the server names one after its {_WHAT.get(kind, 'volumeName')}. Mount it once"
            if name is not None and not is_label(name):
                yield f"{name!r} cannot name a volume, which the server names after its {_WHAT.get(kind, 'volumeName')}: it must be {_LABEL_RULE}"
            if name in SERVERS_VOLUMES:
                yield f"the server itself has a volume {name!r} in each pod; use another name"
            paths.add(path)
            if name is not None:
                names.add(name)


def _volume_name(mount: Json, field: str) -> str | None:
    """Return the name that the driver gives a volume (`backend/src/v2/driver/k8s.go`); None where it is known only in the run."""
    parameter: Json | None = mount.get(f"{_PARAMETER.get(field, field)}Parameter")
    if parameter is not None:
        name: str | None = parameter.get("runtimeValue", {}).get("constant")
        return name
    given: str | None = mount.get(field)
    return given


def _configs(view: View) -> Json:
    executors: Json = view.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    return executors


RULES: dict[str, Callable[[View], Iterator[str]]] = {
    "quantity": quantities,
    "platform-setting": known_settings,
    "platform-value": setting_values,
}
