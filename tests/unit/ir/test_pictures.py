"""Mermaid and SVG: every step, box and edge is there, and text of users' is only text."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbridge.ir.bindings import Constant, FirstOf, FromParameter
from flowbridge.ir.control import And, Compare, Not, Truth
from flowbridge.ir.describe import describe, describe_binding
from flowbridge.ir.layout import arrange, leaf
from flowbridge.ir.mermaid import mermaid
from flowbridge.ir.nesting import Edge, edges, nest
from flowbridge.ir.svg import svg
from tests.unit.ir.graphs import graph, item, out, over, step

NESTED = graph(
    step("load"),
    over("row-map", out("load")),
    over("row.cell-map", item("row-map"), scope=("row-map",), group=("row",)),
    step("row.cell", item("row.cell-map"), scope=("row-map", "row.cell-map"), group=("row",)),
    step("row.sum", "row.cell", scope=("row-map",), group=("row",)),
    step("inner.a", "load", group=("inner",)),
    step("inner.deep.b", "inner.a", group=("inner", "deep")),
    step("last", "row.sum", guards=(Compare(op=">", left=out("inner.deep.b"), right=Constant(value='<b>&"x"')),), after=("load",)),
)


def test_boxes():
    root = nest(NESTED)
    assert root.steps == ["load", "last"]
    assert list(root.boxes) == ["row-map", "inner"]
    row = root.boxes["row-map"]
    assert row.steps == ["row.sum"]
    assert row.title == "row: each x in load"
    assert row.boxes["row.cell-map"].steps == ["row.cell"]
    assert root.boxes["inner"].boxes["inner.deep"].steps == ["inner.deep.b"]


def test_edges():
    assert set(edges(NESTED)) == {
        Edge("load", "row-map", "data"),
        Edge("row.cell", "row.sum", "data"),
        Edge("load", "inner.a", "data"),
        Edge("inner.a", "inner.deep.b", "data"),
        Edge("row.sum", "last", "data"),
        Edge("inner.deep.b", "last", "condition"),
        Edge("load", "last", "order"),
    }


def test_mermaid():
    assert mermaid(NESTED).splitlines() == [
        "---",
        "title: f",
        "---",
        "flowchart TD",
        '    n0["load"]',
        "    n5[\"last<br/>when inner.deep.b #gt; '#lt;b#gt;#amp;#quot;x#quot;'\"]",
        '    subgraph n6["row: each x in load"]',
        '        n2["sum"]',
        '        subgraph n7["row.cell: each x in each x"]',
        '            n1["cell"]',
        "        end",
        "    end",
        '    subgraph g_inner["inner"]',
        '        n3["a"]',
        '        subgraph g_inner__deep["deep"]',
        '            n4["b"]',
        "        end",
        "    end",
        "    n1 --> n2",
        "    n0 --> n3",
        "    n3 --> n4",
        "    n2 --> n5",
        "    n4 -. when .-> n5",
        "    n0 -.-> n5",
        "    n0 --> n6",
    ]


def parsed(flow):
    return ET.fromstring(svg(flow))


SVG = "{http://www.w3.org/2000/svg}"


def test_svg():
    picture = parsed(NESTED)
    titles = [t.text for t in picture.iter(f"{SVG}title")]
    assert sorted(titles) == sorted([*NESTED.steps_by_id, *NESTED.maps_by_id, "f", "inner", "inner.deep"])
    paths = [p for p in picture.iter(f"{SVG}path") if "edge" in p.get("class", "")]
    assert len(paths) == len(edges(NESTED))
    assert any("when inner.deep.b > '<b>" in (t.text or "") for t in picture.iter(f"{SVG}text"))
    assert all(rule.startswith(".flowbridge ") for rule in picture.find(f"{SVG}style").text.strip().splitlines())


def rectangles(picture):
    return {
        g.find(f"{SVG}title").text: [float(g.find(f"{SVG}rect").get(k)) for k in ("x", "y", "width", "height")]
        for g in picture.iter(f"{SVG}g")
    }


def inside(inner, outer):
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[0] + inner[2] <= outer[0] + outer[2]
        and inner[1] + inner[3] <= outer[1] + outer[3]
    )


def apart(one, other):
    return one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0] or one[1] + one[3] <= other[1] or other[1] + other[3] <= one[1]


def test_boxes_hold_what_is_in_them_and_steps_do_not_overlap():
    found = rectangles(parsed(NESTED))
    assert inside(found["row.cell"], found["row.cell-map"])
    assert inside(found["row.cell-map"], found["row-map"])
    assert inside(found["inner.deep"], found["inner"])
    steps = [found[s] for s in NESTED.steps_by_id]
    assert all(apart(a, b) for i, a in enumerate(steps) for b in steps[i + 1 :])
    assert apart(found["row-map"], found["inner"])
    assert all(inside(r, found["f"]) for r in found.values())


@given(st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda p: p[0] < p[1]), max_size=30))
def test_any_graph_goes_down_without_overlap(pairs):
    keys = [str(i) for i in range(12)]
    named = sorted((str(a), str(b)) for a, b in pairs)
    placed = arrange("", ("all",), [leaf(k, (k * 3,)) for k in keys], named)
    by_key = {p.key: p for p in placed.inside}
    assert sorted(by_key) == sorted(keys)
    boxes = [(p.x, p.y, p.width, p.height) for p in placed.inside]
    assert all(apart(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    assert all(by_key[a].y + by_key[a].height < by_key[b].y for a, b in named)
    for (source, target), lane in placed.lanes.items():
        assert [f.y for f in lane] == sorted(f.y for f in lane)
        assert by_key[source].y < lane[0].y <= lane[-1].y < by_key[target].y
        assert all(apart((f.x, f.y, f.width, f.height), box) for f in lane for box in boxes)


def test_an_empty_flow_has_a_picture():
    assert rectangles(parsed(graph()))["f"][2] > 0
    assert mermaid(graph()).endswith("flowchart TD\n")


def test_large_flows_have_pictures():
    steps = [step("s0")] + [step(f"s{i}", f"s{i - 1}", "s0") for i in range(1, 400)]
    assert len(rectangles(parsed(graph(*steps)))) == 401


@pytest.mark.parametrize(
    ("binding", "told"),
    [
        (Constant(value="x"), "'x'"),
        (Constant(pickled="eA==", shown="Model()"), "Model()"),
        (FromParameter(name="n", path=out("a").path), "n"),
        (out("a"), "a"),
        (out("a", "train"), "a.train"),
        (FirstOf(choices=(out("a"), Constant(value=1))), "first(a, 1)"),
        (Constant(value="y" * 100), re.compile(r"^'y{36}\.\.\.$")),
    ],
)
def test_bindings_as_users_write_them(binding, told):
    shown = describe_binding(binding)
    assert told.match(shown) if isinstance(told, re.Pattern) else shown == told


def test_conditions_as_users_write_them():
    truth = Truth(value=out("a"))
    assert describe(And(left=truth, right=Not(operand=truth))) == "(a) & (~(a))"
