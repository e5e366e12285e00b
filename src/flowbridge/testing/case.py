"""One case of the conformance suite: a flow, what to call it with, and what must come out on every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MISSING = object()


@dataclass(frozen=True)
class Case:
    """A flow and its one meaning.

    Attributes:
        name: Unique in the suite.
        why: The rule that this case stands for, and why it exists.
        flow: A flow made by ``@flow``.
        args: Arguments of the run.
        options: Options of the run (`flow.options(...)`).
        status: How the run must end.
        result: What `run.result()` must give; left out for runs that fail.
        states: For steps: the state of their task, or how many tasks ended in which state.
        reasons: For steps: the kind of reason that their (first) task must tell.
        attempts: For steps: the number of attempts of their (first) task.
        check: Anything further that must hold of the run.
    """

    name: str
    why: str
    flow: Any
    args: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    status: str = "done"
    result: Any = MISSING
    states: Mapping[str, str | Mapping[str, int]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    check: Callable[[Any], None] | None = None
