"""What a task used: wall time, cpu time and the peak of memory, of this process and the children it waited for."""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

from flowbridge.records.models import Usage

_UNIT = 1 if sys.platform == "darwin" else 1024
_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Meter:
    """Measures from its making to `read`."""

    def __init__(self) -> None:
        _forget_peak()
        self._wall = time.perf_counter()
        self._cpu = _cpu()
        self._children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss

    def read(self) -> Usage:
        """Return what was used so far."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        peak = _peak()
        if children > self._children:
            peak = max(peak, children * _UNIT)
        return Usage(peak_memory=peak, cpu_time=round(_cpu() - self._cpu, 6), wall_time=round(time.perf_counter() - self._wall, 6))


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _forget_peak() -> None:
    """Start the kernel's high-water mark anew, so that a process that runs several tasks tells them apart (Linux; see proc(5))."""
    with suppress(OSError):
        descriptor = os.open(_CLEAR, os.O_WRONLY)
        try:
            os.write(descriptor, b"5")
        finally:
            os.close(descriptor)


def _peak() -> int:
    with suppress(OSError):
        for line in _STATUS.read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
