"""Maps: one task per item, over any list, nested, zipped, empty, in batches."""

from __future__ import annotations

from typing import Any

from flowbridge import each, flow, grid, step
from flowbridge.testing.case import Case


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def square(x: int, plus: int = 0) -> int:
    return x * x + plus


@step
def pair(x: int, y: str) -> str:
    return f"{x}{y}"


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@step
def join(xs: list[str]) -> str:
    return "-".join(xs)


@step
def depth(xs: list[list[int]]) -> list[int]:
    return [len(x) for x in xs]


@step
def score(lr: float, layers: int) -> float:
    return lr * layers


@step
def split(x: int) -> tuple[int, list[int]]:
    return x, list(range(x))


@step
def keep(value: Any) -> Any:
    return value


@flow
def over_literal() -> int:
    return total(square.map(each([1, 2, 3])))


@flow
def over_parameter(xs: list[int], plus: int) -> list[int]:
    return square.map(each(xs), plus=plus)


@flow
def over_output(n: int) -> int:
    return total(square.map(each(numbers(n)), plus=numbers(n)[1]))


@flow
def over_part(d: dict[str, list[int]]) -> int:
    """The list is something inside an output."""
    return total(square.map(each(keep(d)["xs"])))


@flow
def zipped(xs: list[int]) -> str:
    return join(pair.map(each(xs), each(["a", "b", "c"])))


@flow
def zipped_outputs(n: int) -> str:
    return join(pair.map(each(numbers(n)), each(["a", "b", "c"])))


@flow
def over_grid() -> list[float]:
    return score.map(**each_of_grid())


def each_of_grid() -> dict[str, Any]:
    points = each(grid(lr=[0.5, 1.0], layers=[2, 4]))
    return {"lr": points["lr"], "layers": points["layers"]}


@flow
def twice(n: int) -> int:
    """A mapped step mapped over again."""
    return total(square.map(each(square.map(each(numbers(n)))), plus=1))


@flow
def one_row(n: int) -> list[int]:
    return square.map(each(numbers(n)))


@flow
def rows(ns: list[int]) -> list[int]:
    """A map of a flow that has a map inside: lists of lists."""
    return depth(one_row.map(each(ns)))


@flow
def branch(x: int, plus: int) -> int:
    first, items = split(x)
    return square(first, plus=total(square.map(each(items), plus=plus)))


@flow
def of_flow(n: int, plus: int) -> list[int]:
    """Outer values, items and inner maps meet in one sub-flow."""
    return branch.map(each(numbers(n)), plus=plus)


@flow
def cell(x: int, row: int) -> int:
    return square(x, plus=row)


@flow
def row(y: int, width: int) -> list[int]:
    return cell.map(each(numbers(width)), row=y)


@flow
def table(height: int, width: int) -> list[list[int]]:
    return row.map(each(numbers(height)), width=width)


@flow
def in_batches(n: int) -> int:
    return total(square.options(parallel=2).map(each(numbers(n)), batch=4))


@flow
def batched_list(n: int) -> list[int]:
    return square.map(each(numbers(n)), batch=3)


@flow
def in_parallel(xs: list[int]) -> list[int]:
    return square.options(parallel=1).map(each(xs))


@flow
def picked(n: int) -> int:
    """One item of a collected list."""
    return square(square.map(each(numbers(n)))[2])


CASES = [
    Case("map over a literal", "One task per item, collected in order.", over_literal, result=14),
    Case(
        "map over a parameter",
        "The list may be a parameter; other arguments go to all.",
        over_parameter,
        {"xs": [3, 1], "plus": 1},
        result=[10, 2],
    ),
    Case("map over an output", "The list may be made while the flow runs.", over_output, {"n": 4}, result=18),
    Case("map over a part", "The list may be inside an output.", over_part, {"d": {"xs": [1, 2]}}, result=5),
    Case(
        "map over nothing",
        "An empty list gives an empty list; what its tasks would need is never asked for.",
        over_output,
        {"n": 0},
        result=0,
    ),
    Case("map over an empty parameter", "An empty list gives an empty list.", over_parameter, {"xs": [], "plus": 1}, result=[]),
    Case("map over an empty output", "An empty list made while the flow runs gives zero.", twice, {"n": 0}, result=0),
    Case("zip", "Several each() are taken item by item.", zipped, {"xs": [1, 2, 3]}, result="1a-2b-3c"),
    Case(
        "zip of different lengths",
        "Lists of different lengths fail before any item runs.",
        zipped_outputs,
        {"n": 2},
        status="failed",
        states={"join": "cancelled"},
        reasons={"pair-map": "error"},
    ),
    Case("grid", "A grid gives the product, first name slowest.", over_grid, result=[1.0, 2.0, 2.0, 4.0]),
    Case("map of a map", "A collected list can be mapped over.", twice, {"n": 3}, result=20),
    Case("lists of lists", "Nested maps collect to nested lists, empty ones included.", rows, {"ns": [2, 0, 3]}, result=[2, 0, 3]),
    Case("map of a flow", "A sub-flow per item, with maps inside.", of_flow, {"n": 4, "plus": 1}, result=[0, 2, 7, 17]),
    Case("maps three deep", "Sub-flows nest.", table, {"height": 2, "width": 3}, result=[[0, 1, 4], [1, 2, 5]]),
    Case("batches", "batch= takes several items in one process; nothing else changes.", in_batches, {"n": 10}, result=285),
    Case("batches collected", "The last batch may be short; the list is flat.", batched_list, {"n": 7}, result=[0, 1, 4, 9, 16, 25, 36]),
    Case("empty batches", "No items, no batches.", batched_list, {"n": 0}, result=[]),
    Case("parallel", "parallel= changes when, not what.", in_parallel, {"xs": [1, 2, 3]}, result=[1, 4, 9]),
    Case("item of a collected list", "A collected list can be indexed in the flow.", picked, {"n": 4}, result=16),
]
