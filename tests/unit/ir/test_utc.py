"""A schedule of a time zone is brought to UTC only where the two mean the same moments."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowbridge.ir.utc import _numbers, in_utc


@pytest.mark.parametrize(
    ("cron", "zone", "wanted"),
    [
        ("0 6 * * 1", "UTC", "0 6 * * 1"),
        ("0 9 * * *", "Asia/Tokyo", "0 0 * * *"),
        ("0 6 * * *", "Asia/Tokyo", "0 21 * * *"),
        ("0 6 * * 1", "Asia/Tokyo", "0 21 * * 0"),
        ("0 6 * * MON-FRI", "Asia/Tokyo", "0 21 * * 0,1,2,3,4"),
        ("0 12 1 * *", "Asia/Tokyo", "0 3 1 * *"),
        ("15,45 8-10 * * *", "Asia/Kolkata", None),
        ("15 8-10 * * *", "Asia/Kolkata", "45 2,3,4 * * *"),
        ("30 * * * *", "Asia/Kolkata", "0 * * * *"),
        ("*/20 * * * *", "Asia/Tokyo", "0,20,40 * * * *"),
        ("0 20 * * 6", "America/Bogota", "0 1 * * 0"),
        ("0 6 1 * *", "Asia/Tokyo", None),
        ("0 6,12 * * 1", "Asia/Tokyo", None),
        ("0 6 * 3 *", "Asia/Tokyo", None),
        ("0 6 * * *", "Europe/Berlin", None),
        ("0 6 * * *", "Africa/Casablanca", None),
        ("0 6 * * *", "Moon/Sea", None),
        ("0 25 * * *", "Asia/Tokyo", None),
        ("0 6h * * *", "Asia/Tokyo", None),
    ],
)
def test_by_hand(cron: str, zone: str, wanted: str | None) -> None:
    if wanted is None:
        with pytest.raises(ValueError, match=r"UTC|no time zone|within"):
            in_utc(cron, zone)
    else:
        assert in_utc(cron, zone) == wanted


def moments(cron: str, zone: dt.tzinfo) -> set[dt.datetime]:
    """The moments of two weeks at which a cron expression starts something."""
    minute, hour, _, _, weekday = cron.split()
    minutes, hours, days = _numbers(minute, 0, 59), _numbers(hour, 0, 23), {n % 7 for n in _numbers(weekday, 0, 7)}
    first = dt.date(2026, 3, 1)
    dates = (first + dt.timedelta(days=n) for n in range(16))
    made = (dt.datetime.combine(d, dt.time(h, m), tzinfo=zone) for d in dates if d.isoweekday() % 7 in days for h in hours for m in minutes)
    utc = (at.astimezone(dt.timezone.utc) for at in made)
    return {at for at in utc if dt.date(2026, 3, 2) < at.date() < dt.date(2026, 3, 15)}


fields = st.tuples(
    st.sampled_from(["0", "30", "*/15", "5,35", "*"]),
    st.sampled_from(["*", "0", "23", "6-9", "*/6", "1,13"]),
    st.sampled_from(["*", "0", "7", "1-5", "6", "2,4"]),
)


@settings(deadline=None)
@given(fields, st.sampled_from(["Asia/Tokyo", "Asia/Kolkata", "Pacific/Kiritimati", "America/Bogota", "Asia/Kathmandu"]))
def test_what_is_taken_means_the_same_moments(parts: tuple[str, str, str], zone: str) -> None:
    from zoneinfo import ZoneInfo

    cron = f"{parts[0]} {parts[1]} * * {parts[2]}"
    try:
        found = in_utc(cron, zone)
    except ValueError:
        return
    assert moments(found, dt.timezone.utc) == moments(cron, ZoneInfo(zone))
