"""Ctrl-C and SIGTERM while a run is on: noted, not raised, so that the loop can end everything in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Watches for signals, if this is the main thread (others never get them), and gives the loop something to wait on.

    Args:
        raising: Raise `KeyboardInterrupt` instead of noting it: user code runs in this very thread.
    """

    def __init__(self, *, raising: bool) -> None:
        self.raising = raising
        self.asked = False
        self._old: dict[int, Any] = {}
        self._closing = threading.RLock()  # a signal may come while it is held
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when somebody asks."""
        return self._read

    def ask(self) -> None:
        """Ask the loop to end the run; from any thread."""
        self.asked = True
        with self._closing:
            if self._write < 0:  # the loop is over
                return
            try:
                os.write(self._write, b"x")
            except BlockingIOError:  # it is full of such calls already
                return

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if not (self.raising and number == signal.SIGINT) and signal.getsignal(number) is not signal.SIG_IGN:
                    self._old[number] = signal.signal(number, self._handler())
        return self

    def _handler(self) -> Callable[[int, FrameType | None], None]:
        def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (as `signal` calls it)
            self.ask()
            if self.raising:
                raise KeyboardInterrupt

        return note

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def close(self) -> None:
        """Give back the descriptors: the loop is over, and nobody waits on them."""
        with self._closing:
            os.close(self._read)
            os.close(self._write)
            self._read = self._write = -1
