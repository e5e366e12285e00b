"""``flowbridge deploy`` on a small server: uploads, schedules with time zones, listing, removing, and what is refused."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.backends.kubeflow import rest
from flowbridge.backends.kubeflow.cron import cron_of, schedule_of
from flowbridge.cli.main import call
from flowbridge.errors import ConfigError
from flowbridge.ir.flow import Schedule
from flowbridge.records.files import RunFiles
from tests.unit.backends.kubeflow.fake_server import FakeServer, Refusal, check_cron

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOWS = """
from flowbridge import flow, step

@step
def size(path: str, n: int) -> int:
    return len(path) * n

@flow(schedule="0 6 * * *", timezone="Asia/Tokyo")
def nightly(path: str, n: int = 2) -> int:
    return size(path, n)

@flow(schedule="0 6 * * *", timezone="Europe/Berlin")
def berlin(name: str = "x") -> int:
    return size(name, 1)

@flow
def by_hand(path: str = "ab") -> int:
    return size(path, 1)

@flow(schedule="15 5 * * SUN")
def weekly(name: str = "x") -> int:
    return size(name, 1)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server, and a user's folder with flows and with its address in the configuration."""
    server = FakeServer()
    (tmp_path / "mine.py").write_text(FLOWS)
    volumes = f'[{{path = "{tmp_path}", claim = "x"}}]'
    (tmp_path / "flowbridge.toml").write_text(
        f'default_profile = "cluster"\n[profiles.cluster]\nbackend = "kubeflow"\nstore = "{tmp_path / "store"}"\n'
        f'[profiles.cluster.kubeflow]\nhost = "{server.address}"\nimage = "python:3.11"\ninstall = "flowbridge"\nvolumes = {volumes}\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rest, "PAUSE", 0.0)
    yield server
    sys.modules.pop("mine", None)
    server.close()


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert call(["deploy", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what is told; nothing is left on the server."""
    capsys.readouterr()
    assert call(["deploy", *words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    return told.err


def test_schedule_has_the_flows_time_zone_and_its_runs_the_parameters(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = as_json(capsys, "mine.py:nightly", "--path", "abc")
    assert told["schedule"] == {"cron": "0 6 * * *", "timezone": "Asia/Tokyo", "id": next(iter(fake.schedules))}
    (schedule,) = fake.schedules.values()
    assert schedule["trigger"] == {"cron_schedule": {"cron": "0 0 21 * * *"}}
    native = fake.fire(schedule["recurring_run_id"])
    assert fake.wait(native) == "SUCCEEDED"
    files = RunFiles(Store.open(str(tmp_path / "store")).content, "nightly", f"kfp-{native}")
    assert files.run().params == {"path": "abc", "n": 2}
    record = files.result("size", (), retries=0)
    assert record is not None
    assert Store.open(str(tmp_path / "store")).load(record.output("result")) == 6


def test_version_is_named_by_the_digest(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    first, again = as_json(capsys, "mine.py:by_hand"), as_json(capsys, "mine.py:by_hand")
    assert first == again
    assert first["version"].startswith("by-hand-")
    changed = as_json(capsys, "mine.py:by_hand", "--schedule", "0 7 * * 1-5")
    assert changed["version"] != first["version"]
    assert changed["id"].split("/")[0] == first["id"].split("/")[0]
    assert changed["url"].startswith(f"{fake.address}/#/pipelines/details/")


def test_plain_output(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["deploy", "mine.py:nightly", "--path", "a"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Deployed nightly as nightly-")
    assert lines[1] == "Schedule: 0 6 * * * (Asia/Tokyo)"
    assert lines[2].startswith(fake.address)
    assert call(["deploy", "mine.py:by_hand"]) == 0
    assert "No schedule: runs are started there by hand" in capsys.readouterr().out


def test_one_flow_is_deployed_under_several_names(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    as_json(capsys, "mine.py:by_hand", "--name", "Small ones", "--schedule", "0 1 * * *", "--path", "a")
    as_json(capsys, "mine.py:by_hand", "--name", "large", "--schedule", "0 2 * * *", "--timezone", "Asia/Tokyo", "--path", "abcdef")
    as_json(capsys, "mine.py:nightly", "--path", "a", "--schedule", "none")
    listed = {d["name"]: d for d in as_json(capsys, "--list")}
    assert list(listed) == ["large", "nightly", "small-ones"]
    assert (listed["large"]["flow"], listed["large"]["cron"], listed["large"]["timezone"]) == ("by_hand", "0 17 * * *", "UTC")
    assert (listed["nightly"]["cron"], listed["nightly"]["on"]) == (None, None)
    assert listed["large"]["on"] is True
    assert len(fake.schedules) == 2
    assert {s["runtime_config"]["parameters"]["path"] for s in fake.schedules.values()} == {"a", "abcdef"}


def test_list_as_a_table(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["deploy", "--list"]) == 0
    assert "Nothing is deployed" in capsys.readouterr().out
    assert call(["deploy", "mine.py:weekly"]) == 0
    capsys.readouterr()
    assert call(["deploy", "--list"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["NAME", "FLOW", "VERSION"]
    assert row.split()[:2] == ["weekly", "weekly"]
    assert "15 5 * * SUN" in row
    del fake


def test_removing_takes_the_schedule_too(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    as_json(capsys, "mine.py:weekly")
    as_json(capsys, "mine.py:by_hand")
    fake._upload(
        {"name": "of somebody else"},
        b'\r\n\r\n{"pipelineInfo": {"name": "x"}, "root": {"dag": {"tasks": {}}}, "components": {}, "deploymentSpec": {}}\r\n--',
    )
    assert call(["deploy", "--remove", "weekly"]) == 0
    assert capsys.readouterr().out == "Removed weekly and its schedule\n"
    assert fake.schedules == {}
    assert [d["name"] for d in as_json(capsys, "--list")] == ["by-hand"]
    told = refused(capsys, "--remove", "of somebody else")
    assert "no deployment 'of somebody else' of flowbridge's" in told
    assert "by-hand" in refused(capsys, "--remove", "by-hnd")


def test_deploying_without_a_schedule_ends_the_one_before(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    as_json(capsys, "mine.py:weekly")
    assert len(fake.schedules) == 1
    as_json(capsys, "mine.py:weekly", "--schedule", "none")
    assert fake.schedules == {}


WRONG = [
    (["mine.py:nightly"], "the parameter path has no value"),
    (["mine.py:nightly", "--path", "a", "--n", "many"], "n"),
    (["mine.py:nightly", "--pth", "a"], "--path"),
    (["mine.py:weekly", "--schedule", "0 6 *"], "is not five fields"),
    (["mine.py:weekly", "--timezone", "Europe/Belin"], "Europe/Berlin"),
    (["mine.py:by_hand", "--timezone", "Europe/Berlin"], "without a schedule"),
    (["mine.py:by_hand", "--schedule", "none", "--timezone", "UTC"], "without a schedule"),
    (["mine.py:by_hand", "--backend", "local"], "nothing there starts runs by itself"),
    (["mine.py:by_hand", "--list"], "not mine.py:by_hand and --list"),
    ([], "one of them is needed"),
    (["--list", "--schedule", "0 6 * * *"], "nothing of a flow's"),
    (["--list", "--backend", "metaflow"], "keeps no list"),
    (["nobody.py"], "nobody.py"),
]


@pytest.mark.parametrize(("words", "told"), WRONG)
def test_wrong_calls_end_with_2_and_leave_nothing(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert told in refused(capsys, *words)
    assert fake.schedules == {}
    assert fake.uploads == []


def test_server_that_refuses_or_is_not_there(fake: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fake.token = "t"
    assert "check kubeflow.token" in refused(capsys, "mine.py:by_hand")
    assert "check kubeflow.token" in refused(capsys, "--list")
    fake.token = None
    fake.fail_next = {"POST /recurringruns": [(400, "Schedule cron is not a supported format")]}
    assert "not a supported format" in refused(capsys, "mine.py:weekly")
    monkeypatch.setenv("FLOWBRIDGE_KUBEFLOW__HOST", "http://127.0.0.1:9")
    assert "No Kubeflow Pipelines server answers" in refused(capsys, "--list")
    monkeypatch.setenv("FLOWBRIDGE_KUBEFLOW__HOST", "local")
    assert "kubeflow.host is not set" in refused(capsys, "mine.py:by_hand")


CRONS = [
    ("0 6 * * *", "0 0 6 * * *"),
    ("*/5 * * * 7", "0 */5 * * * 0"),
    ("0 6 * * 5-7", "0 0 6 * * 5,6,0"),
    ("0 6 * * MON-SUN", "0 0 6 * * 1,2,3,4,5,6,0"),
    ("0 6 * * 1-5", "0 0 6 * * 1,2,3,4,5"),
    ("0 6 * * 1-7/2", "0 0 6 * * 1,3,5,0"),
    ("0 6 * * MON,7", "0 0 6 * * MON,0"),
]


@pytest.mark.parametrize(("ours", "theirs"), CRONS)
def test_days_are_written_as_the_scheduler_reads_them(ours: str, theirs: str) -> None:
    assert cron_of(Schedule(cron=ours)) == theirs
    assert cron_of(Schedule(cron=ours, timezone="UTC")) == theirs
    check_cron(theirs)


def test_schedule_is_read_back() -> None:
    schedule = Schedule(cron="0 6 * * 1", timezone="Asia/Tokyo")
    assert schedule_of(cron_of(schedule, "Asia/Tokyo"), "Asia/Tokyo") == schedule
    assert schedule_of(cron_of(schedule)) == Schedule(cron="0 21 * * 0", timezone="UTC")


def test_the_fake_reads_cron_as_the_server_does() -> None:
    for good in ("0 0 6 * * 1-5", "0 */5 * * *", "0 0 6 ? jan,DEC mon-FRI/2", "0 5/10 * * * 0"):
        check_cron(good)
    bad = (
        "TZ=UTC 0 0 6 * * 1",
        "TZ=UTC 0 6 * * 1",
        "0 6 * *",
        "0 0 6 * * 7",
        "0 0 6 * * 5-2",
        "0 0 24 * * *",
        "0 0 6 0 * *",
        "0 */0 * * * *",
    )
    for text in bad:
        with pytest.raises(Refusal, match="not a supported format"):
            check_cron(text)


def test_zone_that_the_scheduler_cannot_follow_is_refused_before_anything_is_uploaded(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("mine.py:weekly", "--timezone", "Europe/Berlin")
    told = refused(capsys, *words)
    assert "the clocks of Europe/Berlin are moved during the year" in told
    assert "kubeflow.schedule_timezone = 'Europe/Berlin'" in told
    assert (fake.uploads, fake.schedules) == ([], {})
    assert call(["check", "mine.py:berlin"]) == 0
    assert "cannot be deployed: schedule '0 6 * * *' of time zone Europe/Berlin" in capsys.readouterr().out
    monkeypatch.setenv("FLOWBRIDGE_KUBEFLOW__SCHEDULE_TIMEZONE", "Europe/Berlin")
    as_json(capsys, *words)
    (schedule,) = fake.schedules.values()
    assert schedule["trigger"] == {"cron_schedule": {"cron": "0 15 5 * * SUN"}}
    (listed,) = as_json(capsys, "--list")
    assert (listed["cron"], listed["timezone"]) == ("15 5 * * SUN", "Europe/Berlin")
    assert "the cluster's is Europe/Berlin" in refused(capsys, "mine.py:weekly", "--timezone", "Asia/Tokyo")
    monkeypatch.setenv("FLOWBRIDGE_KUBEFLOW__SCHEDULE_TIMEZONE", "Europe/Berlinn")
    assert "Europe/Berlin'" in refused(capsys, *words)


def test_unknown_zone_and_strange_days() -> None:
    with pytest.raises(ConfigError, match="Europe/Berlin"):
        cron_of(Schedule(cron="0 6 * * *", timezone="Europe/Berlinn"))
    with pytest.raises(ConfigError, match="no range of days"):
        cron_of(Schedule(cron="0 6 * * 1-9"))
