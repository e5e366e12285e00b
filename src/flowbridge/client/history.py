"""What earlier runs of a flow tell about the next one."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from flowbridge.records.files import RunFiles, Runs

if TYPE_CHECKING:
    from flowbridge.artifacts.content import Content

_LOOKED_AT = 3
_TRIED = 10


def typical_durations(content: Content, flow: str) -> dict[str, float]:
    """Return the seconds that a task of each step took, in the middle, over the last runs that ended done."""
    found: dict[str, list[float]] = {}
    looked_at = 0
    for _, run in sorted(Runs(content).list(flow), reverse=True)[:_TRIED]:
        files = RunFiles(content, flow, run)
        end = files.ended()
        summary = files.summary() if end is not None and end.state == "done" else None
        if summary is None:
            continue
        for task in summary.tasks:
            if task.state == "done" and task.started is not None and task.count is None:
                found.setdefault(task.step, []).append(task.finished - task.started)
        looked_at += 1
        if looked_at == _LOOKED_AT:
            break
    return {step: median(durations) for step, durations in found.items()}
