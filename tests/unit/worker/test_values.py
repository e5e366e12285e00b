"""Where inputs come from: constants, parameters, outputs and what is inside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.ir.bindings import Constant, DictOf, FirstOf, GridOf, ListOf
from flowbridge.ir.control import Compare

from .driver import binding, drive, flow, out, param, path, step


class Pair(NamedTuple):
    left: int
    right: int


@dataclass
class Stats:
    total: int
    mean: float


def same(value: Any) -> Any:
    return value


def test_a_value_goes_from_step_to_step(store: Store) -> None:
    graph = flow(step("a"), step("b", inputs={"x": out("a")}), result=out("b"))
    run = drive(graph, {"a": lambda: 20, "b": lambda x: x + 1}, store)
    assert run.end.state == "done"
    assert run.result() == 21
    assert run.end.counts == {"done": 2}


def test_constants_are_fresh_for_every_task(store: Store) -> None:
    def grow(xs: list[int]) -> list[int]:
        xs.append(1)
        return xs

    shared = Constant(value=[])
    graph = flow(step("a", inputs={"xs": shared}), step("b", inputs={"xs": shared}), result=out("b"))
    assert drive(graph, {"a": grow, "b": grow}, store).result() == [1]


def test_parameters_and_what_is_inside_them(store: Store) -> None:
    graph = flow(step("a", inputs={"value": param("p", "k", 1)}), result=out("a"), params="p")
    assert drive(graph, {"a": same}, store, {"p": {"k": [5, 6]}}).result() == 6


def test_access_on_outputs(store: Store) -> None:
    graph = flow(step("a"), step("b", inputs={"value": out("a", "k", 0, ".real")}), result=out("b"))
    assert drive(graph, {"a": lambda: {"k": [7]}, "b": same}, store).result() == 7


def test_access_that_finds_nothing_names_step_path_and_type(store: Store) -> None:
    graph = flow(step("a"), step("b", inputs={"value": out("a", "k", ".nope")}), result=out("b"))
    run = drive(graph, {"a": lambda: {"k": [7]}, "b": same}, store)
    assert run.end.state == "failed"
    reason = run.records["b", ()].reason
    assert reason is not None
    assert reason.kind == "error"
    assert "output 'result' of step 'a' has no ['k'].nope" in reason.message
    assert "builtins.list" in reason.message
    assert reason.traceback is None


@pytest.mark.parametrize(
    ("kind", "outputs", "value"), [("tuple", "0 1", (1, 2)), ("fields", "left right", Pair(1, 2)), ("fields", "total mean", Stats(1, 2))]
)
def test_several_outputs_are_artifacts_of_their_own(store: Store, kind: str, outputs: str, value: Any) -> None:
    first, second = outputs.split()
    graph = flow(step("a", kind=kind, outputs=outputs), result={"x": out("a", output=second), "y": out("a", output=first)}, kind="tuple")
    assert drive(graph, {"a": lambda: value}, store).result() == (2, 1)


@pytest.mark.parametrize(
    ("kind", "outputs", "value", "words"),
    [
        ("tuple", "0 1", 5, ["step a", "tuple[Any, Any]", "int", "5"]),
        ("tuple", "0 1", (1, 2, 3), ["step a", "2 values", "returned 3"]),
        ("fields", "left right", 5, ["step a", "left, right", "int"]),
    ],
)
def test_a_value_that_does_not_fit_its_annotation(store: Store, kind: str, outputs: str, value: Any, words: list[str]) -> None:
    run = drive(flow(step("a", kind=kind, outputs=outputs)), {"a": lambda: value}, store)
    reason = run.records["a", ()].reason
    assert reason is not None
    assert run.records["a", ()].state == "failed"
    assert all(word in reason.message for word in words), reason.message


def test_a_step_that_returns_nothing_has_no_outputs(store: Store) -> None:
    run = drive(flow(step("a", kind="none", outputs="")), {"a": lambda: 3}, store)
    assert run.records["a", ()].outputs == ()
    assert run.result() is None


def test_all_outputs_together(store: Store) -> None:
    def take(value: Stats) -> list[Any]:
        return [type(value).__name__, value.total]

    graph = flow(
        step("a", kind="fields", outputs="total mean"),
        step("b", inputs={"value": out("a", output="*")}),
        step("c", kind="tuple", outputs="0 1"),
        step("d", inputs={"value": out("c", output="*")}),
        result={"b": out("b"), "d": out("d")},
        kind="tuple",
    )
    run = drive(graph, {"a": lambda: Stats(3, 1.5), "b": take, "c": lambda: (1, 2), "d": same}, store)
    assert run.result() == (["Stats", 3], (1, 2))


def test_extra_arguments_by_position(store: Store) -> None:
    def f(a: int, *rest: int, k: int = 0) -> list[int]:
        return [a, *rest, k]

    graph = flow(
        step("f", inputs={"a": Constant(value=1), "*1": Constant(value=3), "*0": Constant(value=2), "k": Constant(value=9)}),
        result=out("f"),
    )
    assert drive(graph, {"f": f}, store).result() == [1, 2, 3, 9]


def test_lists_dicts_and_grids_written_in_the_flow(store: Store) -> None:
    a = out("a")
    inside = DictOf(items=(("pair", ListOf(items=(a, Constant(value=2)), tuple_=True)), ("list", ListOf(items=(a, a)))))
    grid = GridOf(items=(("lr", binding([1, 2])), ("depth", out("xs"))))
    graph = flow(
        step("a"),
        step("xs"),
        step("b", inputs={"value": inside}),
        step("c", inputs={"value": grid}),
        result={"b": out("b"), "c": out("c")},
        kind="tuple",
    )
    run = drive(graph, {"a": lambda: 1, "xs": lambda: [7, 8], "b": same, "c": same}, store)
    assert run.result() == (
        {"pair": (1, 2), "list": [1, 1]},
        [{"lr": 1, "depth": 7}, {"lr": 1, "depth": 8}, {"lr": 2, "depth": 7}, {"lr": 2, "depth": 8}],
    )


def test_first_takes_the_first_that_exists_and_goes_on_inside_it(store: Store) -> None:
    never = Compare(op="==", left=out("a"), right=Constant(value=0))
    graph = flow(
        step("a"),
        step("b", guards=(never,)),
        step("c"),
        step("d", inputs={"value": FirstOf(choices=(out("b"), out("c")), path=path("k"))}),
        step("e", inputs={"value": FirstOf(choices=(out("b"), out("b")))}),
        result=out("d"),
    )
    run = drive(graph, {"a": lambda: 1, "b": lambda: 2, "c": lambda: {"k": 3}, "d": same, "e": same}, store)
    assert run.result() == 3
    assert run.state("b") == "skipped"
    assert run.state("e") == "skipped"


def test_result_fields(store: Store) -> None:
    run = drive(flow(step("a"), result={"x": out("a"), "y": Constant(value=2)}, kind="fields"), {"a": lambda: 1}, store)
    assert run.result()._asdict() == {"x": 1, "y": 2}
