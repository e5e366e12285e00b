"""Deployments: pipelines uploaded under a version for each digest of the flow, and recurring runs of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowbridge.backends.base import Deployed
from flowbridge.backends.kubeflow.begin import Deployment, save_deployment
from flowbridge.backends.kubeflow.compile import Pipeline, pipeline_name
from flowbridge.backends.kubeflow.locks import refuse_local_packages
from flowbridge.backends.kubeflow.options import options_of
from flowbridge.backends.kubeflow.rest import Server
from flowbridge.backends.kubeflow.submit import complete_pipeline, shown_parameters, source
from flowbridge.errors import ConfigError

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.ir.flow import FlowGraph, Schedule
    from flowbridge.records.models import RunRecord
    from flowbridge.settings import Profile

Json = dict[str, Any]
FIELDS = 5
_SUNDAY = "7"


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


def deploy(graph: FlowGraph, record: RunRecord, store: Store, profile: Profile) -> Deployed:
    """Upload a flow, and start its recurring run where it has a schedule; one of the same flow that is there is replaced.

    Raises:
        ConfigError: No server is set, or the schedule is not five fields of cron.
        BackendError: The server did not answer, did not let us in, or refused.
    """
    options = options_of(profile)
    server = Server(options)
    cron = None if graph.schedule is None else cron_of(graph.schedule)
    pipeline = deployable(graph, record, store, profile)
    name = version_name(graph, record)
    ids = server.upload(pipeline_name(graph), name, pipeline.data)
    schedule = None
    if cron is not None:
        experiment = server.experiment(options.experiment or graph.name)
        schedule = _reschedule(server, graph, recurring(graph, record, pipeline, profile, cron, experiment))
    url = f"{(options.ui or server.address).rstrip('/')}/#/pipelines/details/{ids[0]}/version/{ids[1]}"
    return Deployed(name=name, id="/".join(ids), schedule=schedule, url=url)


def version_name(graph: FlowGraph, record: RunRecord) -> str:
    """Return the name of a flow's version: it changes with the flow and with its code."""
    return f"{pipeline_name(graph)}-{record.graph_digest[:12]}-{(record.bundle or '').split(':')[-1][:8]}".rstrip("-")


def recurring(graph: FlowGraph, record: RunRecord, pipeline: Pipeline, profile: Profile, cron: str, experiment: str) -> Json:
    """Return what is sent to start a recurring run."""
    options = options_of(profile)
    request: Json = {
        "display_name": schedule_name(graph),
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


def schedule_name(graph: FlowGraph) -> str:
    """Return the name of a flow's recurring run."""
    return f"flowbridge {graph.name}"


def _reschedule(server: Server, graph: FlowGraph, request: Json) -> str:
    """Start the new recurring run, then remove the older ones of this flow, so that there is never none."""
    before = [s["recurring_run_id"] for s in server.schedules(schedule_name(graph))]
    made = server.create_schedule(request)
    for old in before:
        server.delete_schedule(old)
    return made


def cron_of(schedule: Schedule) -> str:
    """Return a schedule as Kubeflow's scheduler reads it: with seconds in front, Sunday as 0, and the time zone before all.

    Its parser takes five fields for seconds, minutes, hours, day and month (`robfig/cron` 1.2), so that a common five-field line sent as
    it is would run every hour.

    Raises:
        ConfigError: It is not five fields.
    """
    fields = schedule.cron.split()
    if len(fields) != FIELDS:
        raise ConfigError(
            f"schedule {schedule.cron!r} has {len(fields)} fields; write minute, hour, day of month, month and day of week, as in '0 6 * * *'"
        )
    days = ",".join("0" if day == _SUNDAY else day for day in fields[-1].split(","))
    zone = f"TZ={schedule.timezone} " if schedule.timezone else ""
    return f"{zone}0 {' '.join(fields[:-1])} {days}"
