"""Progress on a terminal: a table that is drawn again a few times a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flowbridge.cli.printing import COLOURS, count, length

if TYPE_CHECKING:
    from typing_extensions import Self

    from flowbridge.cli.progress import Progress, StepProgress
    from flowbridge.records.models import TaskRecord, TaskStarted

_BAR = 12
_AROUND = 6
_MARKS = {
    "done": "✓",
    "cached": "✓",
    "failed": "✗",
    "cancelled": "✗",
    "skipped": "-",
    "running": "●",
    "waiting": "…",
    "pending": " ",
}


class LiveView:
    """Draws what a `Progress` knows."""

    def __init__(self, progress: Progress, console: Console | None = None) -> None:
        self.progress = progress
        self.console = console or Console()
        self._live = Live(console=self.console, get_renderable=self.draw, refresh_per_second=5, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.refresh()
        self._live.stop()

    def hear(self, event: TaskStarted | TaskRecord) -> None:
        """Take in an event; it is shown at the next drawing."""
        self.progress.hear(event)

    def draw(self) -> Any:
        """Return the table as it stands now."""
        now = time.time()
        steps = self.progress.look()
        shown, hidden = self._fitting(steps)
        table = Table.grid(padding=(0, 2))
        for step in shown:
            table.add_row(*self._row(step, now))
        lines: list[Any] = [table]
        if hidden:
            lines.append(
                Text(f"  and {count(len(hidden), 'more step')}, {sum(1 for s in hidden if s.total and s.over >= s.total)} over", "dim")
            )
        lines.append(self._summary(steps, now))
        return Group(*lines)

    def _fitting(self, steps: list[StepProgress]) -> tuple[list[StepProgress], list[StepProgress]]:
        """Return the steps that the terminal has room for, those first that something is going on in; and the others."""
        room = max(3, self.console.height - _AROUND)
        if len(steps) <= room:
            return steps, []
        urgent = {"running": 0, "failed": 1, "waiting": 2, "pending": 3}
        chosen = {s.step for s in sorted(steps, key=lambda s: urgent.get(s.state, 4))[:room]}
        return [s for s in steps if s.step in chosen], [s for s in steps if s.step not in chosen]

    def _row(self, step: StepProgress, now: float) -> list[Text]:
        state = step.state
        style = COLOURS.get(state, "bright_black")
        left = self.progress.left_of(step, now)
        return [
            Text(_MARKS[state], style),
            Text(step.step),
            self._amount(step),
            Text(_words(step, now if self.progress.is_slow(step, now) else None), style),
            Text(length(step.elapsed(now)) if step.first is not None else "", "dim"),
            Text(f"~{length(left)} left" if left is not None else "", "dim"),
        ]

    def _amount(self, step: StepProgress) -> Text:
        if step.total is None or step.total == 1:
            return Text("")
        filled = _BAR * step.over // step.total if step.total else _BAR
        return Text(f"{'━' * filled}{'─' * (_BAR - filled)} {step.over}/{step.total}", "red" if step.ended["failed"] else "green")

    def _summary(self, steps: list[StepProgress], now: float) -> Text:
        running = sum(len(s.running) for s in steps)
        over = sum(s.over for s in steps)
        left = self.progress.left(now) if running else None
        rest = f", about {length(left)} left" if left else ""
        return Text(f"  {count(over, 'task')} over, {running} running, {length(now - self.progress.began)}{rest}", "dim")


def _words(step: StepProgress, now: float | None) -> str:
    """Return what is going on in a step; how long its longest task has been running where `now` is given."""
    words = [f"{n} {state}" for state, n in step.ended.items() if step.total != 1 and state != "done"]
    waits_for = f"waiting for {' and '.join(step.waits_for)}" if step.waits_for else ""
    if step.running and step.total != 1:
        words.append(f"{len(step.running)} running" + (f", the longest {length(now - min(step.running.values()))}" if now else ""))
        if waits_for and step.to_start:
            words.append(f"{step.to_start} {waits_for}")
    elif step.running:
        words.append("running")
    elif waits_for:
        words.append(waits_for)
    elif step.state in {"failed", "cancelled", "skipped", "cached"} and step.total == 1:
        words.append(step.state)
    if step.retries:
        words.append(f"{step.retries} tried again")
    return ", ".join(words)
