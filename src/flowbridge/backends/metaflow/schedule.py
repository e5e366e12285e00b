"""Cron expressions as Metaflow's targets want them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowbridge.backends.metaflow.options import Target

_FIELDS = 5
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def cron_for(cron: str, target: Target) -> str:
    """Return a cron expression of five fields as a target takes it.

    AWS (Step Functions) has six: a year at the end, ``?`` for one of the two days, and days of the week counted from 1.

    Raises:
        ValueError: It has not five fields, or names days of the month and of the week together, which AWS cannot say.
    """
    fields = cron.split()
    if len(fields) != _FIELDS:
        raise ValueError(f"{cron!r} is not a cron expression of five fields (minute hour day month weekday)")
    if target != "step-functions":
        return cron
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        raise ValueError(f"AWS cannot say {cron!r}: it takes days of the month or days of the week, not both")
    if weekday == "*":
        return f"{minute} {hour} {day} {month} ? *"
    named = re.sub(r"(?<![/#\w])[0-7](?!\w)", lambda found: _DAYS[int(found.group())], weekday)
    return f"{minute} {hour} ? {month} {named} *"
