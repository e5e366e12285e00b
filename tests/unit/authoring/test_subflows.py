"""Flows in flows are inlined as named groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowbridge import FlowError, flow
from flowbridge.ir.bindings import Constant, FromParameter, FromStep, ListOf
from tests.unit.authoring import steps_here as s


@flow
def inner(x: int, y: int = 5) -> int:
    return s.add(s.number(x), y)


def test_ids_and_groups():
    @flow
    def middle(x: int) -> int:
        return inner(inner(x))

    @flow
    def f(n: int) -> int:
        return middle(inner(n))

    graph = f.trace().graph
    assert [x.id for x in graph.steps] == [
        "inner.number",
        "inner.add",
        "middle.inner.number",
        "middle.inner.add",
        "middle.inner_2.number",
        "middle.inner_2.add",
    ]
    assert graph.steps[-1].group == ("middle", "inner_2")
    assert dict(graph.steps[2].inputs)["n"] == FromStep(step="inner.add", output="result")
    assert dict(graph.steps[1].inputs)["b"] == Constant(value=5)


def test_a_flow_runs_alike_inlined_and_alone():
    """A literal is a handle too, so that nothing works inside another flow that fails alone."""

    @flow
    def decides(n: int) -> int:
        if n > 3:
            return s.add(n)
        return s.number(n)

    @flow
    def f() -> int:
        return decides(3)

    for tried in (decides, f):
        with pytest.raises(FlowError, match=r"flowbridge\.when|with when"):
            tried.trace()


def test_access_on_literals():
    @flow
    def sub(config: dict[str, Any]) -> Any:
        return s.echo([config["lr"], config["deep"]["x"], config["made"]])

    @flow
    def f(n: int) -> Any:
        return sub({"lr": 0.1, "deep": {"x": n}, "made": s.add(n)})

    assert dict(f.trace().graph.steps_by_id["sub.echo"].inputs)["value"] == ListOf(
        items=(Constant(value=0.1), FromParameter(name="n"), FromStep(step="add", output="result"))
    )


def test_missing_parts_of_literals_are_told():
    @flow
    def sub(config: dict[str, Any]) -> Any:
        return s.echo(config["lt"])

    @flow
    def f() -> Any:
        return sub({"lr": 0.1})

    with pytest.raises(FlowError, match=r"argument 'config' of flow 'sub' has no \['lt'\]"):
        f.trace()


def test_after_holds_for_all_steps_of_a_group():
    @flow
    def quiet(x: int) -> None:
        s.publish(s.train([x], 0.1))

    @flow
    def f(n: int) -> None:
        a = s.number(n)
        told = quiet.options(after=[a])(n)
        s.say.options(after=[told])("x")

    graph = f.trace().graph
    assert graph.steps_by_id["quiet.train"].after == ("number",)
    assert graph.steps_by_id["say"].after == ("quiet.train", "quiet.publish")


def test_names_of_groups():
    @flow
    def f(n: int) -> int:
        return inner.options(name="renamed")(n)

    assert f.trace().graph.steps[0].id == "renamed.number"


def test_tuples_and_structures_come_back_as_they_are():
    @flow
    def two(n: int) -> tuple[int, int]:
        return s.add(n), s.number(n)

    @flow
    def f(n: int) -> int:
        a, b = two(n)
        return s.add(a, b)

    assert f.trace().graph.steps_by_id["add"].inputs == (
        ("a", FromStep(step="two.add", output="result")),
        ("b", FromStep(step="two.number", output="result")),
    )


def deep(levels: int, *, twice: bool = False) -> Any:
    """Return a flow with a step inside of so many flows."""
    lines = ["from flowbridge import flow, step", "@step", "def innermost(x: int) -> int:", "    return x + 1"]
    below = "innermost(innermost(x))" if twice else "innermost(x)"
    for level in range(levels + 1):
        name = f"a_flow_with_quite_a_long_name_{level}"
        lines += ["@flow", f"def {name}(x: int) -> int:", f"    return {below}"]
        below = f"{name}(x)"
    module: dict[str, Any] = {"__name__": "deep"}
    exec("\n".join(lines), module)
    return module[name]


def test_ids_of_deeply_nested_steps_are_names_of_folders() -> None:
    (one,) = deep(20).trace().graph.steps
    first, second = deep(20, twice=True).trace().graph.steps
    assert one.id == first.id
    assert all(len(step_id.encode()) <= 160 for step_id in (first.id, second.id))
    assert first.id.startswith("a_flow_with_quite_a_long_name_19.")
    assert (first.id.rpartition(".")[2], second.id.rpartition(".")[2]) == ("innermost", "innermost_2")
    assert first.id.rpartition(".")[0] != second.id.rpartition(".")[0]
    (short,) = deep(2).trace().graph.steps
    assert short.id == "a_flow_with_quite_a_long_name_1.a_flow_with_quite_a_long_name_0.innermost"


def test_a_deeply_nested_flow_runs(tmp_path: Path) -> None:
    run = deep(20).options(backend="inline", store=str(tmp_path)).run(1)
    assert run.status == "done", run.message
    assert run.result() == 2
