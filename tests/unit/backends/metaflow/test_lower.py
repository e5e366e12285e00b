"""Any flow becomes a graph that Metaflow's own code and linter take, and that waits for all that the flow waits for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from flowbridge.backends.metaflow.lower import lower
from flowbridge.ir.flow import FlowGraph
from flowbridge.ir.graph import dependencies
from tests.unit.backends.metaflow.make import flows, graph, over, spec_of, step

pytest.importorskip("metaflow")


def names(flow: FlowGraph) -> list[str]:
    return [s.name for s in lower(flow).steps]


def added(flow: FlowGraph) -> list[str]:
    return [s.name for s in lower(flow).added]


def test_a_chain_needs_no_further_step() -> None:
    assert names(graph(step("a"), step("b", "a"))) == ["start", "a", "b", "end"]


def test_a_diamond_is_joined_by_the_step_that_needs_both() -> None:
    flow = graph(step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"))
    assert added(flow) == []
    assert [s.name for s in lower(flow).steps if s.joins] == ["d"]


def test_a_map_is_started_by_the_step_before_it_and_joined_by_the_one_after() -> None:
    flow = graph(step("numbers"), over("square-map", "numbers"), step("square", scope=("square-map",)), step("total", "square"))
    lowered = lower(flow)
    assert [s.name for s in lowered.steps] == ["start", "numbers", "square", "total", "end"]
    assert lowered.steps[1].foreach == "square_map"


def test_an_added_wait_is_named() -> None:
    flow = graph(step("a"), step("b"), step("c", "a", "b"), step("d", "b"))
    reasons = [s.why for s in lower(flow).steps if "does not need" in s.why]
    assert reasons == ["d does not need a, but no nesting of splits and joins says so: here it waits for a too."]


def test_ends_that_nobody_needs_are_joined_before_the_end() -> None:
    assert names(graph(step("a"), step("b"))) == ["start", "a", "b", "join_1", "end"]


def test_a_map_of_nothing_inside_only_counts() -> None:
    lowered = lower(graph(step("a"), over("m", "a")))
    assert [s.name for s in lowered.steps] == ["start", "a", "m_items", "end"]
    assert lowered.steps[2].foreach is None


def test_a_map_with_parallel_is_a_chain_in_lanes() -> None:
    flow = graph(
        step("a"),
        over("m", "a", parallel=3),
        step("b", scope=("m",)),
        step("c", scope=("m",)),
        step("d", "b", "c", scope=("m",)),
        step("e", "d"),
    )
    lowered = lower(flow)
    assert [(s.name, s.lane) for s in lowered.steps[2:5]] == [("b", True), ("c", True), ("d", True)]
    assert lowered.steps[1].calls[-1].lanes == 3


def test_a_gang_is_split_to_and_joined() -> None:
    lowered = lower(graph(step("a"), step("b", "a", nodes=3), step("c", "b")))
    assert [s.parallel for s in lowered.steps] == [None, 3, None, None, None]
    assert lowered.steps[3].joins


def reachable(spec: Any) -> dict[str, set[str]]:
    """The steps that each step of a FlowSpec leads to, directly or not."""
    nodes = spec._graph.nodes
    found: dict[str, set[str]] = {}
    for name in reversed(spec._graph.sorted_nodes):
        found[name] = set().union(*({o} | found[o] for o in nodes[name].out_funcs)) if nodes[name].out_funcs else set()
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(flows())
def test_any_flow_is_taken_by_metaflow_and_waits_for_all_it_needs(flow: FlowGraph) -> None:
    from metaflow.lint import linter

    lowered = lower(flow)
    spec = spec_of(flow)
    linter.run_checks(spec._graph)
    places = {c.node: s.name for s in lowered.steps for c in s.calls}
    assert set(places) == {n.id for n in (*flow.steps, *flow.maps)}
    leads = reachable(spec)
    for node in (*flow.steps, *flow.maps):
        for needed in dependencies(node):
            before, after = places[needed], places[node.id]
            assert before == after or after in leads[before], f"{node.id} does not wait for {needed}"


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(flows(depth=3))
def test_steps_run_inside_the_foreaches_of_their_maps(flow: FlowGraph) -> None:
    spec = spec_of(flow)
    lowered = lower(flow)
    for made in lowered.steps:
        depth = sum(1 for p in spec._graph[made.name].split_parents if spec._graph[p].type == "foreach")
        if made.joins and spec._graph[spec._graph[made.name].split_parents[-1]].type == "foreach":
            depth -= 1
        wanted = made.node.scope if made.node is not None else made.scope
        lanes = [m for m in wanted if flow.maps_by_id[m].parallel]
        expected = wanted.index(lanes[0]) + 1 if lanes else len(wanted)
        assert depth == expected, made.name


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(flows(depth=3))
def test_in_bundles_each_foreach_holds_one_step(flow: FlowGraph) -> None:
    """So that Airflow takes it; and everything waits for all it needs, and is called in its order."""
    lowered = lower(flow, bundles=True)
    for made in lowered.steps:
        if made.foreach:
            (inside,) = made.next
            assert [s.joins for s in inside.next] == [True]
            assert inside.foreach is None
    called = [c.node for s in lowered.steps for c in s.calls]
    assert sorted(called) == sorted(n.id for n in (*flow.steps, *flow.maps))
    places = {c.node: s for s in lowered.steps for c in s.calls}
    for node in (*flow.steps, *flow.maps):
        for needed in dependencies(node):
            before, after = places[needed], places[node.id]
            if before is after:
                assert called.index(needed) < called.index(node.id)
            else:
                assert after.name in forward(before), f"{node.id} does not wait for {needed}"


def forward(step: Any) -> set[str]:
    """All steps that a step leads to."""
    found: set[str] = set()
    stack = [step]
    while stack:
        new = [s for s in stack.pop().next if s.name not in found]
        found.update(s.name for s in new)
        stack.extend(new)
    return found


def test_deep_nesting_needs_no_recursion() -> None:
    nodes = [step("c0")]
    for i in range(1, 600):
        nodes += [step(f"c{i}", f"c{i - 1}"), step(f"r{i}", f"c{i - 1}")]
    assert len(lower(graph(*nodes)).steps) > 1200
