"""GPUs: which there are, of what kind and size, and what processes hold of their memory. From NVML, `nvidia-smi`, or declared."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_QUERY_SECONDS = 20
_NOISE = re.compile(r"nvidia|tesla|geforce|quadro|[^a-z0-9]")


@dataclass(frozen=True)
class Gpu:
    """One GPU: its id for `CUDA_VISIBLE_DEVICES`, its kind as the driver names it, its memory in bytes."""

    id: str
    kind: str = ""
    memory: int | None = None


def declared(entries: Sequence[str], memory: int | None) -> list[Gpu]:
    """Return GPUs that the configuration lists, each an id such as ``"0"``, or ``"0=A100"`` to give its kind too."""
    return [Gpu(i.strip(), kind.strip(), memory) for i, _, kind in (e.partition("=") for e in entries)]


@cache
def detect() -> tuple[Gpu, ...]:
    """Return the GPUs of this machine that `CUDA_VISIBLE_DEVICES` leaves visible; none where there is no driver."""
    import os  # noqa: PLC0415  (only here)

    found = _from_nvml() or _from_nvidia_smi()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    wanted = [v.strip() for v in visible.split(",") if v.strip()]
    return tuple(g for g in found if g.id in wanted)


def same_kind(asked: str, kind: str) -> bool:
    """Say whether a GPU's kind is the one asked for: ``A100`` and ``nvidia-tesla-t4`` fit ``NVIDIA A100-SXM4`` and ``Tesla T4``."""
    wanted = _NOISE.sub("", asked.lower())
    return bool(wanted) and wanted in _NOISE.sub("", kind.lower())


def memory_of(processes: Iterable[int]) -> int | None:
    """Return the bytes of GPU memory that some processes hold together; None where that cannot be asked."""
    nvml = _nvml()
    if nvml is None:
        return None
    wanted, total = set(processes), 0
    for position in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(position)
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            if process.pid in wanted and process.usedGpuMemory:
                total += process.usedGpuMemory
    return total


@cache
def _nvml() -> Any:
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


def _from_nvml() -> tuple[Gpu, ...]:
    nvml = _nvml()
    if nvml is None:
        return ()
    found = []
    for position in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(position)
        name = nvml.nvmlDeviceGetName(handle)
        kind = name.decode() if isinstance(name, bytes) else str(name)
        found.append(Gpu(str(position), kind, int(nvml.nvmlDeviceGetMemoryInfo(handle).total)))
    return tuple(found)


def _from_nvidia_smi() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):  # a driver that does not answer gives no GPUs
        return ()
    rows = (line.split(",") for line in answer.stdout.splitlines() if line.count(",") >= 2)  # noqa: PLR2004  (three columns)
    return tuple(Gpu(r[0].strip(), ",".join(r[1:-1]).strip(), int(float(r[-1]) * 2**20)) for r in rows)
