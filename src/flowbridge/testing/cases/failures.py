"""What happens when a step fails: who still runs, what is retried, what the record tells."""

from __future__ import annotations

import os
import time

from flowbridge import context, each, first, flow, step
from flowbridge.testing.case import Case


@step
def number(n: int) -> int:
    return n


@step
def fail(n: int) -> int:
    raise ValueError(f"no good: {n}")


@step
def add(a: int, b: int) -> int:
    return a + b


@step(retries=2)
def second_time(n: int) -> int:
    if context().attempt == 0:
        raise RuntimeError("first attempt")
    return n + context().attempt


@step(retries=1)
def never(n: int) -> int:
    raise RuntimeError(f"attempt {context().attempt} of {n}")


@step(retries=1, retry_delay="200ms", backoff=2)
def later(n: int) -> int:
    if context().attempt == 0:
        raise RuntimeError("first attempt")
    return n


@step(allow_failure=True)
def may_fail(n: int) -> int:
    if n % 2:
        raise ValueError(f"odd: {n}")
    return n


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def odd_fails(n: int) -> int:
    if n == 1:
        raise ValueError("one")
    return n


@step(timeout="2s")
def sleeps(n: int) -> int:
    time.sleep(60)
    return n


@step
def dies(n: int) -> int:
    os._exit(7)


@flow
def one_branch_fails(n: int) -> int:
    """The other branch goes on to its end; what needs the failed one never runs."""
    a = fail(n)
    b = add(number(n), 1)
    return add(a, b)


@flow
def retried(n: int) -> int:
    return add(second_time(n), 0)


@flow
def retried_in_vain(n: int) -> int:
    return add(never(n), 0)


@flow
def retried_later(n: int) -> int:
    return later(n)


@flow
def allowed(n: int) -> int:
    """A failure that is allowed counts as a skip."""
    a = may_fail(n)
    b = add(a, 1)
    return first(b, number(-1))


@flow
def allowed_in_map(n: int) -> int:
    return total(may_fail.map(each(numbers(n))))


@flow
def one_item_fails(n: int) -> int:
    """The other items go on to their end; the list never comes to be."""
    return total(odd_fails.map(each(numbers(n))))


@flow
def order_after_failure(n: int) -> int:
    """An order-only wait for a failed step is never over."""
    bad = fail(n)
    return add.options(after=[bad])(n, 1)


@flow
def too_slow(n: int) -> int:
    return add(sleeps(n), 1)


@flow
def killed(n: int) -> int:
    return add(dies(n), 1)


def _tells_the_error(run: object) -> None:
    task = run["fail"][0]  # type: ignore[index]
    reason = task.record.reason
    assert reason.error == "ValueError", reason
    assert "no good: 3" in reason.message, reason
    assert reason.frames[-1].function == "fail", reason
    assert "no good: 3" in run.logs("fail"), run.logs("fail")  # type: ignore[attr-defined]


CASES = [
    Case(
        "a step fails",
        "A failed step fails the run, names its error, and lets the rest finish.",
        one_branch_fails,
        {"n": 3},
        status="failed",
        states={"fail": "failed", "number": "done", "add": "done", "add_2": "cancelled"},
        reasons={"fail": "error", "add_2": "upstream"},
        check=_tells_the_error,
    ),
    Case("retry", "A retry runs again, in a fresh process, and counts from 0.", retried, {"n": 5}, result=6, attempts={"second_time": 2}),
    Case(
        "retries used up",
        "After its last retry a step has failed.",
        retried_in_vain,
        {"n": 5},
        status="failed",
        states={"never": "failed", "add": "cancelled"},
        attempts={"never": 2},
    ),
    Case("retry with delay", "A delay changes when, not what.", retried_later, {"n": 4}, result=4, attempts={"later": 2}),
    Case(
        "allowed failure",
        "A failure that is allowed skips who needs the value; the run goes on.",
        allowed,
        {"n": 3},
        result=-1,
        states={"may_fail": "failed", "add": "skipped"},
    ),
    Case("allowed, no failure", "Nothing changes where nothing fails.", allowed, {"n": 2}, result=3),
    Case(
        "allowed failures in a map",
        "Items that failed, allowed, are left out of the list.",
        allowed_in_map,
        {"n": 5},
        result=6,
        states={"may_fail": {"done": 3, "failed": 2}},
    ),
    Case(
        "an item fails",
        "One failed item fails the list, not the other items.",
        one_item_fails,
        {"n": 3},
        status="failed",
        states={"odd_fails": {"done": 2, "failed": 1}, "total": "cancelled"},
    ),
    Case(
        "order after a failure",
        "What only comes after a failed step does not run.",
        order_after_failure,
        {"n": 1},
        status="failed",
        states={"fail": "failed", "add": "cancelled"},
    ),
    Case(
        "timeout",
        "A step past its timeout is ended, and the record says so.",
        too_slow,
        {"n": 1},
        status="failed",
        states={"sleeps": "failed", "add": "cancelled"},
        reasons={"sleeps": "timeout"},
    ),
    Case(
        "a process dies",
        "A process that dies without a word is told as such.",
        killed,
        {"n": 1},
        status="failed",
        states={"dies": "failed", "add": "cancelled"},
        reasons={"dies": "lost_worker"},
    ),
]
