"""Maps: `each`, `grid`, zips, nested maps, mapped flows, and where their items and lists come from."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from flowbridge import FlowError, each, first, flow, grid, step, when
from flowbridge.ir.bindings import Collected, Constant, FirstOf, FromItem, FromParameter, FromStep, GridOf, ListOf, PathItem
from tests.unit.authoring import steps_here as s


@flow
def sub(x: int, plus: int = 1) -> int:
    return s.add(s.number(x), plus)


def inputs(graph, name):
    return dict(graph.steps_by_id[name].inputs)


def test_a_map_over_a_parameter():
    @flow
    def f(data: list[int], lrs: list[float]) -> s.Model:
        return s.select(s.train.map(data, lr=each(lrs)))

    graph = f.trace().graph
    (mapped,) = graph.maps
    assert (mapped.id, mapped.sources, mapped.scope) == ("train-map", (("lr", FromParameter(name="lrs")),), ())
    assert graph.steps_by_id["train"].scope == ("train-map",)
    assert inputs(graph, "train") == {"data": FromParameter(name="data"), "lr": FromItem(map="train-map", field="lr")}
    assert inputs(graph, "select") == {"models": FromStep(step="train", output="result")}


def test_what_can_be_gone_through():
    @flow
    def f(n: int) -> Any:
        s.number.map(each((1, 2)))
        s.number.map(each(range(2)))
        s.number.map(each(s.numbers(n)))
        s.number.map(each([s.add(n), 3]))
        return s.number.map(each(s.number.map(each([1]))))

    sources = [dict(m.sources)["n"] for m in f.trace().graph.maps]
    assert sources[0] == Constant(value=[1, 2])
    assert sources[1] == Constant(value=[0, 1])
    assert sources[2] == FromStep(step="numbers", output="result")
    assert sources[3] == ListOf(items=(FromStep(step="add", output="result"), Constant(value=3)))
    assert sources[5] == FromStep(step="number_5", output="result")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"b", "a"}, "keeps the order of its items, and a set has none"),
        (frozenset({1}), "a frozenset has none"),
        ({"a": 1}, "through its keys; write"),
        (pd.DataFrame({"a": [1]}), "through its columns; for its rows"),
        (3, "goes through a list, and int is none"),
    ],
)
def test_what_python_goes_through_in_another_way_is_refused(values, told):
    @flow
    def f() -> Any:
        return s.echo.map(each(values))

    with pytest.raises(FlowError, match=told):
        f.trace()


def test_zips_and_items_used_twice():
    @flow
    def f(xs: list[int]) -> Any:
        s.add.map(each(xs), b=each([1, 2]))
        point = each([{"a": 1, "b": 2}])
        s.add.map(point["a"], b=point["b"])
        return s.echo.map([each(xs), 1])

    graph = f.trace().graph
    assert [name for name, _ in graph.maps[0].sources] == ["a", "b"]
    assert [name for name, _ in graph.maps[1].sources] == ["a"]
    assert inputs(graph, "add_2")["b"] == FromItem(map="add_2-map", field="a", path=(PathItem(kind="item", key="b"),))
    assert inputs(graph, "echo")["value"] == ListOf(items=(FromItem(map="echo-map", field="value"), Constant(value=1)))


def test_grids():
    assert grid(a=[1, 2], b=["x", "y"]) == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]

    @flow
    def f(lrs: list[float]) -> Any:
        s.echo.map(each(grid(lr=[1, 2])))
        points = grid(lr=lrs, n=s.numbers(3))
        s.echo(points)
        return s.echo.map(each(points)["lr"])

    graph = f.trace().graph
    assert dict(graph.maps[0].sources)["value"] == Constant(value=[{"lr": 1}, {"lr": 2}])
    made = GridOf(items=(("lr", FromParameter(name="lrs")), ("n", FromStep(step="numbers", output="result"))))
    assert inputs(graph, "echo_2")["value"] == made
    assert dict(graph.maps[1].sources)["value"] == made


def test_options_of_maps():
    @flow
    def f(n: int) -> Any:
        first_one = s.number(n)
        with when(n > 1):
            s.number.options(parallel=4, after=[first_one]).map(each([1]), batch=10)
        return s.number.options(batch=2).map(each([1]))

    graph = f.trace().graph
    mapped = graph.maps[0]
    assert (mapped.parallel, mapped.batch, mapped.after, len(mapped.guards)) == (4, 10, ("number",), 1)
    inside = graph.steps_by_id["number_2"]
    assert (inside.guards, inside.after) == ((), ())
    assert graph.maps[1].batch == 2


def test_a_step_with_a_parameter_called_batch():
    @step
    def train(batch: int) -> int:
        return batch

    @flow
    def f() -> Any:
        return train.options(batch=5).map(batch=each([1]))

    graph = f.trace().graph
    assert graph.maps[0].batch == 5
    assert dict(graph.maps[0].sources) == {"batch": Constant(value=[1])}


def test_a_mapped_flow():
    @flow
    def f(n: int) -> Any:
        return sub.map(each(s.numbers(n)), plus=n)

    graph = f.trace().graph
    assert [x.id for x in graph.steps] == ["numbers", "sub.number", "sub.add"]
    assert graph.maps[0].id == "sub-map"
    assert graph.maps[0].group == ()
    assert graph.steps_by_id["sub.add"].scope == ("sub-map",)
    assert graph.steps_by_id["sub.add"].group == ("sub",)
    assert inputs(graph, "sub.number")["n"] == FromItem(map="sub-map", field="x")
    assert inputs(graph, "sub.add")["b"] == FromParameter(name="n")
    assert dict(graph.result)["result"] == FromStep(step="sub.add", output="result")


def test_maps_in_maps():
    @flow
    def row(y: int, width: int) -> list[int]:
        return sub.map(each(s.numbers(width)), plus=y)

    @flow
    def table(height: int, width: int) -> list[list[int]]:
        return row.map(each(s.numbers(height)), width=width)

    graph = table.trace().graph
    assert {m.id: m.scope for m in graph.maps} == {"row-map": (), "row.sub-map": ("row-map",)}
    add = graph.steps_by_id["row.sub.add"]
    assert add.scope == ("row-map", "row.sub-map")
    assert add.group == ("row", "sub")
    assert dict(add.inputs)["b"] == FromItem(map="row-map", field="y")
    assert dict(graph.result)["result"] == FromStep(step="row.sub.add", output="result")


def test_what_a_mapped_flow_may_return():
    @flow
    def chosen(x: int) -> int:
        with when(x > 1):
            big = s.add(x)
        return first(big, s.number(x))

    @flow
    def same(x: int) -> int:
        s.add(x)
        return x

    @flow
    def outer(x: int, y: int) -> int:
        s.add(x)
        return y

    @flow
    def pair(x: int) -> tuple[int, int]:
        return s.add(x), 3

    @flow
    def one_of(x: int) -> int:
        return s.number.map(each(s.numbers(x)))[0]

    @flow
    def f(n: int) -> Any:
        y = s.number(n)
        lists = [chosen.map(each([1])), same.map(each([1])), outer.map(each([1]), y=y), pair.map(each([1])), one_of.map(each([1]))]
        return s.echo([*lists, lists[3][0]])

    items = inputs(f.trace().graph, "echo")["value"].items
    assert items[0] == Collected(
        map="chosen-map",
        value=FirstOf(choices=(FromStep(step="chosen.add", output="result"), FromStep(step="chosen.number", output="result"))),
    )
    assert items[1] == Collected(map="same-map", value=FromItem(map="same-map", field="x"))
    assert items[2] == Collected(map="outer-map", value=FromStep(step="number", output="result"))
    assert isinstance(items[3].value, ListOf)
    assert items[4].value.then == (PathItem(kind="item", key=0),)
    assert items[5].path == (PathItem(kind="item", key=0),)


def test_a_collected_list_of_several_outputs():
    @flow
    def f() -> Any:
        halves = s.load.map(each(["a"]))
        return s.echo([halves, halves[0], halves[1].train])

    whole, one, field = inputs(f.trace().graph, "echo")["value"].items
    assert whole == FromStep(step="load", output="*")
    assert one == FromStep(step="load", output="*", then=(PathItem(kind="item", key=0),))
    assert field.then == (PathItem(kind="item", key=1), PathItem(kind="attr", key="train"))


def test_a_mapped_flow_that_returns_nothing_can_be_waited_for():
    @flow
    def tell(x: int) -> None:
        s.publish(s.train([x], 0.1))

    @flow
    def f() -> Any:
        told = tell.map(each([1, 2]))
        return s.say.options(after=[told])("done")

    assert f.trace().graph.steps_by_id["say"].after == ("tell.train", "tell.publish")


def test_outside_of_a_flow_a_map_is_a_loop():
    assert s.add.map(each([1, 2]), b=each([10, 20])) == [11, 22]
    assert s.total.map(each([1, 2]), 5, start=100) == [106, 107]
    points = each(grid(a=[1, 2], b=[3]))
    assert s.add.map(points["a"], b=points["b"], batch=2) == [4, 5]
    assert s.echo.map({"x": [each([1, 2])]}) == [{"x": [1]}, {"x": [2]}]
    assert s.add.map(each([])) == []
    with pytest.raises(FlowError, match=r"without each"):
        s.add.map(1)
    with pytest.raises(FlowError, match="must be of one length"):
        s.add.map(each([1]), b=each([1, 2]))
    with pytest.raises(FlowError, match="no argument 'c'"):
        s.add.map(each([1]), c=1)
