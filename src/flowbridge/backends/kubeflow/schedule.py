"""Deployments: pipelines uploaded under a version for each digest of the flow, and recurring runs of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from flowbridge.backends.base import Deployed
from flowbridge.backends.kubeflow.begin import Deployment, save_deployment
from flowbridge.backends.kubeflow.compile import LONGEST_PIPELINE_NAME, pipeline_name
from flowbridge.backends.kubeflow.cron import cron_of
from flowbridge.backends.kubeflow.locks import refuse_local_packages
from flowbridge.backends.kubeflow.names import slug
from flowbridge.backends.kubeflow.options import options_of
from flowbridge.backends.kubeflow.rest import Server
from flowbridge.backends.kubeflow.submit import complete_pipeline, shown_parameters, source

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.backends.kubeflow.compile import Pipeline
    from flowbridge.backends.kubeflow.options import KubeflowOptions
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.models import RunRecord
    from flowbridge.settings import Profile

Json = dict[str, Any]
ABOUT = "flowbridge flow "
"""What the description of a pipeline begins with that flowbridge uploaded; the flow's name follows."""


def deployable(graph: FlowGraph, record: RunRecord, store: Store, profile: Profile) -> Pipeline:
    """Compile a flow so that runs of it can be started on the server, and put into the store what they need.

    Args:
        graph: The flow.
        record: A record like those of its runs, without an id; its parameters are the defaults.
        store: Where the flow's code bundle is already.
        profile: The settings in force.
    """
    options = options_of(profile)
    refuse_local_packages(record, store)
    page = Server(options).page("{id}", options.ui) if options.address else None
    digest = save_deployment(store, Deployment(run=record, page=page))
    return complete_pipeline(graph, store, profile, options, deployment=digest)


def deploy(graph: FlowGraph, record: RunRecord, store: Store, profile: Profile, *, name: str | None = None) -> Deployed:
    """Upload a flow, and start its recurring run where it has a schedule; one that is there under this name is replaced.

    Args:
        graph: The flow.
        record: A record like those of its runs, without an id.
        store: Where the flow's code bundle is already.
        profile: The settings in force.
        name: By which it goes on the server; None: its own.

    Raises:
        ConfigError: No server is set, or the schedule is not five fields of cron, or of a time zone that the server cannot be told.
        BackendError: The server did not answer, did not let us in, or refused.
    """
    options = options_of(profile)
    server = Server(options)
    cron = None if graph.schedule is None else cron_of(graph.schedule, options.schedule_timezone)
    pipeline = deployable(graph, record, store, profile)
    title, version = slug(name or graph.name, LONGEST_PIPELINE_NAME), version_name(graph, record, pipeline)
    ids = server.upload(title, version, pipeline.data, f"{ABOUT}{graph.name}")
    request = None
    if cron is not None:
        experiment = server.experiment(options.experiment or graph.name)
        request = recurring(graph, record, pipeline, profile, cron, experiment) | {"display_name": schedule_name(title)}
    schedule = _reschedule(server, title, request)
    return Deployed(name=version, id="/".join(ids), schedule=schedule, url=page_of(server, options, *ids))


def page_of(server: Server, options: KubeflowOptions, pipeline: str, version: str) -> str:
    """Return the URL of a version's page."""
    return f"{(options.ui or server.address).rstrip('/')}/#/pipelines/details/{pipeline}/version/{version}"


def version_name(graph: FlowGraph, record: RunRecord, pipeline: Pipeline) -> str:
    """Return the name of a flow's version: the flow's digest, and that of all that is uploaded, which changes with code, settings and parameters."""
    return f"{pipeline_name(graph)}-{record.graph_digest[:12]}-{hashlib.sha256(pipeline.data).hexdigest()[:8]}"


def recurring(graph: FlowGraph, record: RunRecord, pipeline: Pipeline, profile: Profile, cron: str, experiment: str) -> Json:
    """Return what is sent to start a recurring run."""
    options = options_of(profile)
    request: Json = {
        "display_name": schedule_name(pipeline_name(graph)),
        "experiment_id": experiment,
        "pipeline_spec": source(pipeline),
        "runtime_config": {"parameters": shown_parameters(graph, record.params)},
        "max_concurrency": "1",
        "no_catchup": True,
        "mode": "ENABLE",
        "trigger": {"cron_schedule": {"cron": cron}},
    }
    if options.service_account:
        request["service_account"] = options.service_account
    return request


def schedule_name(title: str) -> str:
    """Return the name of a deployment's recurring run."""
    return f"flowbridge {title}"


def _reschedule(server: Server, title: str, request: Json | None) -> str | None:
    """Start the new recurring run, then remove the older ones of this deployment, so that there is never none; without a new one, only that."""
    before = [s["recurring_run_id"] for s in server.schedules(schedule_name(title))]
    made = server.create_schedule(request) if request is not None else None
    for old in before:
        server.delete_schedule(old)
    return made
