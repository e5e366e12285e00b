"""What the loop asks of whoever says which tasks may start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowbridge.engine.ledger import Lease
    from flowbridge.ir.resources import Resources


class Admission(Protocol):
    """Who says whether a task may start now: `engine.ledger.Account`."""

    def request(self, run: str, task: str, resources: Resources, nodes: int = 1) -> Lease | None:
        """Return what the task may hold; None: it has to wait."""

    def withdraw(self, run: str, task: str) -> None:
        """Wait no more, if the task does."""

    def leave(self, run: str) -> None:
        """Give back what a run holds and waits for."""

    def wait_hint(self, timeout: float) -> None:
        """Clear the sign that it may be worth asking again."""

    def fileno(self) -> int:
        """Return the descriptor of that sign; negative: there is none."""
