"""What steps declare against what their tasks used, and what to declare instead. Pure: records in, figures and proposals out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowbridge.ir.resources import Resources, format_bytes

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.models import TaskRecord

HEADROOM = 1.25
"""Memory is proposed so much above the largest peak: the next input may be larger, and running out costs a whole attempt."""

ENOUGH = 3
"""Attempts that must have been measured before less than declared is proposed. More is proposed after one that ran out."""

_MUCH_LESS = 0.75
_MIB, _GIB = 2**20, 2**30
_SMALLEST = 64 * _MIB
_WORTH_A_CORE = 0.7


@dataclass(frozen=True)
class Spread:
    """How a measure spreads over attempts.

    Attributes:
        count: Attempts that were measured.
        p50: Half of them are at or below.
        p95: Nineteen of twenty are at or below.
        max: The largest.
    """

    count: int
    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Return the spread of those that were measured; None if none was."""
        known = sorted(v for v in values if v is not None)
        if not known:
            return None
        return cls(len(known), _rank(known, 0.5), _rank(known, 0.95), known[-1])


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Use:
    """What the attempts of one step used.

    Attributes:
        step: Id of the step.
        declared: What it declares now.
        attempts: Attempts that ended, those that were skipped or taken from the cache left out.
        failed: Attempts that failed for another reason than memory.
        out_of_memory: Attempts that ran out of memory.
        memory: Bytes at the peak.
        cores: Cores busy on average: cpu time over wall time.
        wall: Seconds from start to end.
        gpu_memory: Bytes at the peak.
        disk: Bytes of scratch space at the peak.
    """

    step: str
    declared: Resources
    attempts: int = 0
    failed: int = 0
    out_of_memory: int = 0
    memory: Spread | None = None
    cores: Spread | None = None
    wall: Spread | None = None
    gpu_memory: Spread | None = None
    disk: Spread | None = None


@dataclass(frozen=True)
class Proposal:
    """What to declare instead, as options of the decorator.

    Attributes:
        step: Id of the step.
        options: Option and value, as they are written in Python: ``{"memory": '"4Gi"', "cpu": "2"}``.
        reasons: One sentence for each.
    """

    step: str
    options: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


def measure(step: str, declared: Resources, records: Iterable[TaskRecord]) -> Use:
    """Sum up the attempts of a step, over as many runs as there are records of."""
    ended = [r for r in records if r.step == step and r.state in {"done", "failed"}]
    usages = [r.usage for r in ended]
    lacking = [r for r in ended if r.reason is not None and r.reason.kind == "out_of_memory"]
    return Use(
        step=step,
        declared=declared,
        attempts=len(ended),
        failed=sum(r.state == "failed" for r in ended) - len(lacking),
        out_of_memory=len(lacking),
        memory=Spread.of([*(u.peak_memory for u in usages), *(r.reason.used for r in lacking if r.reason is not None)]),
        cores=Spread.of(u.cpu_time / u.wall_time if u.cpu_time is not None and u.wall_time else None for u in usages),
        wall=Spread.of(u.wall_time for u in usages),
        gpu_memory=Spread.of(u.gpu_memory for u in usages),
        disk=Spread.of(u.disk for u in usages),
    )


def measure_flow(graph: FlowGraph, records: Iterable[TaskRecord]) -> list[Use]:
    """Sum up the attempts of every step of a flow, in the order of the flow."""
    by_step: dict[str, list[TaskRecord]] = {}
    for record in records:
        by_step.setdefault(record.step, []).append(record)
    return [measure(node.id, node.resources, by_step.get(node.id, ())) for node in graph.steps]


def propose(use: Use) -> Proposal | None:
    """Return what to declare instead, or None where what is declared fits or too little is known."""
    parts = [part for part in (_memory(use), _cpu(use)) if part is not None]
    if not parts:
        return None
    return Proposal(use.step, {name: value for name, value, _ in parts}, tuple(reason for _, _, reason in parts))


def _memory(use: Use) -> tuple[str, str, str] | None:
    declared, spread = use.declared.memory, use.memory
    if spread is None:
        return None
    wanted, said = round_up(max(spread.max * HEADROOM, _SMALLEST)), f"memory={format_bytes(declared)}" if declared else "no memory"
    peak = f"used {format_bytes(int(spread.max))} at most in {use.attempts} attempts"
    if use.out_of_memory and declared is not None:
        wanted = wanted if spread.max > declared else round_up(declared * 2)  # what it needs is not known: only that this was too little
        times = "once" if use.out_of_memory == 1 else f"{use.out_of_memory} times"
        return _bytes("memory", wanted, f"declares {said}, and ran out of it {times} in {use.attempts} attempts")
    fits = declared is not None and wanted >= declared * _MUCH_LESS and spread.max <= declared
    return None if fits or use.attempts < ENOUGH else _bytes("memory", wanted, f"declares {said}, and {peak}")


def _cpu(use: Use) -> tuple[str, str, str] | None:
    """Fewer cores where the busiest attempt left a whole one idle; more is for who wrote the step, since his code may not use them."""
    declared, spread = use.declared.cpu, use.cores
    if declared is None or declared <= 1 or spread is None or use.attempts < ENOUGH:
        return None
    wanted = max(1, math.ceil(spread.max / _WORTH_A_CORE))
    if wanted > declared - 1:
        return None
    return "cpu", str(wanted), f"declares cpu={declared:g}, and kept {spread.max:.1f} cores busy at most in {use.attempts} attempts"


def _bytes(name: str, amount: int, reason: str) -> tuple[str, str, str]:
    exact = f"{amount // _GIB}Gi" if amount % _GIB == 0 else f"{amount // _MIB}Mi"
    return name, f'"{exact}"', reason


def round_up(size: float) -> int:
    """Return the next amount that people write: steps of 64Mi up to 1Gi, of 256Mi up to 4Gi, of 1Gi up to 32Gi, then of 4Gi."""
    for below, step in ((_GIB, 64 * _MIB), (4 * _GIB, 256 * _MIB), (32 * _GIB, _GIB)):
        if size <= below:
            return math.ceil(size / step) * step
    return math.ceil(size / (4 * _GIB)) * 4 * _GIB


def by_function(graph: FlowGraph, proposals: Iterable[Proposal]) -> dict[str, dict[str, dict[str, str]]]:
    """Return the options to write, by module and qualified name of the functions; of several steps of one function the larger.

    Steps that can't be changed in a source file (programs in containers, functions of notebooks) are left out.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    for proposal in proposals:
        code = graph.steps_by_id[proposal.step].code
        if code is None or code.by_value:
            continue
        options = found.setdefault(code.module, {}).setdefault(code.qualname, {})
        for name, value in proposal.options.items():
            options[name] = max(options.get(name, value), value, key=_amount)
    return found


def _amount(value: str) -> float:
    resources = Resources(memory=value.strip('"')) if value.startswith('"') else None
    return float(resources.memory or 0) if resources is not None else float(value)
