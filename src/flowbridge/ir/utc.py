"""A cron expression of a time zone as one of UTC, where there is one that means the same."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from flowbridge.errors import ConfigError, suggest

_YEARS = 5
_HOUR, _DAY = 60, 24 * 60
_WEEK = 7
_NAMES = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}


def in_utc(cron: str, timezone: str, today: Callable[[], dt.date] = dt.date.today) -> str:
    """Return five fields in UTC that start at the same moments as five fields in a time zone.

    Args:
        cron: Minute, hour, day of the month, month, day of the week.
        timezone: IANA name.
        today: The day from which on the clocks must not be moved.

    Raises:
        ValueError: There are none; says why.
    """
    offset = _offset(timezone, today())
    minute, hour, day, month, weekday = cron.split()
    if not offset:
        return cron
    minutes, hours = _numbers(minute, 0, _HOUR - 1), _numbers(hour, 0, 23)
    moved = [h * _HOUR + m - offset for h, m in itertools.product(hours, minutes)]
    at = {moment % _DAY for moment in moved}
    new_hours, new_minutes = {moment // _HOUR for moment in at}, {moment % _HOUR for moment in at}
    if len(at) != len(new_hours) * len(new_minutes):
        raise ValueError(f"{cron!r} in {timezone} is at minutes that depend on the hour in UTC, which no single cron expression says")
    days = {moment // _DAY for moment in moved}
    if days != {0} and (day, month, weekday) != ("*", "*", "*"):
        if len(days) > 1 or day != "*" or month != "*":
            raise ValueError(f"{cron!r} in {timezone} is on another day in UTC, which no single cron expression says")
        shifted = {(number + days.copy().pop()) % _WEEK for number in _numbers(weekday.upper(), 0, _WEEK)}
        weekday = _text(shifted, _WEEK)
    return f"{_text(new_minutes, _HOUR)} {_text(new_hours, 24)} {day} {month} {weekday}"


def check_zone(zone: str, what: str) -> None:
    """Let the name of a time zone pass.

    Raises:
        ConfigError: There is no zone of that name.
    """
    known = available_timezones()
    if known and zone not in known:
        raise ConfigError(f"{what} {zone!r} is not the name of a zone, such as 'Europe/Berlin'.{suggest(zone, known)}")


def _offset(timezone: str, today: dt.date) -> int:
    """Return the minutes by which a time zone is ahead of UTC."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {timezone!r}") from None
    noon = dt.datetime.combine(today, dt.time(12), tzinfo=dt.timezone.utc)
    looks = (noon + dt.timedelta(days=7 * week) for week in range(52 * _YEARS))
    found = {at.astimezone(zone).utcoffset() for at in looks}
    (offset, *others) = found
    if others or offset is None:
        raise ValueError(f"the clocks of {timezone} are moved during the year, which a cron expression in UTC cannot follow")
    minutes, rest = divmod(int(offset.total_seconds()), 60)
    if rest:
        raise ValueError(f"{timezone} is not whole minutes from UTC")
    return minutes


def _numbers(field: str, least: int, most: int) -> set[int]:
    """Return the numbers that a field stands for.

    Raises:
        ValueError: It is written in a way that not every cron reads.
    """
    found: set[int] = set()
    for part in field.split(","):
        span, _, every = part.partition("/")
        first, _, last = span.partition("-")
        try:
            low = least if first in {"*", "?"} else _number(first)
            high = most if first in {"*", "?"} or (every and not last) else _number(last or first)
            found.update(range(low, high + 1, int(every or 1)))
        except (ValueError, KeyError):
            raise ValueError(f"{part!r} is nothing that can be brought to UTC; write numbers, lists and ranges") from None
    if not found or min(found) < least or max(found) > most:
        raise ValueError(f"{field!r} is not within {least} and {most}")
    return found


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _NAMES[text]


def _text(numbers: Iterable[int], all_of_them: int) -> str:
    """Return a field that stands for some numbers."""
    ordered = sorted(set(numbers))
    return "*" if len(ordered) == all_of_them else ",".join(map(str, ordered))
