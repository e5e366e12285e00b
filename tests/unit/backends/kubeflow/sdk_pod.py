"""One pod with every option, written with kfp's own SDK: what ours is compared with."""

from typing import Any

from google.protobuf.json_format import MessageToDict
from kfp import dsl, kubernetes


@dsl.container_component
def heavy():  # type: ignore[no-untyped-def]  # kfp refuses any annotation but its own
    return dsl.ContainerSpec(image="ghcr.io/me/train:1", command=["x"], args=[])


@dsl.pipeline(name="p")
def pipeline() -> None:
    task = heavy().set_cpu_limit("500m").set_cpu_request("500m").set_memory_limit("500M").set_memory_request("500M")
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
    task.set_retry(2, backoff_duration="10s", backoff_factor=2.0, backoff_max_duration="315360000s")
    kubernetes.set_timeout(task, 7800)
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="1Gi")
    kubernetes.empty_dir_mount(task, "scratch", "/flowbridge/scratch", size_limit="10Gi")
    kubernetes.use_secret_as_env(task, "hub", {"token": "TOKEN"})
    kubernetes.use_secret_as_env(task, "db", {"PASSWORD": "PASSWORD"})
    kubernetes.add_node_selector(task, "nvidia.com/gpu.product", "NVIDIA-A100")
    kubernetes.add_toleration(task, key="gpu", operator="Exists", effect="NoSchedule")
    kubernetes.mount_pvc(task, "data", "/data")
    kubernetes.use_secret_as_volume(task, "cert", "/cert")
    kubernetes.use_config_map_as_volume(task, "conf", "/conf")
    kubernetes.set_image_pull_secrets(task, ["registry"])
    kubernetes.set_image_pull_policy(task, "Always")
    kubernetes.add_pod_label(task, "team", "ml")
    kubernetes.add_pod_annotation(task, "note", "x")


def settings_and_resources() -> tuple[Any, Any, Any]:
    """Return the pod's Kubernetes settings, its resources and its retry policy, as the SDK writes them."""
    spec = MessageToDict(pipeline.pipeline_spec)
    executors = MessageToDict(pipeline.platform_spec)["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    container = spec["deploymentSpec"]["executors"]["exec-heavy"]["container"]
    return executors["exec-heavy"], container["resources"], spec["root"]["dag"]["tasks"]["heavy"]["retryPolicy"]
