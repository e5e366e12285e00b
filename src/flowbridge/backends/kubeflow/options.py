"""The settings of the ``[profiles.X.kubeflow]`` table as this backend uses them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from flowbridge.backends.kubeflow.cron import UTC
from flowbridge.backends.kubeflow.names import NAME_FORM, is_key, is_object_name
from flowbridge.errors import ConfigError
from flowbridge.ir.base import FrozenModel, JsonValue
from flowbridge.ir.resources import parse_bytes, parse_duration
from flowbridge.ir.utc import check_zone
from flowbridge.settings import backend_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowbridge.settings import Profile

LOCAL = "local"
_SECRET_WORDS = ("key", "secret", "token", "password", "credential", "sas")


class Volume(FrozenModel):
    """A volume of the cluster that every pod mounts; exactly one of `claim`, `secret` and `config_map` is set.

    Attributes:
        path: Where it is mounted.
        claim: Name of a PersistentVolumeClaim.
        secret: Name of a Secret.
        config_map: Name of a ConfigMap.
    """

    path: str
    claim: str | None = None
    secret: str | None = None
    config_map: str | None = None

    @field_validator("claim", "secret", "config_map")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value is not None and not is_object_name(value):
            raise ValueError(f"nothing in Kubernetes can be called {value!r}; names are {NAME_FORM}")
        return value


class KubeflowOptions(FrozenModel):
    """Everything a profile may say about Kubeflow.

    Attributes:
        host: URL of the API server; ``"local"`` runs the compiled pipeline with kfp's local runner.
        local_runner: Of ``host = "local"``: ``"subprocess"`` runs tasks with this Python, ``"docker"`` as containers of their images.
        namespace: Of the runs, where the server has several users.
        experiment: Runs are shown under it; None: the name of the flow.
        ui: URL of the web pages, where it is not `host`.
        token: Bearer token; `token_env` names a variable that holds it instead, `token_file` a file.
        cookies: Sent with every request, for servers behind a login page; `cookies_env` names a variable that holds them.
        ca_cert: File with the certificates to trust; `verify_tls` false trusts anyone.
        image: Of pods whose step names none.
        install: How a pod whose image lacks flowbridge gets it: a requirement, the URL of a wheel, the path of a wheel on this machine, or
            ``"this"`` for the flowbridge that is running; the last two go into the store. None: the version in use from an index, or
            ``"this"`` where it was installed from a folder.
        extras: Extras of flowbridge that pods need beside that of the store.
        service_account: Of the pods.
        secrets: Variable of the pod and the Kubernetes secret it comes from, ``"name/key"``; where a step's secret of that name is, too.
        env: Further variables of the pods; nothing secret.
        store_options: How pods open the store; None: as this machine does, without what looks like a credential.
        gpu_resource: The extended resource asked for by ``gpu=``.
        gpu_label: Node label that `gpu_type` must match.
        memory_overhead: What a pod whose step declares `memory` asks for beyond that, in bytes or as ``"256Mi"``: for what runs beside the step.
        disk_class: Storage class of the volume behind ``disk=``; None: an emptyDir with that size as its limit.
        gang_runtime: The training runtime of Kubeflow Trainer that steps with ``nodes=`` run under; its trainer job is called ``node``.
        gang_runtime_kind: Whether that is the cluster's or the namespace's own.
        deadline: Seconds after which a run that has not ended is cancelled by its submitter.
        poll: Seconds between two looks at a run.
        lineage: Whether outputs, metrics and a report are shown as artifacts of Kubeflow.
        flavor: ``"open"`` for Kubeflow itself, ``"vertex"`` for Vertex AI Pipelines.
        pipeline_root: Where the server keeps its own artifacts.
        schedule_timezone: Of the cluster's scheduler, as its CRON_SCHEDULE_TIMEZONE says.
        project: For Vertex.
        location: For Vertex.
    """

    host: str | None = None
    local_runner: Literal["subprocess", "docker"] = "subprocess"
    namespace: str | None = None
    experiment: str | None = None
    ui: str | None = None
    token: str | None = None
    token_env: str | None = None
    token_file: str | None = None
    cookies: str | None = None
    cookies_env: str | None = None
    ca_cert: str | None = None
    verify_tls: bool = True
    image: str = f"python:{sys.version_info.major}.{sys.version_info.minor}"
    image_pull_policy: Literal["Always", "Never", "IfNotPresent"] | None = None
    image_pull_secrets: tuple[str, ...] = ()
    install: str | None = None
    extras: tuple[str, ...] | None = None
    service_account: str | None = None
    secrets: dict[str, str] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    store_options: dict[str, JsonValue] | None = None
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, JsonValue], ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()
    gpu_resource: str = "nvidia.com/gpu"
    gpu_label: str = "nvidia.com/gpu.product"
    memory_overhead: int = Field(default=256 * 2**20, ge=0)
    disk_class: str | None = None
    gang_runtime: str = "torch-distributed"
    gang_runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime"
    deadline: float | None = Field(default=None, gt=0)
    poll: float = Field(default=2.0, gt=0)
    lineage: Literal["full", "none"] = "full"
    flavor: Literal["open", "vertex"] = "open"
    pipeline_root: str | None = None
    schedule_timezone: str = UTC
    project: str | None = None
    location: str | None = None

    @field_validator("memory_overhead", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> object:
        return parse_bytes(value) if isinstance(value, str) else value

    @field_validator("deadline", "poll", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("schedule_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            check_zone(value, "time zone")
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("secrets")
    @classmethod
    def _named_keys(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [f"{name} = {text!r}" for name, text in value.items() if len([p for p in text.split("/") if p]) != 2]  # noqa: PLR2004
        if wrong:
            raise ValueError(f"write a secret as 'name of the Kubernetes secret/key in it', not {', '.join(wrong)}")
        odd = [f"{name} = {text!r}" for name, text in value.items() if not _findable(*text.split("/"))]
        if odd:
            raise ValueError(f"{', '.join(odd)}: no Kubernetes secret can be called so; names are {NAME_FORM}")
        return value

    @field_validator("image_pull_secrets")
    @classmethod
    def _named_objects(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [repr(name) for name in value if not is_object_name(name)]
        if wrong:
            raise ValueError(f"no Kubernetes secret can be called {', '.join(wrong)}; names are {NAME_FORM}")
        return value

    @property
    def local(self) -> bool:
        """Whether the pipeline runs on this machine, under kfp's own runner."""
        return self.host == LOCAL

    @property
    def address(self) -> str | None:
        """The URL of a real server, without a slash at its end; None where there is none."""
        if self.host is None or self.local:
            return None
        host = self.host if "://" in self.host else f"https://{self.host}"
        return host.rstrip("/")


def options_of(profile: Profile) -> KubeflowOptions:
    """Return the Kubeflow settings of a profile.

    Raises:
        ConfigError: A setting has the wrong type or form; names each.
    """
    return backend_settings(profile, "kubeflow", KubeflowOptions)


def pod_store_options(profile: Profile, options: KubeflowOptions) -> dict[str, Any]:
    """Return how pods open the store. What looks like a credential never leaves this machine."""
    if options.store_options is not None:
        return dict(options.store_options)
    return {} if options.local else _without_secrets(profile.store_options)


def hidden_store_options(profile: Profile) -> list[str]:
    """Return the names of the store options that are kept from the pods because they look like credentials."""
    return sorted(set(_flat(profile.store_options)) - set(_flat(_without_secrets(profile.store_options))))


def _findable(name: str, key: str) -> bool:
    return is_object_name(name) and is_key(key)


def looks_secret(name: str) -> bool:
    """Say whether an option of that name may hold a credential."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def _without_secrets(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _without_secrets(member) if isinstance(member, dict) else member for key, member in value.items() if not looks_secret(key)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, member in value.items():
        names += _flat(member, f"{prefix}{key}.") if isinstance(member, dict) else [prefix + key]
    return names
