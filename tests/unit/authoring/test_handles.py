"""Handles refuse what only a value can do, and say what to write instead."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest

from flowbridge import FlowError, flow, step, when
from tests.unit.authoring import steps_here as s


def problems_of(body, **parameters):
    """Return the problems of a flow whose body gets the handle of a step called `number`, and the name of the step that they must tell."""

    @flow(name="tried")
    def built(n: int) -> Any:
        body(s.number(n))

    with pytest.raises(FlowError) as caught:
        built.trace()
    assert caught.value.flow == "tried"
    return caught.value.problems


REFUSED = {
    "if": (lambda x: 1 if x else 2, "flowbridge.when"),
    "not": (lambda x: not x, "flowbridge.when"),
    "and": (lambda x: (x > 1) and (x < 3), "`&`"),
    "chained": (lambda x: 0 < x < 3, "(a < b) & (b < c)"),
    "len": (len, "a step that returns the length"),
    "iteration": (list, "step.map(each(...))"),
    "in": (lambda x: 3 in x, "a step that returns a bool"),
    "int": (int, "Use a step"),
    "float": (float, "Use a step"),
    "complex": (complex, "Use a step"),
    "index": (lambda x: [1, 2, 3][x], "Use a step"),
    "range": (lambda x: list(range(x)), "Use a step"),
    "str": (str, "Use a step that makes the text"),
    "f-string": (lambda x: f"{x}", "Use a step that makes the text"),
    "format": (lambda x: f"{x:>10}", "Use a step that makes the text"),
    "percent": (lambda x: "%s" % x, "Use a step that makes the text"),  # noqa: UP031
    "set": (lambda x: x in {1, 2}, "when((x == 'a')"),
    "dict": (lambda x: {1: 2}[x], "when((x == 'a')"),
    "path": (Path, "a step that makes the path"),
    "bytes": (bytes, "Use a step"),
    "add": (lambda x: x + 1, "Use a step that calculates"),
    "radd": (lambda x: 1 + x, "Use a step that calculates"),
    "sub": (lambda x: x - 1, "Use a step that calculates"),
    "mul": (lambda x: 2 * x, "Use a step that calculates"),
    "truediv": (lambda x: 1 / x, "Use a step that calculates"),
    "floordiv": (lambda x: x // 2, "Use a step that calculates"),
    "mod": (lambda x: x % 2, "Use a step that calculates"),
    "pow": (lambda x: x**2, "Use a step that calculates"),
    "divmod": (lambda x: divmod(x, 2), "Use a step that calculates"),
    "matmul": (lambda x: x @ x, "Use a step that calculates"),
    "shift": (lambda x: x << 1, "Use a step that calculates"),
    "xor": (lambda x: x ^ 1, "Use a step that calculates"),
    "neg": (lambda x: -x, "Use a step that calculates"),
    "abs": (abs, "Use a step that calculates"),
    "round": (round, "Use a step that calculates"),
    "sqrt": (math.sqrt, "Use a step"),
    "call": (lambda x: x(1), "Use a step that takes the object"),
    "method": (lambda x: x.bit_length(), "Use a step that takes the object"),
    "setattr": (lambda x: setattr(x, "a", 1), "changed value"),
    "setitem": (lambda x: x.__setitem__(0, 1), "changed value"),
    "delitem": (lambda x: x.__delitem__(0), "changed value"),
    "slice": (lambda x: x[1:2], "[1:2]"),
    "key": (lambda x: x[x], "a step that takes both"),
    "sum": (sum, "step.map(each(...))"),
    "sorted": (sorted, "step.map(each(...))"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    body, instead = REFUSED[name]
    told = problems_of(body)
    assert any("number" in p and instead in p for p in told), told
    assert all("test_handles.py, line " in p for p in told if "number" in p), told


def test_a_loop_that_would_never_end_is_broken_off():
    def loop(x):
        while x:
            x = s.add(x)

    assert sum("flowbridge.when" in p for p in problems_of(loop)) == 3

    def after_a_problem(x):
        y = x + 1
        while y:
            y = y + 1

    assert len(problems_of(after_a_problem)) == 1


def test_copies_and_pickles_are_refused():
    assert any("cannot be copied or pickled" in p for p in problems_of(copy.deepcopy))


def test_repr_is_for_looking():
    shown = []

    @flow
    def f(n: int) -> int:
        x = s.number(n)
        shown.extend([repr(x), repr(n), repr(x > 3), repr(s.load("p").train)])
        return x

    f.trace()
    assert shown == [
        "<output of step 'number'>",
        "<parameter 'n'>",
        "<the comparison output of step 'number' > 3>",
        "<output of step 'load'.train>",
    ]


def test_tests_that_python_answers_without_asking():
    """They would always go one way, without a word."""

    @flow
    def sub(x: int | None) -> int:
        return s.number(1) if x is not None else s.number(2)

    @flow
    def f(n: int | None, word: str) -> int:
        if n is None:
            pass
        if isinstance(word, str):
            pass
        plain = None
        if plain is None:
            plain = 3
        sub(n)
        return sub(n)

    with pytest.raises(FlowError) as caught:
        f.trace()
    told = caught.value.problems
    assert ["n is None" in told[0], "isinstance(word, str)" in told[1], "x is not None" in told[2]] == [True] * 3
    assert len(told) == 3
    assert all("when(x == None)" in p for p in told)


def test_private_names_are_no_outputs():
    @flow
    def f(n: int) -> int:
        x = s.number(n)
        assert not hasattr(x, "_repr_html_")
        assert not hasattr(x, "__array__")
        return x

    assert f.trace()


def test_unpacking_exactly_where_the_number_is_known():
    @flow
    def f(pair: tuple[int, str], path: str) -> Any:
        a, b = pair
        train, test = s.load(path)
        q, r = s.divide(1, 2)
        return s.echo([a, b, train, test, q, r])

    assert len(f.trace().graph.steps) == 3


def test_fields_are_known():
    @flow
    def f(path: str) -> Any:
        halves = s.load(path)
        return s.echo([halves.tran, s.divide(1, 2)[4]])

    with pytest.raises(FlowError) as caught:
        f.trace()
    told = caught.value.problems
    assert "step 'load' has no 'tran'; it has train, test. Did you mean 'train'?" in told[0]
    assert "has 2 items, so there is no item 4" in told[1]


def test_a_handle_does_not_outlive_its_flow():
    kept = []

    @flow
    def f(n: int) -> int:
        kept.append(s.number(n))
        return kept[0]

    f.trace()
    with pytest.raises(FlowError, match="after the flow 'f' was built"):
        bool(kept[0])
    with pytest.raises(FlowError, match="after the flow 'f' was built"):
        _ = kept[0].x

    @flow
    def g(n: int) -> int:
        return s.add(kept[0])

    with pytest.raises(FlowError, match="of another flow, 'f'"):
        g.trace()


def test_closures_over_handles():
    @flow
    def f(n: int) -> Any:
        x = s.number(n)

        @step
        def uses() -> int:
            return x

        uses()
        s.echo(lambda y: y > x)

        def with_default(y, limit=x):
            return y

        return s.echo(with_default)

    with pytest.raises(FlowError) as caught:
        f.trace()
    assert len(caught.value.problems) == 3
    assert all("Give it to the step as an argument" in p for p in caught.value.problems)
    assert "step 'uses' uses 'x'" in caught.value.problems[0]


def test_the_users_own_error_comes_through():
    @flow
    def f(n: int) -> int:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        f.trace()


def test_an_error_that_follows_from_a_problem_is_left_out():
    @flow
    def f(n: int) -> int:
        _, _, _ = s.numbers(n)
        return s.add(nothing=1)

    with pytest.raises(FlowError) as caught:
        f.trace()
    assert len(caught.value.problems) == 1
    assert "annotate the step with tuple[A, B]" in caught.value.problems[0]


def test_numpy_leaves_comparisons_alone():
    numpy = pytest.importorskip("numpy")

    @flow
    def f(n: int) -> int:
        with when(numpy.float64(3) < s.number(n)):
            return s.add(n)

    guard = f.trace().graph.steps[1].guards[0]
    assert guard.op == ">"
