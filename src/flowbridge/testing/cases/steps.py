"""Steps and data between them: the least a backend can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from flowbridge import flow, step
from flowbridge.testing.case import Case


class Split(NamedTuple):
    """Two outputs by name."""

    left: list[int]
    right: list[int]


@dataclass
class Stats:
    """Two outputs of a dataclass."""

    total: int
    parts: dict[str, int]


@step
def number(n: int) -> int:
    return n


@step
def double(x: int) -> int:
    return x * 2


@step
def add(a: int, b: int) -> int:
    return a + b


@step
def total(*numbers: int, start: int = 0, **named: int) -> int:
    return start + sum(numbers) + sum(named.values())


@step
def halve(numbers: list[int]) -> Split:
    middle = len(numbers) // 2
    return Split(numbers[:middle], numbers[middle:])


@step
def divide(a: int, b: int) -> tuple[int, int]:
    return a // b, a % b


@step
def describe(numbers: list[int]) -> Stats:
    return Stats(sum(numbers), {"first": numbers[0], "last": numbers[-1]})


@step
def length(items: list[int]) -> int:
    return len(items)


@step
def nothing(x: int) -> None:
    print("seen", x)


@step
def echo(value: Any) -> Any:
    return value


@flow
def chain(n: int = 3) -> int:
    return double(double(double(number(n))))


@flow
def diamond(n: int) -> int:
    source = number(n)
    return add(double(source), add(source, 1))


@flow
def bridge(n: int) -> int:
    """Not series-parallel: the middle step crosses from one branch to the other."""
    a = number(n)
    b, c = double(a), add(a, 1)
    d = add(b, c)
    e = add(b, 10)
    return add(d, add(e, c))


@flow
def forest(n: int) -> tuple[int, int]:
    """Two parts that share nothing, and a step nobody waits for."""
    nothing(number(n))
    return double(number(n)), add(n, 5)


@flow
def several(numbers: list[int]) -> int:
    halves = halve(numbers)
    quotient, rest = divide(length(halves.left), length(halves.right))
    stats = describe(numbers)
    return total(quotient, rest, stats.total, start=100, last=stats.parts["last"])


@flow
def fields(numbers: list[int]) -> Split:
    halves = halve(numbers)
    return Split(halves.right, halves.left)


@flow
def returns_nothing(n: int) -> None:
    nothing(n)


@flow
def access(values: dict[str, list[int]]) -> int:
    kept = echo(values)
    return add(kept["a"][1], kept["b"][0])


@flow
def containers(n: int) -> Any:
    """Outputs inside lists, tuples and dicts that are written in the flow."""
    one = number(n)
    return echo({"list": [one, 2, double(one)], "pair": (one, "x"), "deep": {"k": [one]}})


@flow
def inner(x: int, y: int = 1) -> int:
    return add(double(x), y)


@flow
def nested_flows(n: int) -> int:
    return add(inner(n), inner(inner(n, y=5)))


@flow
def parameters(a: int, b: float = 0.5, c: str = "x", d: list[int] = [1, 2], e: bool = False) -> Any:  # noqa: B006
    return echo([a, b, c, d, e])


@flow
def constant() -> int:
    return add(1, 2)


CASES = [
    Case("chain", "A value goes from step to step.", chain, {"n": 2}, result=16),
    Case("default parameter", "A parameter left out takes its default.", chain, result=24),
    Case("diamond", "Two branches meet again.", diamond, {"n": 3}, result=10),
    Case("bridge", "A graph need not be series-parallel.", bridge, {"n": 3}, result=30),
    Case("forest", "Parts of a flow may share nothing.", forest, {"n": 4}, result=(8, 9)),
    Case("several outputs", "NamedTuple, tuple and dataclass outputs are told apart.", several, {"numbers": [1, 2, 3, 4]}, result=115),
    Case("fields returned", "A flow returns a NamedTuple made of outputs.", fields, {"numbers": [1, 2, 3]}, result=Split([2, 3], [1])),
    Case("returns nothing", "A flow may be run for its effects.", returns_nothing, {"n": 1}, result=None),
    Case("access", "Attribute and item access is deferred.", access, {"values": {"a": [1, 2], "b": [40]}}, result=42),
    Case(
        "containers",
        "Outputs may stand inside lists, tuples and dicts.",
        containers,
        {"n": 1},
        result={"list": [1, 2, 2], "pair": (1, "x"), "deep": {"k": [1]}},
    ),
    Case("flows in flows", "A flow called in a flow is inlined.", nested_flows, {"n": 2}, result=24),
    Case(
        "parameters",
        "Parameters are coerced by their annotations.",
        parameters,
        {"a": "7", "e": "true"},
        result=[7, 0.5, "x", [1, 2], True],
    ),
    Case("constant", "A flow needs no parameters.", constant, result=3),
]
