"""Steps: plain functions outside of flows, nodes inside; arguments bound against the real signature."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest

from flowbridge import FlowError, flow, step
from flowbridge.errors import ConfigError
from flowbridge.ir.bindings import Constant, DictOf, FromParameter, FromStep, ListOf, PathItem
from tests.unit.authoring import steps_here as s


def only(graph, name):
    return graph.steps_by_id[name]


def inputs(node):
    return dict(node.inputs)


def test_outside_of_a_flow_a_step_is_its_function():
    assert s.add(1, b=2) == 3
    assert s.add.__name__ == "add"
    assert str(inspect.signature(s.add)) == "(a: 'int', b: 'int' = 1) -> 'int'"


def test_building_runs_nothing():
    @flow
    def chain(n: int) -> int:
        return s.number(s.number(n))

    graph = chain.trace().graph
    assert [x.id for x in graph.steps] == ["number", "number_2"]
    assert inputs(graph.steps[0]) == {"n": FromParameter(name="n")}
    assert inputs(graph.steps[1]) == {"n": FromStep(step="number", output="result")}
    assert graph.result == (("result", FromStep(step="number_2", output="result")),)
    assert graph.result_kind == "single"


def test_arguments_left_to_defaults_are_absent():
    @flow
    def f() -> int:
        return s.add(1)

    assert inputs(f.trace().graph.steps[0]) == {"a": Constant(value=1)}


def test_outputs_of_every_kind():
    @flow
    def f(path: str) -> Any:
        halves = s.load(path)
        a, b = s.divide(s.add(1), 2)
        stats = s.describe(halves.train)
        s.publish(s.train(halves.test, 0.1))
        return s.echo([a, b, stats.parts["x"], halves.size, halves[1]])

    graph = f.trace().graph
    kinds = {n.id: (n.output_kind, [p.name for p in n.outputs]) for n in graph.steps}
    assert kinds["load"] == ("fields", ["train", "test"])
    assert kinds["divide"] == ("tuple", ["output_0", "output_1"])
    assert kinds["describe"] == ("fields", ["total", "parts"])
    assert kinds["publish"] == ("none", [])
    assert kinds["add"] == ("single", ["result"])
    bound = inputs(only(graph, "echo"))["value"]
    assert bound == ListOf(
        items=(
            FromStep(step="divide", output="output_0"),
            FromStep(step="divide", output="output_1"),
            FromStep(step="describe", output="parts", path=(PathItem(kind="item", key="x"),)),
            FromStep(step="load", output="*", path=(PathItem(kind="attr", key="size"),)),
            FromStep(step="load", output="test"),
        )
    )


def test_whole_values_of_steps_with_several_outputs():
    @flow
    def f(path: str) -> s.Split:
        halves = s.load(path)
        s.echo(halves)
        return halves

    graph = f.trace().graph
    whole = FromStep(step="load", output="*")
    assert inputs(only(graph, "echo")) == {"value": whole}
    assert graph.result == (("result", whole),)
    assert graph.result_kind == "single"


def test_containers_with_outputs_inside():
    @flow
    def f() -> Any:
        one = s.add(1)
        return s.echo({"list": [one, 2], "pair": (one, "x"), "plain": [1, {"a": None}]})

    value = inputs(f.trace().graph.steps[1])["value"]
    one = FromStep(step="add", output="result")
    assert value == DictOf(
        items=(
            ("list", ListOf(items=(one, Constant(value=2)))),
            ("pair", ListOf(items=(one, Constant(value="x")), tuple_=True)),
            ("plain", Constant(value=[1, {"a": None}])),
        )
    )


def test_variadic_arguments():
    @flow
    def f(n: int) -> int:
        return s.total(1, n, start=3, other=4)

    assert inputs(f.trace().graph.steps[0]) == {
        "*0": Constant(value=1),
        "*1": FromParameter(name="n"),
        "start": Constant(value=3),
        "other": Constant(value=4),
    }


def test_defaults_before_extra_positionals_are_written_out():
    @step
    def f(a: int, b: int = 5, *rest: int) -> int:
        return a

    @flow
    def with_rest() -> int:
        return f(1, 2, 3)

    @flow
    def without() -> int:
        return f(1)

    assert list(inputs(with_rest.trace().graph.steps[0])) == ["a", "b", "*0"]
    assert list(inputs(without.trace().graph.steps[0])) == ["a"]


def test_results_of_every_kind():
    @flow
    def nothing(n: int) -> None:
        s.add(n)

    @flow
    def pair(n: int) -> tuple[int, int]:
        return s.add(n), 5

    @flow
    def fields(path: str) -> s.Split:
        halves = s.load(path)
        return s.Split(halves.test, halves.train)

    @flow
    def structure(n: int) -> dict[str, Any]:
        return {"a": [s.add(n)], "b": 1}

    assert nothing.trace().graph.result_kind == "none"
    assert nothing.trace().graph.result == ()
    assert pair.trace().graph.result_kind == "tuple"
    assert dict(pair.trace().graph.result)["output_1"] == Constant(value=5)
    traced = fields.trace()
    assert traced.graph.result_kind == "fields"
    assert traced.result_class is s.Split
    assert traced.graph.result_type == "tests.unit.authoring.steps_here:Split"
    assert dict(traced.graph.result)["train"] == FromStep(step="load", output="test")
    assert isinstance(dict(structure.trace().graph.result)["result"], DictOf)


def test_order_without_data():
    @flow
    def f(n: int) -> int:
        first = s.add(n)
        told = s.publish(s.train([1], 0.1))
        last = s.add.options(after=[first, told])(n)
        return s.add.options(after=["add"])(last)

    graph = f.trace().graph
    assert only(graph, "add_2").after == ("add", "publish")
    assert only(graph, "add_3").after == ("add",)


def test_ids_in_after_may_point_forwards():
    @flow
    def f(n: int) -> int:
        s.say.options(after=["add"])("x")
        return s.add(n)

    assert [x.id for x in f.trace().graph.steps] == ["add", "say"]


def test_options_of_one_call_leave_the_step_alone():
    @flow
    def f(n: int) -> int:
        s.add.options(cpu=2, name="plus", retries=3)(n)
        return s.add(n)

    graph = f.trace().graph
    assert only(graph, "plus").resources.cpu == 2
    assert only(graph, "plus").retry.retries == 3
    assert only(graph, "plus").name == "plus"
    assert only(graph, "add").resources.cpu is None


def test_functions_travel_beside_the_graph():
    @flow
    def f(n: int) -> int:
        return s.add(n)

    traced = f.trace()
    assert traced.functions == {"add": s.add.function}
    code = traced.graph.steps[0].code
    assert (code.module, code.qualname, code.by_value) == ("tests.unit.authoring.steps_here", "add", False)


def test_functions_that_cannot_be_imported_are_marked():
    @step
    def local(n: int) -> int:
        return n

    @flow
    def f(n: int) -> int:
        return local(n)

    assert f.trace().graph.steps[0].code.by_value


def test_classes_of_the_function_around_a_step_are_found():
    class Pair(s.NamedTuple):
        left: int
        right: str

    @step
    def make() -> Pair:
        return Pair(1, "x")

    @flow
    def f() -> str:
        return make().right

    assert f.trace().graph.result[0][1] == FromStep(step="make", output="right")


def test_annotations_for_type_checkers_only_keep_their_shape():
    @flow
    def f(n: int) -> int:
        _, count = s.mysterious(n)
        return s.add(count)

    graph = f.trace().graph
    assert graph.steps[0].output_kind == "tuple"
    assert inputs(graph.steps[1])["a"] == FromStep(step="mysterious", output="output_1")


def test_dataclasses_that_are_more_than_their_fields_are_one_value():
    """Made anew from its fields, such an object could differ from what the step returned."""

    @dataclass
    class Doubles:
        x: int

        def __post_init__(self):
            self.x *= 2

    @dataclass
    class Counts:
        x: int
        seen: int = field(default=0, init=False)

    @step
    def doubles() -> Doubles:
        return Doubles(1)

    @step
    def counts() -> Counts:
        return Counts(1)

    @flow
    def f() -> Any:
        return s.echo([doubles().x, counts().seen])

    graph = f.trace().graph
    assert [n.output_kind for n in graph.steps] == ["single", "single", "single"]
    path = (PathItem(kind="attr", key="seen"),)
    assert inputs(graph.steps[2])["value"].items[1] == FromStep(step="counts", output="result", path=path)


def test_a_step_of_a_factory_may_be_made_twice():
    def make():
        @step
        def made(n: int) -> int:
            return n

        return made

    @flow
    def f(n: int) -> int:
        return make()(make()(n))

    assert [x.id for x in f.trace().graph.steps] == ["made", "made_2"]


def test_a_name_that_looks_counted_is_not_taken_twice():
    @step
    def add_2(n: int) -> int:
        return n

    @flow
    def f(n: int) -> int:
        return s.add(s.add(add_2(n)))

    assert [x.id for x in f.trace().graph.steps] == ["add_2", "add", "add_3"]


def test_steps_are_pickled_as_their_function_and_options():
    copy = pickle.loads(pickle.dumps(s.add.options(cpu=3)))
    assert copy(2) == 3
    assert copy.name == "add"
    assert copy._options.resources.cpu == 3
    assert pickle.loads(pickle.dumps(s.add)) is s.add
    import cloudpickle

    @step
    def local(n: int) -> int:
        return n + 1

    assert cloudpickle.loads(cloudpickle.dumps(local))(1) == 2


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (lambda x: x, "cannot be the name of a step"),
        (5, "goes on a function"),
        (s.add, "is a step already"),
    ],
)
def test_things_that_cannot_be_steps(thing, told):
    with pytest.raises((FlowError, ConfigError), match=told):
        step(thing)


def test_methods_and_coroutines_are_refused():
    with pytest.raises(FlowError, match="is a method of"):

        class Trainer:
            @step
            def fit(self, n: int) -> int:
                return n

    with pytest.raises(FlowError, match=r"asyncio\.run"):

        @step
        async def fetch(n: int) -> int:
            return n


def test_the_same_flow_gives_the_same_digest():
    from flowbridge.ir.fingerprint import digest_of

    @flow
    def f(n: int) -> Any:
        return s.echo([s.add(n), (1, 2), {1: 2}])

    assert digest_of(f.trace().graph) == digest_of(f.trace().graph)
