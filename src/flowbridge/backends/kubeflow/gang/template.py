"""What the pods of a gang are like, found when the flow is compiled: it travels in the arguments of the task that starts them.

Written after the API of Kubeflow Trainer (`pkg/apis/trainer/v1alpha1/trainjob_types.go`), as in 2.1 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.lint.platform import FIELDS
from flowbridge.backends.kubeflow.resources import container_resources, platform_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowbridge.backends.kubeflow.options import KubeflowOptions
    from flowbridge.ir.flow import FlowGraph, StepNode

Json = dict[str, Any]
GANG = "--gang"
HERE: Json = {"here": True}
_KEPT_BY_THE_LAUNCHER = "activeDeadlineSeconds"
_TOLERATION = frozenset({"key", "operator", "value", "effect", "tolerationSeconds"})


def gang_template(node: StepNode, image: str, options: KubeflowOptions) -> Json:
    """Return what the launcher of a gang is told about the gang's pods.

    Args:
        node: The step.
        image: Of its pods.
        options: The profile's settings.
    """
    if options.local:
        return HERE
    pod = Pod()
    for name, value in platform_config(node, options).items():
        if name in _TRANSLATED:
            _TRANSLATED[name](pod, value)
    env = [{"name": name, "value": value} for name, value in sorted(options.env.items())]
    return {
        "runtime": {"apiGroup": "trainer.kubeflow.org", "kind": options.gang_runtime_kind, "name": options.gang_runtime},
        "image": image,
        "env": [*env, *pod.env],
        "resources": kubernetes_resources(container_resources(node.resources, options)),
        **({"metadata": pod.metadata} if pod.metadata else {}),
        "pod": pod.spec(options.service_account),
        "poll": options.poll,
    }


def gang_gaps(graph: FlowGraph, options: KubeflowOptions) -> Iterator[str]:
    """Yield what the pods of a gang cannot have, with step names and the way out."""
    for node in graph.steps:
        if node.nodes == 1:
            continue
        if node.container is not None:
            yield f"step {node.id}: a container step cannot have nodes= on Kubeflow. Start the program from a Python step."
        if graph.batch_of(node):
            yield f"step {node.id}: nodes= inside a map with batch= is not possible on Kubeflow. Leave out batch=."
        if options.flavor == "open" and not options.local:
            yield from _unfit(node, options)


def _unfit(node: StepNode, options: KubeflowOptions) -> Iterator[str]:
    config = platform_config(node, options)
    for name in config:
        if name in FIELDS - _TRANSLATED.keys() and name != _KEPT_BY_THE_LAUNCHER:
            where = (
                "kubeflow.image_pull_policy" if name == "imagePullPolicy" and options.image_pull_policy else f"kubeflow={{{name!r}: ...}}"
            )
            yield f"step {node.id}: the pods of a TrainJob cannot be given {where}. Leave it out, or set it in the training runtime."
    pod = Pod()
    for name in _TRANSLATED.keys() & config:
        try:
            _TRANSLATED[name](pod, config[name])
        except KeyError as error:
            yield f"step {node.id}: kubeflow={{{name!r}: ...}} has no {error}, which the pods of a TrainJob need. Write it out."
    for toleration in config.get("tolerations", ()):
        unknown = sorted(set(toleration) - _TOLERATION)
        if unknown:
            yield f"step {node.id}: the tolerations of a TrainJob have no {', '.join(unknown)}. Write {', '.join(sorted(_TOLERATION))}."


def kubernetes_resources(container: Json) -> Json:
    """Return the resources of a pipeline's container as Kubernetes writes them."""
    found: Json = {"limits": {}, "requests": {}}
    for kind in ("Cpu", "Memory"):
        for field, bound in (("limits", "Limit"), ("requests", "Request")):
            amount = container.get(f"resource{kind}{bound}")
            if amount is not None:
                found[field][kind.lower()] = amount
    accelerator = container.get("accelerator")
    if accelerator is not None:
        found["limits"][accelerator["resourceType"]] = found["requests"][accelerator["resourceType"]] = accelerator["resourceCount"]
    return {name: amounts for name, amounts in found.items() if amounts}


