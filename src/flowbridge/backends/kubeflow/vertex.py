"""Vertex AI Pipelines: the same pipelines, with what Vertex documents; submitted with Google's own client."""

from __future__ import annotations

import importlib
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.backends.base import PreparedRun
from flowbridge.backends.kubeflow.components import RUN
from flowbridge.backends.kubeflow.locks import refuse_local_packages
from flowbridge.backends.kubeflow.options import KubeflowOptions, options_of
from flowbridge.backends.kubeflow.resources import platform_config
from flowbridge.backends.kubeflow.submit import complete_pipeline, shown_parameters
from flowbridge.errors import BackendError, MissingExtraError
from flowbridge.records.finish import finalise
from flowbridge.records.models import RunNative
from flowbridge.records.watch import Watcher

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.models import RunState
    from flowbridge.settings import Profile

OVER = frozenset({"PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED"})
CANCELLED = "PIPELINE_STATE_CANCELLED"
_SETTINGS = {
    "secretAsEnv": "secrets as variables (let the step read Secret Manager)",
    "nodeSelector": "node selectors",
    "tolerations": "tolerations",
    "emptyDirMounts": "shm and disk",
    "genericEphemeralVolume": "volumes",
    "pvcMount": "volumes",
    "secretAsVolume": "volumes",
    "configMapAsVolume": "volumes",
    "imagePullSecret": "image pull secrets (use Artifact Registry)",
    "podMetadata": "pod labels and annotations",
}
_HARMLESS = frozenset({"activeDeadlineSeconds", "imagePullPolicy"})


def vertex_gaps(graph: FlowGraph, profile: Profile, options: KubeflowOptions) -> list[str]:
    """Return what Vertex AI Pipelines lacks of a flow and its settings."""
    found = [
        f"kubeflow.{name} is not set; Vertex needs it." for name in ("project", "location", "pipeline_root") if not getattr(options, name)
    ]
    if options.pipeline_root and not options.pipeline_root.startswith("gs://"):
        found.append(f"kubeflow.pipeline_root {options.pipeline_root!r} is not in a bucket of Google Cloud; write gs://bucket/path.")
    if not profile.store.startswith(("gs://", "gcs://", "s3://")):
        found.append(f"store: Vertex's machines cannot reach {profile.store!r}. Set a store such as store = 'gs://bucket/path'.")
    found += [
        f"step {s.id}: Vertex has no Kubeflow Trainer for nodes=. Leave it out, or run on Kubeflow itself."
        for s in graph.steps
        if s.nodes > 1
    ]
    for node in (None, *graph.steps):
        for setting in platform_config(node, options):
            if setting not in _HARMLESS and (node is None or setting not in platform_config(None, options)):
                who = "the kubeflow settings" if node is None else f"step {node.id}"
                found.append(f"{who}: Vertex has no {_SETTINGS.get(setting, setting)}. Leave it out, or run on Kubeflow itself.")
    return found


def submit_vertex(run: PreparedRun) -> VertexSubmission:
    """Start a run on Vertex AI Pipelines.

    Raises:
        MissingExtraError: google-cloud-aiplatform is not installed.
        BackendError: Vertex refused.
    """
    options = options_of(run.profile)
    platform = client()
    refuse_local_packages(run.record, run.store)
    pipeline = complete_pipeline(run.graph, run.store, run.profile, options)
    with tempfile.TemporaryDirectory(prefix="flowbridge-vertex-") as folder:
        path = Path(folder) / "pipeline.json"
        path.write_bytes(pipeline.data)
        try:
            job = platform.PipelineJob(
                display_name=f"{run.graph.name} {run.record.id}",
                template_path=str(path),
                pipeline_root=options.pipeline_root,
                parameter_values={RUN: run.record.id, **shown_parameters(run.graph, run.record.params)},
                enable_caching=False,
                project=options.project,
                location=options.location,
            )
            job.submit(service_account=options.service_account)
        except Exception as error:
            raise BackendError(
                f"Vertex AI Pipelines refused the run: {error}. Check project, location, pipeline_root and your rights"
            ) from error
    run.files.set_native(RunNative(backend="kubeflow", id=str(job.resource_name), url=_page(job)))
    return VertexSubmission(run=run, job=job, options=options)


def client() -> Any:
    """Return Google's client library.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module("google.cloud.aiplatform")
    except ImportError as error:
        raise MissingExtraError(
            "Submitting to Vertex AI Pipelines needs the package 'google-cloud-aiplatform', which is not installed: "
            "pip install google-cloud-aiplatform"
        ) from error


def _page(job: Any) -> str | None:
    make = getattr(job, "_dashboard_uri", None)
    return str(make()) if callable(make) else None


@dataclass
class VertexSubmission:
    """A run on Vertex AI Pipelines."""

    run: PreparedRun
    job: Any
    options: KubeflowOptions
    _watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        """Begin to follow the records."""
        self._watcher = Watcher(self.run.files)

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait until the run is over (or `timeout` seconds) and return its state."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            self._tell()
            ended = self.run.files.ended()
            if ended is not None:
                return ended.state
            state = str(getattr(self.job.state, "name", self.job.state))
            if state in OVER:
                end = finalise(self.run.graph, self.run.files, cancelled=state == CANCELLED)
                self._tell()
                return end.state
            if until is not None and time.monotonic() >= until:
                return "running"
            time.sleep(self.options.poll)

    def cancel(self) -> None:
        """End the run on Vertex, and close its records."""
        self.job.cancel()
        finalise(self.run.graph, self.run.files, cancelled=True)
        self._tell()

    def _tell(self) -> None:
        for event in self._watcher.poll():
            self.run.listener(event)
