"""Retries, timeouts and failures that are allowed: what the run does, and what it tells.

flowbridge run examples/failures.py
flowbridge show LATEST
"""

from __future__ import annotations

from flowbridge import context, each, flow, log_metric, step


@step(retries=2, retry_delay="100ms", backoff=2)
def flaky(n: int) -> int:
    """Fail at the first attempt, as networks do."""
    if context().attempt == 0:
        raise ConnectionError("the line went dead")
    return n


@step(allow_failure=True)
def parse(text: str) -> float:
    """Fail where the text is no number; the flow goes on without it."""
    return float(text)


@step(timeout="30s")
def total(numbers: list[float], start: int) -> float:
    """Add up what could be read."""
    log_metric("read", len(numbers))
    return start + sum(numbers)


@flow
def failures(texts: list[str] = ["1", "2.5", "three"]) -> float:
    """A list with an item that cannot be read."""
    return total(parse.map(each(texts)), flaky(10))
