"""What this machine has to give: cores, memory, GPUs and whatever the configuration adds; limits of a container included."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flowbridge.engine import gpus
from flowbridge.errors import ConfigError, UsageError
from flowbridge.ir.resources import format_bytes, parse_bytes, parse_cpu

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowbridge.ir.resources import Resources

CGROUPS = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (its size is read, nothing is written there)
_UNLIMITED = 2**60  # cgroup v1 writes "no limit" as a number near 2**63


class ImpossibleRequestError(UsageError):
    """A task asks for more than this machine has, so it would wait for ever."""


class Machine(Protocol):
    """What the configuration says about this machine; None means: find out."""

    @property
    def cpu(self) -> Any: ...  # noqa: D102
    @property
    def memory(self) -> Any: ...  # noqa: D102
    @property
    def gpus(self) -> Sequence[str] | None: ...  # noqa: D102
    @property
    def gpu_memory(self) -> Any: ...  # noqa: D102
    @property
    def custom(self) -> Mapping[str, float]: ...  # noqa: D102


@dataclass(frozen=True)
class Capacity:
    """All that tasks on this machine may hold together.

    Attributes:
        cpu: Cores.
        memory: Bytes.
        gpus: Ids, as `CUDA_VISIBLE_DEVICES` takes them.
        gpu_memory: Bytes of the smallest GPU; None where not known.
        custom: Amounts of resources that the configuration names.
        gpu_kinds: Kind of each GPU, in the order of `gpus`; empty text where not known.
        disk: Bytes of the file system that holds scratch folders.
        shm: Bytes of shared memory; None where the system has none.
        cores: The cores that tasks are kept to, each to its own; empty where they are not.
    """

    cpu: float
    memory: int
    gpus: tuple[str, ...] = ()
    gpu_memory: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    gpu_kinds: tuple[str, ...] = ()
    disk: int | None = None
    shm: int | None = None
    cores: tuple[int, ...] = ()

    @classmethod
    def detect(cls, machine: Machine | None = None) -> Capacity:
        """Return what the configuration declares, and for what it leaves open what the machine has.

        Raises:
            ConfigError: A declared amount is not an amount.
        """
        try:
            cpu = parse_cpu(machine.cpu) if machine and machine.cpu is not None else available_cpu()
            memory = parse_bytes(machine.memory) if machine and machine.memory is not None else available_memory()
            gpu_memory = parse_bytes(machine.gpu_memory) if machine and machine.gpu_memory is not None else None
        except ValueError as error:
            raise ConfigError(f"The settings of this machine are wrong: {error}.") from error
        found = gpus.detect() if machine is None or machine.gpus is None else gpus.declared(machine.gpus, gpu_memory)
        return cls(
            cpu=cpu,
            memory=memory,
            gpus=tuple(g.id for g in found),
            gpu_memory=gpu_memory or min((g.memory for g in found if g.memory), default=None),
            custom=dict(machine.custom) if machine else {},
            gpu_kinds=tuple(g.kind for g in found),
            disk=_disk_size(Path(tempfile.gettempdir())),
            shm=_disk_size(SHARED_MEMORY),
            cores=own_cores() if machine and getattr(machine, "affinity", False) else (),
        )

    def impossible(self, resources: Resources, nodes: int = 1) -> str | None:
        """Return a sentence for the first thing asked for that this machine can never give, or None."""
        return next(self._impossibilities(resources, nodes), None)

    def _impossibilities(self, asked: Resources, nodes: int) -> Iterator[str]:
        times = f" on each of {nodes} nodes" if nodes > 1 else ""
        if (asked.cpu or 0) * nodes > self.cpu + 1e-9:
            yield f"cpu={asked.cpu:g}{times} is asked for, and this machine has {self.cpu:g} cores to give"
        for name, amount, there in (("memory", asked.memory, self.memory), ("disk", asked.disk, self.disk), ("shm", asked.shm, self.shm)):
            if amount and there is not None and amount * nodes > there:
                yield f"{name}={format_bytes(amount)}{times} is asked for, and this machine has {format_bytes(there)} to give"
        yield from self._impossible_gpus(asked, nodes, times)
        for name, units in asked.custom:
            if name not in self.custom:
                yield (
                    f"{name}={units:g} is asked for, and no such resource is declared for this machine; "
                    f"declare it in the profile: [profiles.NAME.machine.custom] {name} = ..."
                )
            elif units * nodes > self.custom[name] + 1e-9:
                yield f"{name}={units:g}{times} is asked for, and this machine is declared to have {self.custom[name]:g}"

    def _impossible_gpus(self, asked: Resources, nodes: int, times: str) -> Iterator[str]:
        if asked.gpu is None:
            return
        fitting = self.gpus_of_kind(asked.gpu_type)
        there = (
            f"{len(self.gpus)} ({', '.join(k or i for i, k in zip(self.gpus, self.gpu_kinds or self.gpus, strict=False))})"
            if self.gpus
            else "none"
        )
        kind = f" of type {asked.gpu_type}" if asked.gpu_type else ""
        fits = len(fitting) * int(1 / asked.gpu + 1e-9) >= nodes if asked.gpu < 1 else len(fitting) >= asked.gpu * nodes
        if not fits:
            yield (
                f"gpu={asked.gpu:g}{kind}{times} is asked for, and this machine has {there}; "
                f'GPUs that are not found by themselves are declared in the profile: [profiles.NAME.machine] gpus = ["0"]'
            )

    def gpus_of_kind(self, kind: str | None) -> tuple[str, ...]:
        """Return the ids of the GPUs of a kind, or of all where no kind is asked for."""
        if kind is None:
            return self.gpus
        return tuple(i for i, k in zip(self.gpus, self.gpu_kinds, strict=False) if gpus.same_kind(kind, k))


def own_cores() -> tuple[int, ...]:
    """Return the numbers of the cores this process may run on; none where the system does not say."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def available_cpu() -> float:
    """Return the cores this process may use: its affinity, and the quota of its cgroups."""
    cores = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    for folder in cgroup_folders("cpu"):
        quota = _cpu_quota(folder)
        if quota:
            cores = min(cores, quota)
    return cores


def _cpu_quota(folder: Path) -> float | None:
    both = _read(folder / "cpu.max").split()
    if len(both) == 2:  # noqa: PLR2004  ("max 100000" or "50000 100000")
        return int(both[0]) / int(both[1]) if both[0] != "max" else None
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def available_memory() -> int:
    """Return the bytes this process may use: of the machine, and the limits of its cgroups."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in cgroup_folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdigit() and int(text) < _UNLIMITED:
                memory = min(memory, int(text))
    return memory


def cgroup_folders(controller: str, process: str = "self") -> list[Path]:
    """Return the folders of a process's cgroup for a controller and of all cgroups around it, innermost first; v2 and v1."""
    folders: list[Path] = []
    for line in _read(Path("/proc") / process / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        roots = [CGROUPS / names, CGROUPS / controller] if names else [CGROUPS, CGROUPS / "unified"]
        root = next((r for r in roots if (r / "cgroup.procs").exists()), None)
        if root is not None:
            folders += _upwards(root, path)
    return folders


def _upwards(root: Path, path: str) -> list[Path]:
    inner = root / path.strip("/")
    if not inner.is_dir():  # a container sees its own cgroup as the root, while the path is the host's
        return [root]
    return [inner, *(p for p in inner.parents if p.is_relative_to(root))]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # not there on this system, or not for this user: nothing is known from it
        return ""


def _disk_size(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).total
    except OSError:
        return None
