"""when, otherwise, first: what guards whom."""

from __future__ import annotations

from typing import Any

import pytest

from flowbridge import FlowError, each, first, flow, otherwise, when
from flowbridge.ir.bindings import Constant, FirstOf, FromParameter, FromStep, PathItem
from flowbridge.ir.control import And, Compare, Not, Or, Truth
from tests.unit.authoring import steps_here as s

N = FromParameter(name="n")


def guards(graph, name):
    return graph.steps_by_id[name].guards


def test_every_comparison():
    @flow
    def f(n: int) -> Any:
        for condition in (n == 1, n != 1, n < 1, n <= 1, n > 1, n >= 1, 1 < n):  # noqa: SIM300  (this way round is looked at)
            with when(condition):
                s.add(n)

    graph = f.trace().graph
    assert [x.guards[0].op for x in graph.steps] == ["==", "!=", "<", "<=", ">", ">=", ">"]
    assert graph.steps[0].guards == (Compare(op="==", left=N, right=Constant(value=1)),)


def test_combinations():
    @flow
    def f(n: int, flag: bool) -> Any:
        big = s.is_big(n)
        with when(big & (n > 1)):
            s.add(n)
        with when(flag | ~big):
            s.add(n)
        with when(True & flag):
            s.add(n)

    graph = f.trace().graph
    big, flag = Truth(value=FromStep(step="is_big", output="result")), Truth(value=FromParameter(name="flag"))
    assert guards(graph, "add") == (And(left=big, right=Compare(op=">", left=N, right=Constant(value=1))),)
    assert guards(graph, "add_2") == (Or(left=flag, right=Not(operand=big)),)
    assert guards(graph, "add_3") == (And(left=Truth(value=Constant(value=True)), right=flag),)


def test_otherwise_belongs_to_the_when_at_its_level():
    @flow
    def sub(n: int) -> None:
        with when(n > 9):
            s.add(n)

    @flow
    def f(n: int) -> Any:
        with when(n > 1):
            with when(n > 2):
                s.number(n)
            with otherwise():
                s.number(n)
            sub(n)
        s.number(n)
        with otherwise():
            s.number(n)

    graph = f.trace().graph
    one, two, nine = (Compare(op=">", left=N, right=Constant(value=v)) for v in (1, 2, 9))
    assert guards(graph, "number") == (one, two)
    assert guards(graph, "number_2") == (one, Not(operand=two))
    assert guards(graph, "sub.add") == (one, nine)
    assert guards(graph, "number_3") == ()
    assert guards(graph, "number_4") == (Not(operand=one),)


def test_conditions_on_parts():
    @flow
    def f(data: list[int]) -> Any:
        best = s.train(data, 0.1)
        with when(best.accuracy > 0.9):
            s.publish(best)

    (guard,) = guards(f.trace().graph, "publish")
    assert guard.left == FromStep(step="train", output="result", path=(PathItem(kind="attr", key="accuracy"),))


def test_first():
    @flow
    def f(path: str, flag: bool) -> Any:
        with when(flag):
            a = s.load(path)
        with otherwise():
            b = s.load("b")
        return s.echo([first(a, b), first(a, b).train, first(a.train, [1, 2])[0], first(1, 2)])

    whole, part, deep, constants = dict(f.trace().graph.steps_by_id["echo"].inputs)["value"].items
    assert whole == FirstOf(choices=(FromStep(step="load", output="*"), FromStep(step="load_2", output="*")))
    assert part == FirstOf(choices=(FromStep(step="load", output="train"), FromStep(step="load_2", output="train")))
    assert deep.choices[0].path == (PathItem(kind="item", key=0),)
    assert deep.choices[1] == Constant(value=1)
    assert constants == FirstOf(choices=(Constant(value=1), Constant(value=2)))


def test_a_condition_about_items():
    @flow
    def sub(x: int, limit: int) -> int:
        with when(x > limit):
            return s.add(x)

    @flow
    def f(n: int) -> Any:
        return sub.map(each([1, 2]), limit=n)

    (guard,) = guards(f.trace().graph, "sub.add")
    assert (guard.left.map, guard.right) == ("sub-map", N)


def test_conditions_on_values_known_already():
    @flow
    def sub(x: int, flag: bool = True) -> int:
        with when(flag):
            return s.add(x)

    @flow
    def f(n: int) -> int:
        return sub(n)

    assert guards(f.trace().graph, "sub.add") == (Truth(value=Constant(value=True)),)


def test_an_error_inside_a_block_leaves_the_level():
    @flow
    def f(n: int) -> int:
        try:
            with when(n > 1):
                int("x")
        except ValueError:
            pass
        return s.add(n)

    assert guards(f.trace().graph, "add") == ()


def test_first_of_nothing_says_what_to_write() -> None:
    @flow
    def nothing() -> int:
        return first()

    with pytest.raises(FlowError, match=r"none was given\. Give them in order: first\(a, b\)"):
        nothing.trace()
