"""The settings of the ``[profiles.X.metaflow]`` table as this backend uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from pydantic import Field

from flowbridge.ir.base import FrozenModel, JsonValue
from flowbridge.settings import backend_settings

if TYPE_CHECKING:
    from flowbridge.settings import Profile

Target = Literal["local", "kubernetes", "batch", "argo-workflows", "step-functions", "airflow"]
TARGETS: tuple[Target, ...] = get_args(Target)
Compute = Literal["local", "kubernetes", "batch"]

COMPUTE: dict[Target, Compute] = {
    "local": "local",
    "kubernetes": "kubernetes",
    "batch": "batch",
    "argo-workflows": "kubernetes",
    "step-functions": "batch",
    "airflow": "kubernetes",
}
"""Where the steps of a target run."""

DEPLOYED: tuple[Target, ...] = ("argo-workflows", "step-functions", "airflow")
"""Targets that are created once and then start by themselves; all their steps run in containers."""


class MetaflowOptions(FrozenModel):
    """Everything a profile may say about Metaflow.

    Attributes:
        target: What runs the flow.
        datastore: Where Metaflow keeps its own artifacts; None: ``local`` for the target ``local``, else what Metaflow is configured for.
        datastore_root: Folder or URL of that datastore; None: beside the store for ``local``, else what Metaflow is configured for.
        metadata: Metaflow's metadata provider; None: ``local`` for the target ``local``, else what Metaflow is configured for.
        max_workers: Tasks that Metaflow's local scheduler keeps going at once.
        image: Container image of steps that name none.
        kubernetes: Arguments of every ``@kubernetes``.
        batch: Arguments of every ``@batch``.
        install: What a container whose image lacks flowbridge installs: a requirement, such as ``flowbridge[metaflow,s3]``.
        gpu_label: Node label that `gpu_type` must match on Kubernetes.
        gpu_queues: For AWS Batch: the job queue whose machines have a kind of GPU.
        env: Variables for Metaflow's own processes, such as ``METAFLOW_DATASTORE_SYSROOT_S3``; nothing secret.
        cards: Whether each task gets a card.
        warm: Whether tasks on this machine are forked from a process that has flowbridge and the flow loaded already.
        trim: Whether Metaflow loads only those of its plug-ins that the flow needs; only for the target ``local``.
        dags: Airflow's folder of DAGs, where a deployment to it is written.
        python: Interpreter that Metaflow runs with; None: this one.
    """

    target: Target = "local"
    datastore: Literal["local", "s3", "azure", "gs"] | None = None
    datastore_root: str | None = None
    metadata: Literal["local", "service"] | None = None
    max_workers: int | None = Field(default=None, ge=1)
    image: str | None = None
    kubernetes: dict[str, JsonValue] = {}
    batch: dict[str, JsonValue] = {}
    install: str | None = None
    gpu_label: str = "nvidia.com/gpu.product"
    gpu_queues: dict[str, str] = {}
    env: dict[str, str] = {}
    cards: bool = True
    warm: bool = True
    trim: bool = True
    dags: str | None = None
    python: str | None = None

    @property
    def compute(self) -> Compute:
        """Where steps run that name no place of their own."""
        return COMPUTE[self.target]

    @property
    def deployed(self) -> bool:
        """The target is created once and starts by itself."""
        return self.target in DEPLOYED


def options_of(profile: Profile) -> MetaflowOptions:
    """Return the Metaflow settings of a profile.

    Raises:
        ConfigError: A setting is unknown, or has the wrong type or form; names each.
    """
    return backend_settings(profile, "metaflow", MetaflowOptions)
