"""The quick graph code gives what Metaflow's own gives, and the same complaints, in a time that grows with the steps alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from flowbridge.backends.metaflow import quick_graph
from flowbridge.ir.flow import FlowGraph
from tests.unit.backends.metaflow.make import flows, graph, load, spec_of, step

pytest.importorskip("metaflow")


@contextlib.contextmanager
def metaflows_own() -> Iterator[None]:
    """Metaflow's graph code as it is without flowbridge."""
    from metaflow.graph import FlowGraph as MetaflowGraph
    from metaflow.lint import linter

    assert quick_graph.install()
    quick = MetaflowGraph._create_nodes, MetaflowGraph._traverse_graph, list(linter._checks)
    MetaflowGraph._create_nodes, MetaflowGraph._traverse_graph = (
        quick_graph.originals["create_nodes"],
        quick_graph.originals["traverse_graph"],
    )
    linter._checks[:] = quick_graph.originals["checks"]
    try:
        yield
    finally:
        MetaflowGraph._create_nodes, MetaflowGraph._traverse_graph, linter._checks[:] = quick


FIELDS = (
    "name", "type", "num_args", "in_funcs", "out_funcs", "split_parents", "split_branches", "matching_join", "is_inside_foreach",
    "foreach_param", "parallel_foreach", "num_parallel", "has_tail_next", "invalid_tail_next", "condition", "switch_cases", "doc",
    "func_lineno", "tail_next_lineno",
)  # fmt: skip


def described(spec: Any) -> dict[str, Any]:
    return {name: {f: getattr(node, f) for f in FIELDS} for name, node in spec._graph.nodes.items()}


def verdict(spec: Any) -> str:
    from metaflow.lint import LintWarn, linter

    try:
        linter.run_checks(spec._graph)
    except LintWarn as warning:
        return str(warning.message).split("*")[0]
    except (IndexError, KeyError):
        return "crash"
    return "good"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(flows(most=9))
def test_equal_to_metaflows_own_on_generated_flows(flow: FlowGraph) -> None:
    quick = spec_of(flow)
    with metaflows_own():
        slow = spec_of(flow)
        assert described(quick) == described(slow)
        assert quick._graph.sorted_nodes == slow._graph.sorted_nodes
        assert verdict(slow) == "good"
    assert verdict(quick) == "good"


HEAD = "from metaflow import FlowSpec, step, Parameter, retry\n\nclass Flow(FlowSpec):\n"


def flow_text(**steps: str) -> str:
    """A FlowSpec by hand: for each step what it does last; ``+`` in front makes it a join."""
    lines = [HEAD]
    for name, last in steps.items():
        joins = last.startswith("+")
        lines += ["    @step", f"    def {name}(self{', inputs' if joins else ''}):", f"        {last.lstrip('+') or 'pass'}", ""]
    return "\n".join(lines)


BY_HAND = {
    "switch in a foreach": flow_text(
        start="self.next(self.a, foreach='xs')", a="self.next({'x': self.b, 'y': self.c}, condition='k')", b="self.next(self.d)",
        c="self.next(self.d)", d="self.next(self.e)", e="+self.next(self.end)", end="",
    ),
    "recursion": flow_text(start="self.next(self.a)", a="self.next({'x': self.a, 'y': self.b}, condition='k')", b="self.next(self.end)", end=""),
    "nested splits": flow_text(
        start="self.next(self.a, self.b)", a="self.next(self.c, self.d)", c="self.next(self.j)", d="self.next(self.j)", j="+self.next(self.k)",
        b="self.next(self.k)", k="+self.next(self.end)", end="",
    ),
    "not joined": flow_text(start="self.next(self.a, self.b)", a="self.next(self.end)", b="self.next(self.end)", end=""),
    "a join of nothing": flow_text(start="self.next(self.a)", a="+self.next(self.end)", end=""),
    "a branch left out": flow_text(
        start="self.next(self.a, self.b, self.c)", a="self.next(self.j)", b="self.next(self.j)", c="self.next(self.end)",
        j="+self.next(self.end)", end="",
    ),
    "a loop": flow_text(start="self.next(self.a)", a="self.next(self.b)", b="self.next(self.a)", end=""),
    "an orphan": flow_text(start="self.next(self.end)", a="self.next(self.end)", end=""),
    "an unknown step": flow_text(start="self.next(self.nowhere)", end=""),
    "no next": flow_text(start="pass", end=""),
    "no end": flow_text(start="self.next(self.a)", a="self.next(self.b)", b="pass"),
    "a reserved name": flow_text(start="self.next(self.cmd)", cmd="self.next(self.end)", end=""),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_equal_to_metaflows_own_on_flows_by_hand(name: str) -> None:
    quick_graph.install()
    quick = load(BY_HAND[name])
    with metaflows_own():
        slow = load(BY_HAND[name])
        if name != "a loop":  # which way round it is entered matters to nobody: both refuse it
            assert described(quick) == described(slow)
        wanted = verdict(slow)
    assert verdict(quick) == wanted


def test_sixty_diamonds_in_a_row() -> None:
    nodes = [step("a0")]
    for i in range(60):
        nodes += [step(f"b{i}", f"a{i}"), step(f"c{i}", f"a{i}"), step(f"a{i + 1}", f"b{i}", f"c{i}")]
    spec = spec_of(graph(*nodes))
    assert verdict(spec) == "good"
    assert len(spec._graph.sorted_nodes) == len(spec._graph.nodes)


def test_a_chain_of_two_thousand() -> None:
    nodes = [step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(2000)]
    spec = spec_of(graph(*nodes))
    assert verdict(spec) == "good"
    assert spec._graph.sorted_nodes[1:-1] == [f"s{i}" for i in range(2000)]


def test_work_grows_with_the_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of visits, not the time, is counted: at most one per edge."""
    visits: list[str] = []
    entered = quick_graph._enter
    monkeypatch.setattr(quick_graph, "_enter", lambda g, n, c: (visits.append(n.name), entered(g, n, c))[1])
    nodes = [step("a0")]
    for i in range(25):
        nodes += [step(f"b{i}", f"a{i}"), step(f"c{i}", f"a{i}"), step(f"a{i + 1}", f"b{i}", f"c{i}")]
    spec = spec_of(graph(*nodes))
    edges = sum(len(n.out_funcs) for n in spec._graph.nodes.values())
    assert set(visits) == set(spec._graph.nodes)
    assert len(visits) <= edges + 1


@pytest.mark.parametrize(("version", "known"), [("2.19.39", True), ("2.18.0", True), ("2.17.9", False), ("3.0.0", False), ("dev", False)])
def test_versions_that_were_not_compared_are_left_alone(version: str, known: bool) -> None:
    assert quick_graph.is_known(version) is known
