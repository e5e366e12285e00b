"""Many small blobs on their way to a store that is elsewhere, a bounded number at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

_THREADS = 16
_MOST = 32 << 20


class Sender:
    """Sends in the background; at the end everything is there, or the first error is raised.

    Args:
        parallel: False: send at once, in the caller's thread; for a store on this machine.
    """

    def __init__(self, *, parallel: bool) -> None:
        self._parallel = parallel
        self._pool: ThreadPoolExecutor | None = None
        self._running: set[Future[None]] = set()
        self._changed = threading.Condition()
        self._bytes = 0
        self._failed: BaseException | None = None

    def send(self, request: Callable[[], None], size: int) -> None:
        """Make a request that holds so many bytes; waits while there are too many on their way."""
        if not self._parallel or size > _MOST // 2:
            request()
            return
        with self._changed:
            while self._bytes + size > _MOST and self._failed is None:
                self._changed.wait()
            self._raise()
            self._bytes += size
        self._pool = self._pool or ThreadPoolExecutor(_THREADS, thread_name_prefix="flowbridge-send")
        future = self._pool.submit(request)
        self._running.add(future)
        future.add_done_callback(lambda done: self._done(done, size))

    def _done(self, future: Future[None], size: int) -> None:
        with self._changed:
            self._running.discard(future)
            self._bytes -= size
            if not future.cancelled() and future.exception() is not None:
                self._failed = self._failed or future.exception()
            self._changed.notify_all()

    def _raise(self) -> None:
        if self._failed is not None:
            raise self._failed

    def __enter__(self) -> Sender:  # noqa: PYI034  (there are no subclasses)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self._raise()
