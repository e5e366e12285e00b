"""Asking a store again that did not answer properly: how often, for how long, and what is said meanwhile.

The clients of stores are made to give up soon and, where they let themselves be told, at the first failure: two of them one inside the other
try a hundred times, which is half an hour of silence where a server hangs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from flowbridge.artifacts.trouble import no_answer, refuse
from flowbridge.errors import StoreError

ATTEMPTS = 6
PAUSE = 0.2
"""Seconds before the second attempt; three times as many before each that follows."""
LONGEST = 60.0
"""Seconds after which no further attempt is begun."""
CONNECT = 10.0
"""Seconds that a connection may take."""
SILENCE = 20.0
"""Seconds for which a server may send nothing before the request counts as failed."""
_LONG = 2.0
_TELL_AGAIN = 10.0
_log = logging.getLogger("flowbridge")
Result = TypeVar("Result")


class Patience:
    """Asks one store, from any number of threads.

    Args:
        url: Of the store, for messages.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._told = -_TELL_AGAIN

    def ask(self, what: str, path: str, request: Callable[[], Result]) -> Result:
        """Make a request, again after a pause where the store did not answer properly.

        Raises:
            StoreUnavailableError: It did not, however often it was asked.
        """
        begun = time.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return request()
            except (StoreError, FileExistsError, MemoryError):
                raise
            except Exception as error:
                refuse(self._url, what, path, error)
                pause = PAUSE * 3 ** (attempt - 1)
                if attempt == ATTEMPTS or time.monotonic() - begun + pause > LONGEST:
                    raise no_answer(self._url, what, path, error, attempt) from error
                self._tell(attempt, time.monotonic() - begun, f"did not {what} {path} ({type(error).__name__}: {error})", pause)
                time.sleep(pause)
        raise AssertionError  # pragma: no cover  (the last attempt returns or raises)

    def _tell(self, attempt: int, passed: float, failed: str, pause: float) -> None:
        """Say that we wait, unless that is soon over or was just said."""
        now = time.monotonic()
        if (attempt > 1 or passed >= _LONG) and now - self._told >= _TELL_AGAIN:
            self._told = now
            _log.warning("The store %s %s. Trying again in %.1f s (%d of %d)", self._url, failed, pause, attempt + 1, ATTEMPTS)