class Pod:
    """The pod of one node while its settings are translated from those of kfp-kubernetes."""

    def __init__(self) -> None:
        self.env: list[Json] = []
        self.metadata: Json = {}
        self.fields: Json = {}
        self.volumes: list[Json] = []
        self.mounts: list[Json] = []

    def spec(self, service_account: str | None) -> Json:
        """Return what is patched into the runtime's pod."""
        found = {**({"serviceAccountName": service_account} if service_account else {}), **self.fields}
        if self.volumes:
            found["volumes"] = self.volumes
            found["containers"] = [{"name": "node", "volumeMounts": self.mounts}]
        return found

    def secret_env(self, given: list[Json]) -> None:
        """Take variables from secrets."""
        for secret in given:
            for pair in secret["keyToEnv"]:
                source = {"name": secret["secretName"], "key": pair["secretKey"]}
                self.env.append({"name": pair["envVar"], "valueFrom": {"secretKeyRef": source}})

    def config_map_env(self, given: list[Json]) -> None:
        """Take variables from config maps."""
        for config_map in given:
            for pair in config_map["keyToEnv"]:
                source = {"name": config_map["configMapName"], "key": pair["configMapKey"]}
                self.env.append({"name": pair["envVar"], "valueFrom": {"configMapKeyRef": source}})

    def field_env(self, given: list[Json]) -> None:
        """Take variables from fields of the pod."""
        self.env += [{"name": f["name"], "valueFrom": {"fieldRef": {"fieldPath": f["fieldPath"]}}} for f in given]

    def labelled(self, given: Json) -> None:
        """Take labels and annotations."""
        self.metadata = {name: dict(value) for name, value in given.items() if value}

    def selected(self, given: Json) -> None:
        """Take the labels that a node must have."""
        self.fields["nodeSelector"] = dict(given["labels"])

    def tolerates(self, given: list[Json]) -> None:
        """Take tolerations."""
        self.fields["tolerations"] = [dict(toleration) for toleration in given]

    def pulled_with(self, given: list[Json]) -> None:
        """Take the secrets that images are pulled with."""
        self.fields["imagePullSecrets"] = [{"name": secret["secretName"]} for secret in given]

    def _mount(self, name: str, path: str, source: Json, sub_path: str | None = None) -> None:
        self.volumes.append({"name": name, **source})
        self.mounts.append({"name": name, "mountPath": path, **({"subPath": sub_path} if sub_path else {})})

    def claims(self, given: list[Json]) -> None:
        """Mount claims."""
        for mount in given:
            claim = {"persistentVolumeClaim": {"claimName": mount["constant"]}}
            self._mount(f"volume-{len(self.volumes)}", mount["mountPath"], claim, mount.get("subPath"))

    def secrets(self, given: list[Json]) -> None:
        """Mount secrets."""
        for mount in given:
            source = {"secretName": mount["secretName"], "optional": bool(mount.get("optional"))}
            self._mount(f"volume-{len(self.volumes)}", mount["mountPath"], {"secret": source})

    def config_maps(self, given: list[Json]) -> None:
        """Mount config maps."""
        for mount in given:
            source = {"name": mount["configMapName"], "optional": bool(mount.get("optional"))}
            self._mount(f"volume-{len(self.volumes)}", mount["mountPath"], {"configMap": source})

    def empty(self, given: list[Json]) -> None:
        """Mount empty folders: scratch space, shared memory."""
        for mount in given:
            source = {key: mount[key] for key in ("medium", "sizeLimit") if mount.get(key)}
            self._mount(mount["volumeName"], mount["mountPath"], {"emptyDir": source})

    def ephemeral(self, given: list[Json]) -> None:
        """Mount volumes that live as long as the pod."""
        for mount in given:
            claim = {
                "accessModes": mount["accessModes"],
                "resources": {"requests": {"storage": mount["size"]}},
                "storageClassName": mount["storageClassName"],
            }
            self._mount(mount["volumeName"], mount["mountPath"], {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}})


_TRANSLATED: dict[str, Callable[[Pod, Any], None]] = {
    "configMapAsEnv": Pod.config_map_env,
    "configMapAsVolume": Pod.config_maps,
    "emptyDirMounts": Pod.empty,
    "fieldPathAsEnv": Pod.field_env,
    "genericEphemeralVolume": Pod.ephemeral,
    "imagePullSecret": Pod.pulled_with,
    "nodeSelector": Pod.selected,
    "podMetadata": Pod.labelled,
    "pvcMount": Pod.claims,
    "secretAsEnv": Pod.secret_env,
    "secretAsVolume": Pod.secrets,
    "tolerations": Pod.tolerates,
}
