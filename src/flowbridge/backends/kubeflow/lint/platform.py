"""Rules about resources and the Kubernetes settings of pods."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowbridge.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowbridge.backends.kubeflow.lint.view import Json, View

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_POLICIES = ("Always", "Never", "IfNotPresent")
FIELDS = frozenset(
    {
        "activeDeadlineSeconds",
        "configMapAsEnv",
        "configMapAsVolume",
        "emptyDirMounts",
        "enabledSharedMemory",
        "fieldPathAsEnv",
        "genericEphemeralVolume",
        "imagePullPolicy",
        "imagePullSecret",
        "nodeAffinity",
        "nodeSelector",
        "podAffinity",
        "podMetadata",
        "pvcMount",
        "secretAsEnv",
        "secretAsVolume",
        "securityContext",
        "tolerations",
    }
)
"""Of `KubernetesExecutorConfig` (`kubernetes_platform/proto/kubernetes_executor_config.proto`)."""


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
                yield f"platform settings of {label!r}: there is no setting {name!r}.{suggest(name, FIELDS)}"


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


def _mount_problems(config: Json) -> Iterator[str]:
    """Yield what is wrong with volumes: names and paths are unique in a pod, paths absolute."""
    seen: set[str] = set()
    kinds = ("emptyDirMounts", "genericEphemeralVolume", "pvcMount", "secretAsVolume", "configMapAsVolume")
    for mount in (m for kind in kinds for m in config.get(kind, ())):
        path = mount.get("mountPath", "")
        if not path.startswith("/"):
            yield f"the mount path {path!r} is not absolute"
        for name in {path, f"volume {mount['volumeName']}" if "volumeName" in mount else path}:
            if name in seen:
                yield f"{name} is mounted twice"
            seen.add(name)


def _configs(view: View) -> Json:
    executors: Json = view.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    return executors


RULES: dict[str, Callable[[View], Iterator[str]]] = {
    "quantity": quantities,
    "platform-setting": known_settings,
    "platform-value": setting_values,
}
