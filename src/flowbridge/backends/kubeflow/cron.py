"""Schedules as Kubeflow's scheduler reads them: six fields, in the one time zone that holds for the whole cluster."""

from __future__ import annotations

from flowbridge.errors import ConfigError
from flowbridge.ir.flow import Schedule
from flowbridge.ir.utc import check_zone, in_utc

FIELDS = 5
UTC = "UTC"
_UTC = frozenset({UTC, "Etc/UTC", "Zulu", "Etc/Zulu", "Etc/UCT", "UCT", "Universal", "Etc/Universal"})
_SUNDAY = "7"
_WEEK = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def cron_of(schedule: Schedule, clock: str = UTC) -> str:
    """Return a schedule as Kubeflow's scheduler reads it: with seconds in front, Sunday as 0, in the cluster's time zone.

    Its parser (`robfig/cron` 1.2, up to Kubeflow Pipelines 2.17) takes five fields for seconds, minutes, hours, day and month, so that a
    common five-field line sent as it is would run every hour; it knows no ``TZ=`` in front.

    Args:
        schedule: Five fields of cron; without a time zone, of the cluster's.
        clock: The cluster's time zone.

    Raises:
        ConfigError: It is not five fields, nobody knows the time zone, or nothing in the cluster's means the same.
    """
    fields = schedule.cron.split()
    if len(fields) != FIELDS:
        raise ConfigError(
            f"schedule {schedule.cron!r} has {len(fields)} fields; write minute, hour, day of month, month and day of week, as in '0 6 * * *'"
        )
    days = ",".join(_days(part, schedule.cron) for part in fields[-1].split(","))
    return f"0 {_on_clock(schedule, ' '.join([*fields[:-1], days]), clock)}"


def _on_clock(schedule: Schedule, cron: str, clock: str) -> str:
    """Return the fields of a schedule in the cluster's time zone."""
    zone = schedule.timezone
    if zone is None or zone == clock:
        return cron
    check_zone(zone, "timezone")
    way = (
        f"Kubeflow's scheduler has one time zone for all schedules: start the cluster with CRON_SCHEDULE_TIMEZONE={zone} "
        f"and tell it by kubeflow.schedule_timezone = {zone!r}, or write the schedule in {clock}"
    )
    if clock not in _UTC:
        raise ConfigError(
            f"schedule {schedule.cron!r} is of time zone {zone}, the cluster's is {clock} (kubeflow.schedule_timezone). {way}."
        )
    try:
        return in_utc(cron, zone)
    except ValueError as error:
        raise ConfigError(f"schedule {schedule.cron!r} of time zone {zone}: {error}. {way}.") from None


def schedule_of(cron: str, clock: str = UTC) -> Schedule:
    """Return a schedule from the form that Kubeflow's scheduler reads."""
    return Schedule(cron=" ".join(cron.split()[-FIELDS:]), timezone=clock)


def _days(part: str, cron: str) -> str:
    """Return a part of the days of the week with Sunday as 0; ranges that reach it from below are written out."""
    span, slash, step = part.partition("/")
    first, dash, last = span.partition("-")
    if not dash:
        return ("0" if first == _SUNDAY else first) + slash + step
    begin, end = _day(first), _day(last)
    if begin is None or end is None or (step and not step.isdigit()):
        raise ConfigError(f"schedule {cron!r}: {part!r} is no range of days of the week, such as 1-5 or MON-FRI")
    end = end or len(_WEEK) if end <= begin else end
    return ",".join(str(day % len(_WEEK)) for day in range(begin, end + 1, int(step or 1))) if end >= begin else part


def _day(text: str) -> int | None:
    if text.upper() in _WEEK:
        return _WEEK.index(text.upper())
    return int(text) if text.isdigit() and int(text) <= len(_WEEK) else None
