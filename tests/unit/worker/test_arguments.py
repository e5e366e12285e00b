"""Arguments reach the function as it takes them: by name, by position only, and those beyond."""

from __future__ import annotations

import pytest

from flowbridge.artifacts.store import Store

from .driver import drive, flow, out, step


def only(a: int, b: int = 5, /, c: int = 6, *, d: int = 7) -> list[int]:
    return [a, b, c, d]


def beyond(a: int, /, b: int = 5, *rest: int, d: int = 7, **others: int) -> list[int]:
    return [a, b, *rest, d, *others.values()]


@pytest.mark.parametrize(
    ("function", "inputs", "wanted"),
    [
        (only, {"a": 1}, [1, 5, 6, 7]),
        (only, {"a": 1, "b": 2, "c": 3, "d": 4}, [1, 2, 3, 4]),
        (only, {"a": 1, "d": 4}, [1, 5, 6, 4]),
        (beyond, {"a": 1}, [1, 5, 7]),
        (beyond, {"a": 1, "b": 2, "e": 3}, [1, 2, 7, 3]),
        (beyond, {"a": 1, "b": 2, "*0": 3, "*1": 4, "d": 5}, [1, 2, 3, 4, 5]),
        (beyond, {"a": 1, "*0": 3}, [1, 5, 3, 7]),
    ],
)
def test_arguments(store: Store, function, inputs, wanted) -> None:
    graph = flow(step("f", inputs=inputs), result=out("f"))
    run = drive(graph, {"f": function}, store)
    assert run.result() == wanted
