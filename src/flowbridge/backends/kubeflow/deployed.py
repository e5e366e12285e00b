"""What was deployed: uploaded pipelines of flowbridge's, with their recurring runs; listed and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowbridge.backends.base import Listed
from flowbridge.backends.kubeflow.cron import schedule_of
from flowbridge.backends.kubeflow.options import options_of
from flowbridge.backends.kubeflow.rest import NotOnServerError, Server
from flowbridge.backends.kubeflow.schedule import ABOUT, page_of, schedule_name
from flowbridge.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowbridge.backends.kubeflow.options import KubeflowOptions
    from flowbridge.settings import Profile

Json = dict[str, Any]
_OFF = frozenset({"DISABLE", "DISABLED"})


def deployments(profile: Profile) -> list[Listed]:
    """Return the flows that were uploaded to the server of a profile, by name.

    Raises:
        ConfigError: No server is set.
        BackendError: The server did not answer, or did not let us in.
    """
    options = options_of(profile)
    server = Server(options)
    schedules = {s.get("display_name"): s for s in server.schedules()}
    return [_listed(server, options, pipeline, schedules) for pipeline in _ours(server)]


def undeploy(name: str, profile: Profile) -> Listed:
    """Remove an uploaded flow with its recurring run; the runs it started stay.

    Raises:
        ConfigError: No server is set.
        NotOnServerError: flowbridge uploaded nothing under that name.
        BackendError: The server did not answer, did not let us in, or refused.
    """
    options = options_of(profile)
    server = Server(options)
    pipelines = _ours(server)
    names = [title_of(p) for p in pipelines]
    if name not in names:
        known = f" It has: {', '.join(names)}." if names else ""
        raise NotOnServerError(f"{server.address} has no deployment {name!r} of flowbridge's.{suggest(name, names)}{known}")
    pipeline = pipelines[names.index(name)]
    schedules = server.schedules(schedule_name(name))
    found = _listed(server, options, pipeline, {s.get("display_name"): s for s in schedules})
    for schedule in schedules:
        server.delete_schedule(str(schedule["recurring_run_id"]))
    server.delete_pipeline(str(pipeline["pipeline_id"]))
    return found


def title_of(pipeline: Mapping[str, Any]) -> str:
    """Return the name that a pipeline goes by."""
    return str(pipeline.get("name") or pipeline.get("display_name"))


def _ours(server: Server) -> list[Json]:
    return sorted((p for p in server.pipelines() if str(p.get("description", "")).startswith(ABOUT)), key=title_of)


def _listed(server: Server, options: KubeflowOptions, pipeline: Json, schedules: Mapping[str | None, Json]) -> Listed:
    name = title_of(pipeline)
    versions: Sequence[Json] = [v for v in server.versions(pipeline["pipeline_id"]) if v.get("display_name") != name]
    latest: Json = versions[0] if versions else {}
    schedule = schedules.get(schedule_name(name))
    sent = None if schedule is None else str(schedule.get("trigger", {}).get("cron_schedule", {}).get("cron", ""))
    cron = None if sent is None else schedule_of(sent, options.schedule_timezone)
    return Listed(
        name=name,
        flow=str(pipeline["description"]).removeprefix(ABOUT),
        version=latest.get("display_name"),
        cron=cron.cron if cron is not None else None,
        timezone=cron.timezone if cron is not None else None,
        on=None if schedule is None else (schedule.get("status") or schedule.get("mode")) not in _OFF,
        created=latest.get("created_at"),
        url=page_of(server, options, pipeline["pipeline_id"], latest["pipeline_version_id"]) if latest else None,
    )
