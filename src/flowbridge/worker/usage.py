"""What a task used: wall time, cpu time, and the peaks of memory and GPU memory, of this process and the children it waited for.

Where the task has a cgroup to itself, as one with a memory limit has, the peak is that of all its processes at the same time.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

from flowbridge.records.models import Usage

_UNIT = 1 if sys.platform == "darwin" else 1024
_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_CGROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_GROUP = re.compile(r"/flowbridge-[0-9]+-[0-9]+-[0-9]+-[0-9]+$")
_UNLIMITED = 2**60  # version 1 writes "no limit" as a number near 2**63


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
        return Usage(
            peak_memory=_peak_of_group() or peak,
            cpu_time=round(_cpu() - self._cpu, 6),
            wall_time=round(time.perf_counter() - self._wall, 6),
            gpu_memory=_gpu_peak(),
        )


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


def _peak_of_group() -> int | None:
    """Return the most bytes that a cgroup made for this task held, less the pages of files that are in it now; None without one."""
    folder = _own_group()
    if folder is None:
        return None
    second = (folder / "memory.peak").exists()
    try:
        most = int((folder / ("memory.peak" if second else "memory.max_usage_in_bytes")).read_text())
        rows = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        sizes = {name: int(size) for name, size in rows}
    except (OSError, ValueError):  # a kernel that keeps no peak
        return None
    cached, shared = ("file", "shmem") if second else ("total_cache", "total_shmem")
    return max(most - max(sizes.get(cached, 0) - sizes.get(shared, 0), 0), 0) or None


def _own_group() -> Path | None:
    with suppress(OSError):
        for line in _CGROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if _GROUP.search(path) and controllers in {"", "memory"}:
                root = _GROUPS / "memory" if controllers else _GROUPS
                return next((f for f in (root / path.strip("/"), root / path.rpartition("/")[2]) if f.is_dir() and _is_limited(f)), None)
    return None


def _is_limited(group: Path) -> bool:
    """Tell the group of one task, which has a limit, from that of a whole run, which has none."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError):
            text = (group / name).read_text().strip()
            return text.isdigit() and int(text) < _UNLIMITED
    return False


def _gpu_peak() -> int | None:
    """Return the most bytes that torch and JAX took on all GPUs, where the task has used one."""
    found = [peak for peak in (_torch_peak(), _jax_peak()) if peak]
    return sum(found) or None


def _torch_peak() -> int:
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return 0
    return sum(int(cuda.max_memory_reserved(device)) for device in range(cuda.device_count()))


def _jax_peak() -> int:
    jax = sys.modules.get("jax")
    bridge = sys.modules.get("jax._src.xla_bridge")
    if jax is None or not getattr(bridge, "_backends", None):  # asking for devices would start a backend that nobody used
        return 0
    statistics = (device.memory_stats() or {} for device in jax.local_devices() if device.platform != "cpu")
    return sum(int(s.get("peak_bytes_in_use", 0)) for s in statistics)
