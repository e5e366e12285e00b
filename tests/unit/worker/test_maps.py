"""Maps: expansion, zipping, collecting, nesting, batches."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from flowbridge.artifacts.store import Store
from flowbridge.ir.bindings import Collected, Constant, FirstOf, FromStep
from flowbridge.ir.control import Compare, Truth
from flowbridge.records.expected import tasks_of

from .driver import binding, drive, flow, item, out, over, param, path, step


def same(value: Any) -> Any:
    return value


def as_list(value: Any) -> list[Any]:
    return list(value)


def size(value: Any) -> int:
    return len(value)


def twice(x: int) -> int:
    return 2 * x


MAPPED = step("t", scope=("m",), inputs={"x": item("m", "x")})


@pytest.mark.parametrize("cheap", [True, False])
@pytest.mark.parametrize("items", [[], [3], [3, 1, 2], list(range(50))])
def test_a_mapped_output_arrives_as_an_ordered_list(store: Store, items: list[int], cheap: bool) -> None:
    graph = flow(step("xs"), over("m", x=out("xs")), MAPPED, step("all", inputs={"value": out("t")}), result=out("all"))
    run = drive(graph, {"xs": lambda: items, "t": twice, "all": as_list}, store, cheap=cheap)
    assert run.end.state == "done"
    assert run.result() == [2 * x for x in items]
    assert run.records["m", ()].count == len(items)


@pytest.mark.parametrize("source", [Constant(value=[1, 2]), param("p", "k"), param("q"), out("a", "k"), out("a", "t")])
def test_any_list_can_be_mapped_over(store: Store, source: Any) -> None:
    graph = flow(step("a"), over("m", x=source), MAPPED, result=out("t"), params="p q")
    run = drive(graph, {"a": lambda: {"k": [1, 2], "t": (1, 2)}, "t": twice}, store, {"p": {"k": [1, 2]}, "q": [1, 2]})
    assert list(run.result()) == [2, 4]


def test_several_sources_are_taken_item_by_item(store: Store) -> None:
    graph = flow(
        step("a"),
        over("m", x=out("a"), y=Constant(value=["p", "q"])),
        step("t", scope=("m",), inputs={"x": item("m", "x"), "y": item("m", "y")}),
        result=out("t"),
    )
    assert list(drive(graph, {"a": lambda: [1, 2], "t": lambda x, y: f"{x}{y}"}, store).result()) == ["1p", "2q"]


@pytest.mark.parametrize("cheap", [True, False])
def test_lists_of_different_lengths_fail_before_any_item_runs(store: Store, cheap: bool) -> None:
    graph = flow(step("a"), over("m", x=out("a"), y=Constant(value=[1, 2, 3])), MAPPED, step("end", inputs={"value": out("t")}))
    run = drive(graph, {"a": lambda: [1, 2], "t": twice, "end": same}, store, cheap=cheap)
    reason = run.records["m", ()].reason
    assert reason is not None
    assert run.state("m") == "failed"
    assert "x has 2, y has 3" in reason.message
    assert run.state("end") == "cancelled"
    assert run.end.state == "failed"


@pytest.mark.parametrize("value", ["text", {"a": 1}, 5, None, {"a", "b"}, pd.DataFrame({"a": [1]})])
def test_what_is_no_list_cannot_be_mapped_over(store: Store, value: Any) -> None:
    run = drive(flow(step("a"), over("m", x=out("a")), MAPPED), {"a": lambda: value, "t": twice}, store)
    reason = run.records["m", ()].reason
    assert reason is not None
    assert f"'x', which must be a list, but it is of type {type(value).__name__}" in reason.message


def test_items_and_collected_lists_can_be_accessed_inside(store: Store) -> None:
    graph = flow(
        over("m", x=Constant(value=[{"k": 1}, {"k": 2}])),
        step("t", scope=("m",), inputs={"x": item("m", "x", "k")}),
        step("parts", inputs={"value": out("t", "r")}),
        step("third", inputs={"value": out("t", then=(1, "r"))}),
        result={"a": out("parts"), "b": out("third")},
        kind="tuple",
    )
    assert drive(graph, {"t": lambda x: {"r": x * 10}, "parts": same, "third": same}, store).result() == ([10, 20], 20)


def nested(*, result: Any) -> Any:
    return flow(
        over("m", x=Constant(value=[2, 0, 3])),
        step("xs", scope=("m",), inputs={"n": item("m", "x")}),
        over("n", scope=("m",), y=out("xs")),
        step("t", scope=("m", "n"), inputs={"x": item("n", "y"), "row": item("m", "x")}),
        step("size", scope=("m",), inputs={"value": out("t")}),
        result=result,
    )


NESTED = {"xs": lambda n: list(range(n)), "t": lambda x, row: 10 * row + x, "size": size}
ROWS = [[20, 21], [], [30, 31, 32]]


def test_nested_maps_collect_to_nested_lists(store: Store) -> None:
    run = drive(nested(result=out("t")), NESTED, store)
    assert run.result() == ROWS


def test_inside_a_map_only_what_is_deeper_collects(store: Store) -> None:
    run = drive(nested(result=out("size")), NESTED, store)
    assert list(run.result()) == [2, 0, 3]
    assert len(list(tasks_of(run.graph, lambda s, i: run.records.get((s, i))))) == 1 + 3 + 3 + 5 + 3


@pytest.mark.parametrize("batch", [1, 3, 10, 100])
def test_batches_change_nothing_but_the_number_of_tasks(store: Store, batch: int) -> None:
    items = list(range(10))
    graph = flow(over("m", batch=batch, x=Constant(value=items)), MAPPED, step("u", inputs={"value": out("t")}), result=out("u"))
    run = drive(graph, {"t": twice, "u": lambda value: [*value]}, store)
    assert run.result() == [2 * x for x in items]
    units = [r for (s, _), r in run.records.items() if s == "t"]
    assert len(units) == -(-len(items) // batch)
    assert [r.items for r in units] == [min(batch, len(items) - i * batch) for i in range(len(units))]


def test_a_map_can_run_over_what_batches_made(store: Store) -> None:
    graph = flow(
        over("m", batch=3, x=Constant(value=list(range(7)))),
        MAPPED,
        over("n", x=out("t")),
        step("u", scope=("n",), inputs={"x": item("n", "x")}),
        result=out("u"),
    )
    assert list(drive(graph, {"t": twice, "u": twice}, store).result()) == [4 * x for x in range(7)]


def odd(x: int) -> Any:
    return Compare(op="==", left=item("m", "x", "odd"), right=Constant(value=True))


ITEMS = [{"odd": bool(i % 2), "i": i} for i in range(6)]


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_skipped_items_are_left_out_of_the_list(store: Store, batch: int | None) -> None:
    only = step("t", scope=("m",), inputs={"x": item("m", "x", "i")}, guards=(Truth(value=item("m", "x", "odd")),))
    graph = flow(over("m", batch=batch, x=Constant(value=ITEMS)), only, result=out("t"))
    assert list(drive(graph, {"t": twice}, store).result()) == [2, 6, 10]


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_failures_that_are_allowed_are_left_out_of_the_list(store: Store, batch: int | None) -> None:
    def odd_only(x: int) -> int:
        if x % 2 == 0:
            raise ValueError(x)
        return x

    may_fail = step("t", scope=("m",), inputs={"x": item("m", "x", "i")}, allow_failure=True)
    graph = flow(over("m", batch=batch, x=Constant(value=ITEMS)), may_fail, step("u", inputs={"value": out("t")}), result=out("u"))
    run = drive(graph, {"t": odd_only, "u": as_list}, store)
    assert run.end.state == "done"
    assert run.result() == [1, 3, 5]


@pytest.mark.parametrize("batch", [None, 4])
def test_an_item_that_fails_blocks_the_list_and_names_itself(store: Store, batch: int | None) -> None:
    def not_three(x: int) -> int:
        return 1 // (x - 3)

    graph = flow(over("m", batch=batch, x=Constant(value=list(range(6)))), MAPPED, step("u", inputs={"value": out("t")}))
    run = drive(graph, {"t": not_three, "u": as_list}, store)
    failed = next(r for r in run.records.values() if r.state == "failed")
    assert failed.reason is not None
    assert failed.reason.error == ("BatchItemError" if batch else "ZeroDivisionError")
    assert "ZeroDivisionError" in failed.reason.message
    assert batch is None or "item 3" in failed.reason.message
    assert run.state("u") == "cancelled"


def test_a_skipped_map_skips_the_list(store: Store) -> None:
    graph = flow(
        over("m", x=Constant(value=[1]), guards=(Truth(value=Constant(value=False)),)),
        MAPPED,
        step("u", inputs={"value": out("t")}),
        step("v", inputs={"value": FirstOf(choices=(out("t"), Constant(value=[7])))}),
        result=out("v"),
    )
    run = drive(graph, {"t": twice, "u": as_list, "v": as_list}, store)
    assert run.state("m") == "skipped"
    assert run.state("u") == "skipped"
    assert run.result() == [7]


@pytest.mark.parametrize("items", [[], [1, 2]])
def test_a_mapped_call_that_needs_a_skipped_value_is_skipped_as_a_whole(store: Store, items: list[int]) -> None:
    graph = flow(
        step("a", guards=(Truth(value=Constant(value=False)),)),
        over("m", x=Constant(value=items)),
        step("t", scope=("m",), inputs={"x": item("m", "x"), "by": out("a")}),
        step("u", scope=("m",), inputs={"x": out("t")}),
        result=FirstOf(choices=(out("u"), Constant(value="none"))),
    )
    run = drive(graph, {"a": same, "t": lambda x, by: x, "u": twice}, store)
    assert run.result() == "none"


def test_the_list_of_something_that_is_no_plain_output(store: Store) -> None:
    big = Compare(op=">", left=out("n"), right=Constant(value=1))
    small = Compare(op="<=", left=out("n"), right=Constant(value=1))
    graph = flow(
        over("m", x=Constant(value=[0, 1, 2, 3])),
        step("n", scope=("m",), inputs={"x": item("m", "x")}),
        step("p", scope=("m",), guards=(big,), inputs={"x": out("n")}),
        step("q", scope=("m",), guards=(small,), inputs={"x": item("m", "x")}),
        result=Collected(map="m", value=FirstOf(choices=(out("p"), out("q"))), path=path(2)),
    )
    run = drive(graph, {"n": lambda x: x, "p": lambda x: f"p{x}", "q": lambda x: f"q{x}"}, store)
    assert run.result() == "p2"
    everything = flow(*graph.steps, *graph.maps, result=Collected(map="m", value=FirstOf(choices=(out("p"), out("q")))))
    assert drive(everything, {"n": lambda x: x, "p": lambda x: f"p{x}", "q": lambda x: f"q{x}"}, store, run="r2").result() == [
        "q0",
        "q1",
        "p2",
        "p3",
    ]


def test_all_outputs_of_a_mapped_step(store: Store) -> None:
    for batch in (None, 2):
        graph = flow(
            over("m", batch=batch, x=Constant(value=[1, 2, 3])),
            step("t", scope=("m",), kind="tuple", outputs="0 1", inputs={"x": item("m", "x")}),
            result=FromStep(step="t", output="*"),
        )
        assert drive(graph, {"t": lambda x: (x, -x)}, store, run=f"r{batch}").result() == [(1, -1), (2, -2), (3, -3)]


def test_a_collected_list_is_made_once(store: Store) -> None:
    graph = flow(
        over("m", x=Constant(value=list(range(40)))),
        MAPPED,
        *(step(f"u{i}", inputs={"value": out("t")}) for i in range(2)),
        result=binding(1),
    )
    run = drive(graph, {"t": twice, "u0": size, "u1": size}, store)
    kept = run.files.gathered("t", (), "result")
    assert kept is not None
    assert kept.length == 40


@pytest.mark.parametrize("cheap", [True, False])
def test_a_condition_of_a_map_that_cannot_be_told_fails_the_map(store: Store, cheap: bool) -> None:
    guard = Compare(op="<", left=Constant(value="text"), right=Constant(value=1))
    run = drive(flow(over("m", x=Constant(value=[1]), guards=(guard,)), MAPPED), {"t": twice}, store, cheap=cheap)
    reason = run.records["m", ()].reason
    assert reason is not None
    assert reason.error == "ConditionError"
    assert "'text' < 1 cannot be told" in reason.message
