"""The run that a pod belongs to: found in the store, or begun there from its deployment when somebody started it on the server."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from flowbridge.backends.kubeflow.parameters import given
from flowbridge.errors import BackendError, ParameterError, RunNotFoundError
from flowbridge.ir.base import FrozenModel
from flowbridge.ir.flow import FlowGraph
from flowbridge.records.files import RunFiles
from flowbridge.records.models import RunNative, RunRecord

if TYPE_CHECKING:
    from flowbridge.artifacts.reference import Reference
    from flowbridge.artifacts.store import Store
    from flowbridge.backends.kubeflow.pod import Job
    from flowbridge.ir.base import JsonValue


class Deployment(FrozenModel):
    """A flow as it was deployed: everything a run of it needs but its id and what is set when it starts.

    Attributes:
        run: The record of its runs, without id and time; its parameters are the defaults.
        page: URL of a run's page, with ``{id}`` for the run's id on the server.
    """

    run: RunRecord
    page: str | None = None


def save_deployment(store: Store, deployment: Deployment) -> str:
    """Put a deployment into the store and return the digest it goes by."""
    return store.put_bytes(deployment.model_dump_json().encode())


def find_or_begin(job: Job, store: Store) -> RunFiles:
    """Return the records of the pod's run.

    Raises:
        BackendError: The run was begun on the server, and the pipeline belongs to no deployment.
        ParameterError: A parameter set on the server does not fit the flow.
        RunNotFoundError: flowbridge submitted the run, but the store does not have it.
    """
    files = RunFiles(store.content, job.flow, job.run_id)
    try:
        files.run()
    except RunNotFoundError:
        if job.inputs.get("run-id"):
            raise
        return _begin(job, store)
    return files


def _begin(job: Job, store: Store) -> RunFiles:
    if job.deployment is None:
        raise BackendError(
            f"Flow {job.flow!r} was compiled without a deployment, so a run started on the server has no code: "
            f"start it with flowbridge (flowbridge run ... --backend kubeflow), or compile it with a store at hand (flowbridge deploy)"
        )
    deployment = Deployment.model_validate_json(store.get_bytes(job.deployment))
    graph = graph_of(store, deployment.run)
    try:
        params = given(graph, job.inputs)
    except ValueError as error:
        raise ParameterError(f"Flow {job.flow!r}: {error}") from error
    record = _record(job, store, deployment.run, params)
    missing = [p.name for p in graph.parameters if p.name not in dict(record.param_refs)]
    if missing:
        raise ParameterError(f"Flow {job.flow!r} needs the parameter {', '.join(missing)}, which was not set when the run was started")
    try:
        files = RunFiles.create(store.content, record)
    except FileExistsError:  # another first task was faster
        return RunFiles(store.content, job.flow, job.run_id)
    native = str(job.inputs["job-id"])
    files.set_native(RunNative(backend="kubeflow", id=native, url=deployment.page.replace("{id}", native) if deployment.page else None))
    return files


def graph_of(store: Store, record: RunRecord) -> FlowGraph:
    """Return the flow of a run or a deployment."""
    value = store.load(record.graph)
    return FlowGraph.model_validate_json(value) if isinstance(value, (str, bytes)) else FlowGraph.model_validate(value)


def _record(job: Job, store: Store, template: RunRecord, params: dict[str, JsonValue]) -> RunRecord:
    refs: dict[str, Reference] = dict(template.param_refs)
    refs |= {name: store.save(value, name=f"parameter {name!r}") for name, value in params.items()}
    return template.model_copy(
        update={
            "id": job.run_id,
            "created": time.time(),
            "params": {**template.params, **params},
            "param_refs": tuple(refs.items()),
            "host": os.environ.get("KFP_POD_NAME", ""),
        }
    )
