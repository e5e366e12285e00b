"""The building of one flow: what stands where, which conditions hold, and every problem found on the way."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from flowbridge.errors import FlowError
from flowbridge.ir.control import Condition, MapNode
from flowbridge.ir.flow import StepNode

_LONGEST = 160
"""Of an id: file systems take names of 255 bytes, and something is added to an id in some. A name alone has 100 letters at most."""
TOLD_PER_LINE = 3
ASKED_PER_LINE = 50
_HERE = str(Path(__file__).parent)
_LIBRARY = sysconfig.get_path("stdlib")
_tracer: ContextVar[Tracer | None] = ContextVar("flowbridge_tracer", default=None)


@dataclass(frozen=True)
class Level:
    """Where the next step goes.

    Attributes:
        group: The inlined flows around it, outermost first.
        scope: The maps around it, outermost first.
        guards: The conditions it stands under, since the innermost map.
        after: What it waits for besides its data.
    """

    group: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    guards: tuple[Condition, ...] = ()
    after: tuple[str, ...] = ()

    def prefixed(self, name: str) -> str:
        """Return a name with those of the flows around it before it."""
        return ".".join((*self.group, name))


@dataclass
class _Frame:
    """A level, and the `when` that an `otherwise` at this level would belong to."""

    level: Level
    condition: Condition | None = None


@dataclass
class Tracer:
    """One flow while it is being built.

    Attributes:
        name: Name of the flow.
        steps: Steps called so far.
        maps: Maps made so far.
        functions: The functions of the steps, by step id.
        problems: What is wrong with the flow, in the order in which it was found.
    """

    name: str
    steps: list[StepNode] = field(default_factory=list)
    maps: list[MapNode] = field(default_factory=list)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    over: bool = False
    _frames: list[_Frame] = field(default_factory=lambda: [_Frame(Level())])
    _owners: dict[str, tuple[object, str]] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _counts: dict[str, int] = field(default_factory=dict)
    _open: list[object] = field(default_factory=list)
    _refused: Counter[tuple[str, int]] = field(default_factory=Counter)
    _expected: dict[int, str] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        """Where the next step goes."""
        return self._frames[-1].level

    def claim(self, name: str, owner: object, shown: str) -> str:
        """Return an id for one more call of a step or flow: its name, prefixed by the flows around it, counted from the second on.

        Args:
            name: Of the step or flow.
            owner: What is called; two that differ may not go by one name.
            shown: How to call the owner in a message.
        """
        base = self.level.prefixed(name)
        known = self._owners.setdefault(base, (owner, shown))
        if known[0] != owner:
            self.problem(
                f"two different steps or flows are called {base!r}: {known[1]} and {shown}. Give one another name, with name='...'."
            )
        count = self._counts.get(base, 0) + 1
        unique = base if count == 1 else f"{base}_{count}"
        while unique in self._taken:
            count += 1
            unique = f"{base}_{count}"
        self._counts[base] = count
        self._taken.add(unique)
        return shortened(unique)

    def problem(self, text: str) -> None:
        """Keep a problem, with the user's line that caused it; the flow is traced to its end so that all are told together."""
        full = f"{text} {_at()}"
        if full not in self.problems:
            self.problems.append(full)

    def refuse(self, text: str | None) -> None:
        """Keep a problem of an operation that no handle can do.

        Args:
            text: The problem; None where it comes of another that is kept already.

        Raises:
            FlowError: The same line has asked often: it may be a loop that would never end.
        """
        place = user_line()
        self._refused[place] += 1
        if text is not None and self._refused[place] <= TOLD_PER_LINE:
            self.problem(text)
        if self._refused[place] > ASKED_PER_LINE:
            raise self.error()

    def error(self) -> FlowError:
        """Return the error with all problems so far."""
        return FlowError(self.problems, self.name)

    @contextmanager
    def inside(self, **changes: Any) -> Iterator[Level]:
        """Let the steps called meanwhile stand at a changed level."""
        self._frames.append(_Frame(replace(self.level, **changes)))
        try:
            yield self.level
        finally:
            self._frames.pop()

    @contextmanager
    def opened(self, flow: object, shown: str) -> Iterator[None]:
        """Notice a flow that calls itself.

        Raises:
            FlowError: It does.
        """
        if flow in self._open:
            self.problem(
                f"flow {shown!r} calls itself, so it would never end. Use flow.map for one sub-flow per item, or a loop in a step."
            )
            raise self.error()
        self._open.append(flow)
        try:
            yield
        finally:
            self._open.pop()

    def expect(self, complaint: str) -> int:
        """Keep a complaint for the end, unless what is expected comes; return a number for :meth:`expected`."""
        number = len(self._expected)
        self._expected[number] = f"{complaint} {_at()}"
        return number

    def expected(self, number: int) -> None:
        """Tell that something expected has come."""
        self._expected[number] = ""

    def unmet(self) -> list[str]:
        """Return the complaints about what has not come."""
        return [complaint for complaint in self._expected.values() if complaint]

    def remember_when(self, condition: Condition | None) -> None:
        """Keep the condition that an `otherwise` at this level belongs to; None forbids one."""
        self._frames[-1].condition = condition

    def last_when(self) -> Condition | None:
        """Return the condition that an `otherwise` at this level belongs to."""
        return self._frames[-1].condition


def shortened(full: str) -> str:
    """Return an id that serves as the name of a folder: a long one loses the middle, for a digest of all of it; what is called stays."""
    if len(full) <= _LONGEST:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:10]
    before, _, last = full.rpartition(".")
    room = _LONGEST - len(last) - len(digest) - 2
    return f"{before[:room].rstrip('._')}_{digest}.{last}"


def current() -> Tracer | None:
    """Return the flow that is being built in this thread, if one is."""
    return _tracer.get()


@contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """Build a flow: steps called meanwhile are recorded and not run."""
    token = _tracer.set(tracer)
    try:
        yield
    finally:
        tracer.over = True
        _tracer.reset(token)


def _at() -> str:
    file, line = user_line()
    return f"({Path(file).name}, line {line})"


def user_line() -> tuple[str, int]:
    """Return file and line of the innermost frame that is neither in this package nor in the standard library."""
    outside = [frame for frame in _frames() if not frame.f_code.co_filename.startswith(_HERE)]
    own = (frame for frame in outside if not _in_library(frame.f_code.co_filename))
    found = next(own, outside[0])
    return found.f_code.co_filename, found.f_lineno


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  (the documented way to find the caller without building a traceback)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _in_library(file: str) -> bool:
    return file.startswith((_LIBRARY, "<frozen")) and "site-packages" not in file
