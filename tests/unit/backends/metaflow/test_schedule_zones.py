"""A schedule's time zone reaches the file: brought to UTC for the targets that take none."""

from __future__ import annotations

import pytest

from flowbridge.backends.metaflow.compile import compile_flow
from flowbridge.ir.flow import Schedule
from tests.unit.backends.metaflow.make import graph, profile, step


@pytest.mark.parametrize(("target", "cron"), [("step-functions", 'cron="0 21 ? * SUN *"'), ("airflow", 'cron="0 21 * * 0"')])
def test_the_file_names_the_hour_of_utc(target: str, cron: str) -> None:
    flow = graph(step("a"), schedule=Schedule(cron="0 6 * * 1", timezone="Asia/Tokyo"))
    assert f"@schedule({cron})" in compile_flow(flow, profile(target=target)).text
    assert 'timezone="Asia/Tokyo"' in compile_flow(flow, profile(target="argo-workflows")).text
