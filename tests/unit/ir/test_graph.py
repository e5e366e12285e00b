"""Order, regions and features of flows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbridge.ir.bindings import (
    Collected,
    Constant,
    DictOf,
    FirstOf,
    FromParameter,
    GridOf,
    ListOf,
    maps_in,
    parameters_in,
    steps_in,
    walk,
)
from flowbridge.ir.control import MapNode, Truth
from flowbridge.ir.features import FLOW_WIDE, Feature, features_of
from flowbridge.ir.fingerprint import canonical_json, digest_of, dump
from flowbridge.ir.flow import FlowGraph
from flowbridge.ir.graph import ancestors, critical_length, cycles, dependencies, order, regions, to_networkx
from tests.unit.ir.graphs import graph, item, out, over, step

NESTED = graph(
    step("a"),
    over("m-map", out("a")),
    over("m.n-map", item("m-map"), scope=("m-map",)),
    step("m.n", item("m.n-map"), scope=("m-map", "m.n-map")),
    step("m.z", "m.n", scope=("m-map",)),
    step("z", "m.n", "a"),
)


def test_walk_finds_everything():
    deep = ListOf(
        items=(
            DictOf(items=(("k", FirstOf(choices=(out("a"), Constant()))),)),
            GridOf(items=(("g", FromParameter(name="p")),)),
            Collected(map="m-map", value=out("b")),
        )
    )
    assert list(steps_in(deep)) == ["a", "b"]
    assert list(maps_in(deep)) == ["m-map"]
    assert list(parameters_in(deep)) == ["p"]
    assert sum(1 for _ in walk(deep)) == 9


def test_dependencies():
    assert dependencies(NESTED.steps_by_id["m.n"]) == ("m.n-map",)
    assert dependencies(NESTED.steps_by_id["z"]) == ("m.n", "a")
    assert dependencies(step("q", Collected(map="m-map", value=Constant()))) == ("m-map",)


def test_regions():
    found = regions(NESTED)
    assert found[None].children == ("a", "m-map", "z")
    assert dict(found[None].edges)["z"] == ("m-map", "a")
    assert found["m-map"].children == ("m.n-map", "m.z")
    assert found["m.n-map"].children == ("m.n",)


def test_order_and_distances():
    assert order(NESTED) == ("a", "m-map", "m.n-map", "m.n", "m.z", "z")
    assert ancestors(NESTED, "m.n") == {"a", "m-map", "m.n-map"}
    assert critical_length(NESTED)["a"] == 5


@given(st.sets(st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda p: p[0] < p[1])))
def test_the_order_respects_every_edge(pairs):
    steps = [step(f"s{i}", *(f"s{a}" for a, b in sorted(pairs) if b == i)) for i in range(15)]
    place = {n: i for i, n in enumerate(order(graph(*steps)))}
    assert len(place) == 15
    assert all(place[f"s{a}"] < place[f"s{b}"] for a, b in pairs)


def test_cycles_are_left_out_of_the_order_and_found():
    looped = graph(step("a"), step("b", "c"), step("c", "b"), step("d", "d"))
    assert order(looped) == ("a",)
    assert sorted(cycles(looped)) == [["b", "c"], ["d"]]
    assert to_networkx(looped).number_of_edges() == 3


def test_features():
    chosen = FirstOf(choices=(out("a"), Constant()))
    flow = graph(
        step("a"),
        MapNode(id="m-map", sources=(("x", chosen),), guards=(Truth(value=out("a")),), batch=2, parallel=3, after=("a",)),
        step("m", item("m-map"), scope=("m-map",)),
        step("b", after=("a",), allow_failure=True),
        result=(("result", chosen),),
        result_kind="single",
        tags=("t",),
    )
    found = features_of(flow)
    assert found[Feature.FIRST] == ("m-map", FLOW_WIDE)
    assert found[Feature.MAP_DYNAMIC] == ("m-map",)
    assert found[Feature.CONDITIONS] == ("m-map",)
    assert found[Feature.ORDER] == ("m-map", "b") or found[Feature.ORDER] == ("b", "m-map")
    assert found[Feature.ALLOW_FAILURE] == ("b",)
    assert {Feature.MAP_BATCH, Feature.MAP_PARALLEL, Feature.TAGS} <= set(found)
    assert Feature.MAP_FLOW not in found
    assert features_of(NESTED)[Feature.MAP_NESTED] == ("m.n-map",)
    assert features_of(NESTED)[Feature.MAP_FLOW] == ("m-map",)


def test_canonical_json():
    assert canonical_json({"b": 1, "a": "ä"}) == '{"a":"ä","b":1}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_digests_leave_defaults_out():
    assert dump(graph()) == b'{"name":"f"}'
    assert digest_of(NESTED) == digest_of(FlowGraph.model_validate_json(dump(NESTED)))
    assert FlowGraph.model_validate_json(dump(NESTED)) == NESTED
    assert digest_of(NESTED) != digest_of(graph(*NESTED.steps))
