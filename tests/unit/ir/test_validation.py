"""Any flow as data is checked by itself; each rule is broken here once on purpose."""

from __future__ import annotations

import pytest

from flowbridge.errors import FlowError
from flowbridge.ir.bindings import Collected, Constant, DictOf, FirstOf, FromParameter, GridOf, ListOf
from flowbridge.ir.control import Compare, MapNode, Truth
from flowbridge.ir.flow import ContainerSpec
from flowbridge.ir.ports import Parameter, Port
from flowbridge.ir.validation import problems, validate
from flowbridge.ir.versions import SCHEMA_VERSION
from tests.unit.ir.graphs import CODE, graph, item, out, over, step

SOUND = {
    "empty": graph(),
    "chain": graph(step("a"), step("b", "a"), step("c", "b", after=("a",))),
    "map": graph(step("a"), over("b-map", out("a")), step("b", item("b-map"), scope=("b-map",)), step("c", "b")),
    "nested": graph(
        over("m-map"),
        over("m.n-map", item("m-map"), scope=("m-map",)),
        step("m.n", item("m.n-map"), item("m-map"), scope=("m-map", "m.n-map")),
        step("m.z", "m.n", scope=("m-map",)),
        step("z", "m.n", "m.z"),
    ),
    "collected": graph(
        over("m-map"),
        step("m.a", item("m-map"), scope=("m-map",)),
        step("m.b", item("m-map"), scope=("m-map",)),
        step("z", Collected(map="m-map", value=FirstOf(choices=(out("m.a"), item("m-map"))))),
    ),
    "whole": graph(step("a", outputs=(Port(name="x"), Port(name="y")), output_kind="fields"), step("b", out("a", "*"), out("a", "y"))),
    "nothing": graph(step("a", outputs=(), output_kind="none"), step("b", after=("a",))),
    "after a map": graph(over("m-map"), step("m", item("m-map"), scope=("m-map",)), step("z", after=("m-map", "m"))),
    "parameter": graph(
        step("a", ListOf(items=(FromParameter(name="p"), DictOf(items=(("k", FromParameter(name="p")),))))),
        parameters=(Parameter(name="p"),),
        result=(("result", FromParameter(name="p")),),
        result_kind="single",
    ),
    "container": graph(
        step(
            "a",
            code=None,
            container=ContainerSpec(image="i", command=("x", "{inputs.x0}", "{outputs.result}")),
            inputs=(("x0", Constant()),),
        )
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound(name):
    assert problems(SOUND[name]) == []
    validate(SOUND[name])


M = over("m-map")
INSIDE = step("m", item("m-map"), scope=("m-map",))
BROKEN = {
    "newer": (graph(schema_version=SCHEMA_VERSION + 1), "Install a newer flowbridge"),
    "name": (graph().model_copy(update={"name": "a b"}), "cannot be the name of a flow"),
    "twice": (graph(step("a"), step("a")), "2 steps or maps have the id 'a'"),
    "step and map": (graph(step("m"), over("m"), step("x", item("m"), scope=("m",))), "have the id 'm'"),
    "step id": (graph(step("a-b")), "cannot be the id of a step"),
    "map id": (graph(over("a b"), step("x", item("a b"), scope=("a b",))), "cannot be the id of a map"),
    "parameter twice": (graph(parameters=(Parameter(name="p"), Parameter(name="p"))), "parameter 'p' stands 2 times"),
    "no code": (graph(step("a", code=None)), "must have either code or a container, and has neither"),
    "both": (graph(step("a", container=ContainerSpec(image="i", command=("x",)))), "has both"),
    "single of two": (graph(step("a", outputs=(Port(name="x"), Port(name="y")))), "returns 'single' and has 2 outputs"),
    "none of one": (graph(step("a", output_kind="none")), "returns 'none' and has 1 outputs"),
    "output twice": (graph(step("a", outputs=(Port(name="x"), Port(name="x")), output_kind="tuple")), "2 outputs called 'x'"),
    "argument twice": (graph(step("a", inputs=(("x", Constant()), ("x", Constant())))), "2 arguments called 'x'"),
    "placeholder": (
        graph(step("a", code=None, container=ContainerSpec(image="i", command=("{inputs.y}",)))),
        "{inputs.y} in the command names nothing",
    ),
    "unknown step": (graph(step("abc"), step("b", "abd")), "step 'b', argument 'x0': there is no step 'abd'. Did you mean 'abc'?"),
    "unknown output": (graph(step("a"), step("b", out("a", "reslt"))), "has no output 'reslt'; it has result. Did you mean 'result'?"),
    "whole of one": (graph(step("a"), step("b", out("a", "*"))), "has no output '*'"),
    "output of none": (graph(step("a", outputs=(), output_kind="none"), step("b", "a")), "it has none"),
    "unknown parameter": (graph(step("a", FromParameter(name="p"))), "the flow has no parameter 'p'"),
    "in a list": (graph(step("a", ListOf(items=(DictOf(items=(("k", out("z")),)),)))), "there is no step 'z'"),
    "in first": (graph(step("a", FirstOf(choices=(out("z"),)))), "there is no step 'z'"),
    "in a grid": (graph(step("a", GridOf(items=(("k", out("z")),)))), "there is no step 'z'"),
    "first of nothing": (graph(step("a", FirstOf(choices=()))), "first() of nothing"),
    "in a condition": (
        graph(step("a", guards=(Compare(op="<", left=out("z"), right=Constant(value=1)),))),
        "step 'a', condition: there is no step 'z'",
    ),
    "in the result": (graph(result=(("result", out("z")),), result_kind="single"), "the flow's result 'result': there is no step 'z'"),
    "result of none": (graph(step("a"), result=(("result", out("a")),)), "the flow's result is 'none', and it has 1 values"),
    "unknown map": (graph(step("a", item("m-map"))), "there is no map 'm-map'"),
    "item from outside": (graph(M, INSIDE, step("a", item("m-map"))), "from outside of it"),
    "unknown field": (graph(M, step("m", item("m-map", "y"), scope=("m-map",))), "goes through no 'y'"),
    "unknown scope": (graph(step("a", scope=("m-map",))), "inside a map 'm-map' that does not exist"),
    "wrong scope": (graph(M, over("n-map"), step("a", scope=("m-map", "n-map")), INSIDE), "does not stand in those before it"),
    "unknown after": (
        graph(step("abc"), step("b", after=("abd",))),
        "after=[...] names 'abd', and no step has that id. Did you mean 'abc'?",
    ),
    "after itself": (graph(step("a", after=("a",))), "names the step itself"),
    "collected unknown": (graph(step("a", Collected(map="m-map", value=Constant()))), "there is no map 'm-map'"),
    "collected inside": (
        graph(M, step("m", Collected(map="m-map", value=Constant()), scope=("m-map",))),
        "from a place that does not see the whole of it",
    ),
    "collected value": (graph(M, INSIDE, step("a", Collected(map="m-map", value=out("z")))), "there is no step 'z'"),
    "no sources": (graph(MapNode(id="m-map", sources=()), step("m", scope=("m-map",))), "without each(...)"),
    "empty map": (graph(M), "there is no step inside"),
    "batch of two": (graph(over("m-map", batch=3), INSIDE, step("n", scope=("m-map",))), "batch= is for maps over one step, and 2 steps"),
    "no list": (graph(over("m-map", Constant(value=3)), INSIDE), "goes through 3, which is no list"),
    "lengths": (
        graph(MapNode(id="m-map", sources=(("x", Constant(value=[1])), ("y", ListOf(items=())))), INSIDE),
        "'x' has 1, 'y' has 0",
    ),
    "cycle": (graph(step("a", after=("b",)), step("b", "a")), "steps 'a', 'b' wait for each other"),
    "cycle by condition": (graph(step("a", guards=(Truth(value=out("b")),)), step("b", "a")), "steps 'a', 'b' wait for each other"),
    "cycle of a map": (graph(over("m-map", out("m")), INSIDE), "steps 'm', 'm-map' wait for each other"),
    "cycle of a whole map": (
        graph(M, INSIDE, step("b", "m"), step("n", "b", scope=("m-map",))),
        "wait for each other as a whole",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name):
    made, told = BROKEN[name]
    found = problems(made)
    assert any(told in p for p in found), found
    with pytest.raises(FlowError) as caught:
        validate(made)
    assert caught.value.problems == tuple(found)


def test_all_at_once():
    found = problems(graph(step("a", "x", "y", after=("z",)), step("b", FromParameter(name="p"))))
    assert len(found) == 4


def test_long_chains_are_no_trouble():
    steps = [step("s0", code=CODE)] + [step(f"s{i}", f"s{i - 1}") for i in range(1, 3000)]
    assert problems(graph(*steps)) == []
