"""The process that drives a run: told from others of its id, and never declared dead where it cannot be seen."""

import os
import subprocess
import sys

import pytest

from flowbridge.engine import drivers
from flowbridge.engine.drivers import driver_of, fate_of, fate_of_all
from flowbridge.records.models import Driver


@pytest.fixture
def ended():
    """Return the driver of a process that was killed, and waited for."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    driver = driver_of(process.pid)
    assert fate_of(driver) == "alive"
    process.kill()
    process.wait()
    return driver


def changed(driver, **fields):
    return driver.model_copy(update=fields)


def test_this_process_is_alive():
    assert driver_of() == driver_of(os.getpid())
    assert fate_of(driver_of()) == "alive"


def test_a_killed_process_is_gone(ended):
    assert fate_of(ended) == "gone"


def test_a_zombie_is_gone():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    driver = driver_of(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and still listed: nobody has asked for its exit code
    assert fate_of(driver) == "gone"
    process.wait()


def test_an_id_that_another_process_has_now_is_gone():
    assert fate_of(changed(driver_of(), started=driver_of().started - 1)) == "gone"


def test_after_a_restart_of_the_machine_it_is_gone(monkeypatch):
    monkeypatch.setattr(drivers, "_machine", lambda: "a machine")
    monkeypatch.setattr(drivers, "_space", lambda: "4026531836")
    here = driver_of()
    assert fate_of(here) == "alive"
    assert fate_of(changed(here, boot="an earlier one")) == "gone"


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"host": "another"},
        {"machine": "another of the same name"},
        {"space": "another container"},
        {"machine": "", "boot": "of another machine of that name"},
        {"machine": "of the image", "space": "another container", "boot": "of another machine"},
    ],
)
def test_what_is_elsewhere_is_never_declared_dead(ended, elsewhere):
    assert fate_of(changed(ended, **elsewhere)) == "unknown"


def test_without_any_sign_of_the_machine_nothing_is_known(ended, monkeypatch):
    for name in ("_machine", "_boot"):
        monkeypatch.setattr(drivers, name, lambda: "")
    assert fate_of(changed(ended, machine="", boot="")) == "unknown"


def test_of_several_one_is_enough(ended):
    elsewhere = changed(ended, host="another")
    assert fate_of_all([ended, driver_of()]) == "alive"
    assert fate_of_all([ended, elsewhere]) == "unknown"
    assert fate_of_all([ended, ended]) == "gone"
    assert fate_of_all([]) == "unknown"


def test_a_driver_is_kept_as_json():
    assert Driver.model_validate_json(driver_of().model_dump_json()) == driver_of()
