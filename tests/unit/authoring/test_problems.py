"""Everything that is wrong with a flow is told at once, with the step, the argument and the fix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from flowbridge import FlowError, each, first, flow, grid, otherwise, step, when
from flowbridge.errors import ConfigError
from tests.unit.authoring import steps_here as s


def problems_of(built):
    with pytest.raises(FlowError) as caught:
        built.trace()
    return list(caught.value.problems)


def test_arguments():
    @flow
    def f(n: int) -> Any:
        s.add()
        s.add(1, 2, 3)
        s.add(n, a=1)
        s.load(pth="x")
        return s.train([1], lr=0.1, q=2)

    told = problems_of(f)
    expected = [
        "step 'add': argument 'a' (int) is missing. Give it: a=...",
        "step 'add_2': it takes 2 arguments by position, and 3 were given.",
        "step 'add_3': argument 'a' is given twice",
        "step 'load': there is no argument 'pth'. Did you mean 'path'?",
        "step 'load': argument 'path' (str) is missing",
        "step 'train': there is no argument 'q'. It takes: data, lr.",
    ]
    assert [p.startswith(e) for p, e in zip(told, expected, strict=True)] == [True] * len(expected), told


def test_types_from_step_to_step():
    @flow
    def f(path: str, n: int) -> str:
        halves = s.load(n)
        s.train(halves, 0.1)
        s.select(s.numbers(3))
        s.train.map(halves.train, lr=each(["a"]))
        s.say.map(each(s.numbers(n)))
        return n

    told = problems_of(f)
    assert len(told) == 6
    assert "step 'load', argument 'path': expected str, got int (parameter 'n')" in told[0]
    assert "step 'train', argument 'data': expected list[int], got Split" in told[1]
    assert "step 'select', argument 'models': expected list[Model], got list[int] (output of step 'numbers')" in told[2]
    assert "step 'train_2', argument 'lr': expected float, got str" in told[3]
    assert "step 'say', argument 'word': expected str, got int" in told[4]
    assert "what the flow returns: expected str, got int" in told[5]


def test_a_mapped_output_is_a_list():
    @flow
    def f() -> Any:
        models = s.train.map([1], each([0.1]))
        s.select(models)
        s.publish(models)
        return models.accuracy

    told = problems_of(f)
    assert len(told) == 2
    assert "step 'publish', argument 'model': expected Model, got list[Model]" in told[0]
    assert "is a list, one item for each task of the map; it has no 'accuracy'" in told[1]


def test_nothing_returned():
    @flow
    def f(n: int) -> Any:
        told = s.publish(s.train([1], 0.1))
        s.echo(told)
        return s.echo(told.x)

    assert all("step 'publish' returns nothing" in p for p in problems_of(f))


def test_a_return_forgotten():
    @flow
    def f(n: int) -> int:
        s.add(n)

    told = problems_of(f)
    assert len(told) == 1
    assert told[0].startswith("what the flow returns: expected int, got nothing. Return it, or annotate the flow with -> None.")


def test_conditions():
    @flow
    def f(n: int, word: str) -> Any:
        when(n > 1)
        with when(n):
            pass
        with when("x"):
            pass
        with otherwise():
            pass
        with otherwise():
            pass
        s.echo(n > 3)
        return first(n > 1, 2)

    told = problems_of(f)
    assert "when(...): parameter 'n' is a int, not a bool" in told[0]
    assert "'x' is not a condition" in told[1]
    assert "otherwise() belongs to" in told[2]
    assert "is for when(...) only and cannot be passed on" in told[3]
    assert "write `with when(...):`" in told[-1]


def test_duplicate_names():
    def make(body):
        return step(name="same")(body)

    def one(n: int) -> int:
        return n

    def two(n: int) -> int:
        return -n

    @flow
    def f(n: int) -> int:
        return make(two)(make(one)(n))

    told = problems_of(f)
    assert len(told) == 1
    assert "two different steps or flows are called 'same'" in told[0]
    assert "one (line" in told[0]
    assert "name='...'" in told[0]


def test_cycles_through_after():
    @flow
    def f(n: int) -> int:
        a = s.add.options(after=["say"])(n)
        s.say.options(after=[a])("x")
        s.echo.options(after=["echo"])(1)
        return a

    told = problems_of(f)
    assert any("steps 'add', 'say' wait for each other" in p for p in told)
    assert any("step 'echo': after=[...] names the step itself" in p for p in told)


def test_after_names_nothing():
    @flow
    def f(n: int) -> int:
        s.add.options(after=["ad"])(n)
        return s.add.options(after=[3, n])(n)

    told = problems_of(f)
    assert any("names 'ad', and no step has that id. Did you mean 'add'" in p for p in told)
    assert any("takes outputs of steps (or their ids as text), not 3" in p for p in told)
    assert any("parameter 'n' is none: there is nothing to wait for" in p for p in told)


def test_maps():
    @flow
    def sub(x: int) -> int:
        return s.add(s.add(x))

    @flow
    def f(n: int) -> Any:
        s.add.map(n)
        s.train.map(each([[1]]), each([0.1, 0.2]))
        sub.options(batch=3).map(each([1]))
        s.add.options(parallel=3)(n)
        s.add(each([1]))
        s.add.map(each(n))
        return s.add.map(each([1, 2]), b=each(grid(a=[1])))

    told = "\n".join(problems_of(f))
    assert "map over 'add': .map(...) without each(...)" in told
    assert "'data' has 1, 'lr' has 2" in told
    assert "map over 'sub': batch= is for maps over one step, and 2 steps or maps are inside" in told
    assert "parallel= is for maps" in told
    assert "each(...) is for the arguments of .map(...) only" in told
    assert "each(...) of 'a': expected a list, got int (parameter 'n')" in told
    assert "'a' has 2, 'b' has 1" in told


@pytest.mark.parametrize(("values", "told"), [("abc", "single characters"), (3, "int is none"), (None, "NoneType is none")])
def test_each_of_no_list(values, told):
    @flow
    def f() -> Any:
        return s.add.map(each(values))

    assert told in problems_of(f)[0]


def test_an_item_can_only_be_an_argument():
    @flow
    def f() -> Any:
        return s.add.map(each([1]) + 1)

    assert "nothing else can be done with it" in problems_of(f)[0]


def test_outputs_of_a_map_stay_inside():
    kept = []

    @flow
    def sub(x: int) -> int:
        kept.append(s.add(x))
        return kept[-1]

    @flow
    def f() -> int:
        sub.map(each([1]))
        with when(kept[-1] > 3):
            s.say("x")
        return s.add(kept[-1])

    told = problems_of(f)
    assert "from inside the map 'sub-map'" in told[0]
    assert "Return it from the mapped flow" in told[-1]


def test_constants():
    class Holder:
        def __init__(self, x):
            self.x = x

    @flow
    def f(n: int) -> Any:
        s.echo("x" * (2**20 + 1))
        s.echo(b"x" * (2**20 + 1))
        s.echo(Holder(n))
        generator = (i for i in range(3))
        s.echo(generator)
        return s.echo({1: n})

    told = problems_of(f)
    assert "a constant of 1.0 MiB is too large" in told[0]
    assert "Make it a parameter of the flow, or load it in a step" in told[1]
    assert "it is inside a" in told[2]
    assert "Holder" in told[2]
    assert "a generator cannot be carried" in told[3]
    assert "has texts as keys" in told[4]


def test_a_flow_that_calls_itself():
    @flow
    def f(n: int) -> int:
        return f(n)

    assert "calls itself" in problems_of(f)[0]


def test_flows_are_not_run_inside_flows():
    @flow
    def sub(n: int) -> int:
        return s.add(n)

    @flow
    def f(n: int) -> int:
        sub.run(n)
        return s.add(n)

    assert "Call sub(...)" in problems_of(f)[0]


def test_arguments_of_inlined_flows():
    @flow
    def sub(x: int, y: str = "a") -> int:
        return s.add(x)

    @flow
    def f(n: int, word: str) -> int:
        sub()
        sub(n, z=1)
        return sub(word)

    told = problems_of(f)
    assert told[0].startswith("flow 'sub': argument 'x' (int) is missing")
    assert told[1].startswith("flow 'sub_2': there is no argument 'z'")
    assert told[2].startswith("flow 'sub_3', argument 'x': expected int, got str (parameter 'word')")


def test_parameters_of_a_flow_have_names():
    with pytest.raises(FlowError, match="parameters of a flow have names"):

        @flow
        def f(*args: int) -> int:
            return 1


def test_flows_are_no_generators_and_no_coroutines():
    with pytest.raises(FlowError, match="yield"):

        @flow
        def f(n: int) -> Any:
            yield n

    with pytest.raises(FlowError, match="asynchronous"):

        @flow
        async def g(n: int) -> Any:
            return n


def test_a_flow_is_not_called_as_a_plain_function():
    @flow
    def f(n: int) -> int:
        return s.add(n)

    with pytest.raises(FlowError, match=r"f\.options\(backend='inline'\)\.run"):
        f(1)
    with pytest.raises(FlowError, match="outside of a flow"):
        f.map(each([1]))


def test_conditions_are_for_flows():
    for tried in (lambda: when(True), otherwise, lambda: first(1, 2)):
        with pytest.raises(FlowError, match="for the body of a flow"):
            tried()


def test_options_are_checked_where_they_stand():
    with pytest.raises(ConfigError, match=r"step 'f': memory: '4GB' is not an amount of memory"):

        @step(memory="4GB")
        def f(n: int) -> int:
            return n


class Named(NamedTuple):
    text: str
    number: int


def test_a_class_that_is_more_than_its_fields_is_made_in_a_step() -> None:
    @dataclass
    class Checked:
        n: int

        def __post_init__(self) -> None:
            self.more = 1

    @flow
    def f(n: int) -> Any:
        return s.echo(Checked(n))

    (told,) = problems_of(f)
    assert "it is inside a" in told
    assert "NamedTuples and dataclasses; make the rest in a step" in told


def test_the_fields_of_a_record_are_held_to_their_types() -> None:
    @step
    def takes(value: Named) -> int:
        return value.number

    @flow
    def g(text: str) -> Any:
        return takes(Named(text, text))

    (told,) = problems_of(g)
    assert "argument 'value', 'number': expected int, got str" in told


def test_objects_that_refer_to_each_other_are_constants_still() -> None:
    @dataclass
    class Node:
        other: Any = None

    first = Node()
    first.other = Node(first)

    @flow
    def f() -> Any:
        return s.echo(first)

    assert f.trace().graph.steps[0].inputs[0][1].kind == "constant"
