"""Cron expressions as Metaflow's targets want them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowbridge.ir.utc import in_utc

if TYPE_CHECKING:
    from flowbridge.backends.metaflow.options import Target

_FIELDS = 5
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


IN_UTC: tuple[Target, ...] = ("step-functions", "airflow")
"""Targets for which Metaflow takes no time zone."""


def cron_for(cron: str, target: Target, timezone: str | None = None) -> str:
    """Return a cron expression of five fields as a target takes it.

    AWS (Step Functions) has six: a year at the end, ``?`` for one of the two days, and days of the week counted from 1.

    Args:
        cron: The expression.
        target: The target.
        timezone: Of the expression; None: UTC. For a target that takes none, it is brought to UTC.

    Raises:
        ValueError: It has not five fields, names days of the month and of the week together, which AWS cannot say, or is none in UTC.
    """
    fields = cron.split()
    if len(fields) != _FIELDS:
        raise ValueError(f"{cron!r} is not a cron expression of five fields (minute hour day month weekday)")
    if timezone is not None and target in IN_UTC:
        cron = in_utc(cron, timezone)
        fields = cron.split()
    if target != "step-functions":
        return cron
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        raise ValueError(f"AWS cannot say {cron!r}: it takes days of the month or days of the week, not both")
    if weekday == "*":
        return f"{minute} {hour} {day} {month} ? *"
    named = re.sub(r"(?<![/#\w])[0-7](?!\w)", lambda found: _DAYS[int(found.group())], weekday)
    return f"{minute} {hour} ? {month} {named} *"
