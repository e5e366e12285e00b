"""Whatever lists, skips, failures and batches: what is collected is what plain loops would give."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowbridge.ir.bindings import Constant
from flowbridge.ir.control import Truth
from flowbridge.records.expected import tasks_of

from .driver import drive, flow, item, open_store, out, over, step

kinds = st.sampled_from(["ok", "ok", "skip", "fail"])
rows = st.lists(st.lists(kinds, max_size=4), max_size=4)


def act(cell: dict[str, Any]) -> int:
    if cell["kind"] == "fail":
        raise ValueError(cell)
    return int(cell["n"])


def total(xs: list[int]) -> int:
    return sum(xs)


def table(kinds_: list[list[str]]) -> list[list[dict[str, Any]]]:
    return [[{"kind": kind, "runs": kind != "skip", "n": 10 * y + x} for x, kind in enumerate(row)] for y, row in enumerate(kinds_)]


@settings(max_examples=40, deadline=None)
@given(rows, st.none() | st.integers(1, 3), st.booleans())
def test_nested_maps_collect_as_loops_would(kinds_: list[list[str]], batch: int | None, cheap: bool) -> None:
    graph = flow(
        over("m", row=Constant(value=table(kinds_))),
        over("n", scope=("m",), batch=batch, cell=item("m", "row")),
        step(
            "t",
            scope=("m", "n"),
            inputs={"cell": item("n", "cell")},
            guards=(Truth(value=item("n", "cell", "runs")),),
            allow_failure=True,
        ),
        step("sum", scope=("m",), inputs={"xs": out("t")}),
        result={"cells": out("t"), "sums": out("sum")},
        kind="tuple",
    )
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "store")
        run = drive(graph, {"t": act, "sum": total}, store, cheap=cheap)
        expected = [[10 * y + x for x, kind in enumerate(row) if kind == "ok"] for y, row in enumerate(kinds_)]
        cells, sums = run.result()
        assert [list(row) for row in cells] == expected
        assert list(sums) == [sum(row) for row in expected]
        assert run.end.state == "done"
        launched = [i for node, i in tasks_of(graph, lambda s, i: run.records.get((s, i))) if node.id == "t"]
        assert len(launched) == sum(-(-len(row) // batch) if batch else len(row) for row in kinds_)


@settings(max_examples=40, deadline=None)
@given(st.lists(kinds, max_size=5), st.booleans())
def test_one_failure_that_is_not_allowed_blocks_the_list_and_nothing_else(kinds_: list[str], cheap: bool) -> None:
    graph = flow(
        over("m", cell=Constant(value=table([kinds_])[0])),
        step("t", scope=("m",), inputs={"cell": item("m", "cell")}, guards=(Truth(value=item("m", "cell", "runs")),)),
        step("u", scope=("m",), inputs={"x": out("t")}),
        step("all", inputs={"xs": out("u")}),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = drive(graph, {"t": act, "u": lambda x: x, "all": total}, open_store(Path(folder) / "store"), cheap=cheap)
        states = {"ok": ("done", "done"), "skip": ("skipped", "skipped"), "fail": ("failed", "cancelled")}
        assert [(run.state("t", i), run.state("u", i)) for i in range(len(kinds_))] == [states[kind] for kind in kinds_]
        assert run.state("all") == ("cancelled" if "fail" in kinds_ else "done")
        assert run.end.state == ("failed" if "fail" in kinds_ else "done")
