"""The process that drives a run, noted so that any later process can tell whether it still can go on.

A process is told by its machine, the boot, the pid namespace, its id and the moment it started: an id alone is soon another's.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from flowbridge.engine.process_tree import is_alive, started_at
from flowbridge.records.models import Driver

Fate = Literal["alive", "gone", "unknown"]
_RANDOM_ADDRESS = 1 << 40
_OF_MACHINES = ("", "4026531836")
"""The pid namespace that a machine starts with (Linux: PROC_PID_INIT_INO); any other is that of a container."""


def driver_of(pid: int | None = None) -> Driver:
    """Return a process of this machine as records keep it; None: this process."""
    pid = os.getpid() if pid is None else pid
    return Driver(host=platform.node(), machine=_machine(), boot=_boot(), space=_space(), pid=pid, started=started_at(pid))


def fate_of(driver: Driver) -> Fate:
    """Tell whether a process still runs. One on another machine, or in another container, can't be seen from here: unknown."""
    machine = _machine()
    if driver.host != platform.node() or (machine and driver.machine and machine != driver.machine):
        return "unknown"
    same_machine = bool(machine) and machine == driver.machine
    if driver.boot != _boot():
        known = same_machine and driver.boot and _boot() and driver.space in _OF_MACHINES
        return "gone" if known else "unknown"  # two machines of one name, or two containers of one image, are no reboot
    if driver.space != _space() or not (driver.boot or same_machine):
        return "unknown"
    return "alive" if is_alive(driver.pid, driver.started) else "gone"


def fate_of_all(drivers: Iterable[Driver]) -> Fate:
    """Tell whether any of several processes still runs; gone: none does; unknown where there is none, or one cannot be seen."""
    fates = {fate_of(driver) for driver in drivers}
    if "alive" in fates:
        return "alive"
    return "gone" if fates == {"gone"} else "unknown"


@cache
def _machine() -> str:
    """Return what tells this machine from others of its name; empty where nothing does."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        text = _text(path)
        if text:
            return text
    address = uuid.getnode() if sys.platform == "darwin" else _RANDOM_ADDRESS
    return "" if address & _RANDOM_ADDRESS else f"{address:012x}"


@cache
def _boot() -> str:
    """Return what tells this boot from others; empty where nothing does."""
    if sys.platform == "darwin":
        return _told(["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"])
    return _text("/proc/sys/kernel/random/boot_id")


def _space() -> str:
    """Return the pid namespace of this process: the same id is another process in another one."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:  # a system without such
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _told(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
