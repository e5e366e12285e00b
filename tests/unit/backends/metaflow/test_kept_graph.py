"""The graph that is kept for the tasks' processes is the one that was made, and is taken for nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from flowbridge.backends.metaflow import kept_graph, quick_graph
from flowbridge.backends.metaflow.compile import compile_flow
from flowbridge.backends.metaflow.variables import GRAPH
from flowbridge.ir.flow import FlowGraph
from tests.unit.backends.metaflow.make import flows, graph, over, profile, step
from tests.unit.backends.metaflow.test_quick_graph import BY_HAND, FIELDS

pytest.importorskip("metaflow")

SHOW = f"""
import json, sys, runpy
from flowbridge.backends.metaflow import kept_graph, quick_graph
made = []
quick_graph.create_nodes, own = (lambda g, f: (made.append(f.__name__), own(g, f))[1]), quick_graph.create_nodes
quick_graph.install()
from metaflow import FlowSpec
import flow_file
spec = next(v for v in vars(flow_file).values() if isinstance(v, type) and issubclass(v, FlowSpec) and v is not FlowSpec)
type(spec)._init_graph(spec)
found = spec._graph
fields = {FIELDS!r} + ("parallel_step", "source_file")
nodes = {{n: [[f, sorted(getattr(x, f)) if f == "in_funcs" else getattr(x, f)] for f in fields] for n, x in found.nodes.items()}}
names = {{n: [d.name for d in x.decorators] for n, x in found.nodes.items()}}
about = [found.name, found.doc, found.sorted_nodes, found.start_step, found.end_step, len(spec._steps)]
print(json.dumps([len(made), about, nodes, names]))
"""


def shown(folder: Path, text: str | None = None, kept: Path | None = None) -> tuple[int, Any]:
    """How often a process made the nodes of a FlowSpec whose graph Metaflow asks for twice, and everything about it."""
    if text is not None:
        (folder / "flow_file.py").write_text(text)
    import os

    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "METAFLOW_USER": "tester"}
    env.pop(GRAPH, None)
    if kept is not None:
        env[GRAPH] = str(kept)
    done = subprocess.run([sys.executable, "-c", SHOW], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made, *about = json.loads(done.stdout)
    return made, about


FLOW = graph(step("a"), over("m", "a"), step("b", scope=("m",)), step("gang", "a", nodes=2), step("c", "b", "gang"))


def test_a_task_takes_the_graph_that_was_kept(tmp_path: Path) -> None:
    kept = tmp_path / "graph.json"
    text = compile_flow(FLOW, profile()).text
    times, wanted = shown(tmp_path, text)
    assert times == 2
    assert shown(tmp_path, kept=kept) == (1, wanted)
    assert shown(tmp_path, kept=kept) == (0, wanted)


def test_of_another_flowspec_nothing_is_taken(tmp_path: Path) -> None:
    kept = tmp_path / "graph.json"
    shown(tmp_path, compile_flow(FLOW, profile()).text, kept)
    other = compile_flow(graph(step("x"), step("y", "x")), profile()).text
    _, wanted = shown(tmp_path, other)
    assert shown(tmp_path, kept=kept) == (1, wanted)


def test_a_file_that_cannot_be_read_is_made_anew(tmp_path: Path) -> None:
    kept = tmp_path / "graph.json"
    kept.write_text('{"origin')
    _, wanted = shown(tmp_path, compile_flow(FLOW, profile()).text)
    assert shown(tmp_path, kept=kept) == (1, wanted)
    assert shown(tmp_path, kept=kept) == (0, wanted)


def test_a_graph_that_json_cannot_say_is_not_kept(tmp_path: Path) -> None:
    """A switch over numbers: JSON's keys are texts."""
    kept = tmp_path / "graph.json"
    text = BY_HAND["switch in a foreach"].replace("{'x':", "{1:").replace("'y':", "2:")
    assert shown(tmp_path, text, kept)[0] == 2
    assert not kept.exists()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(flows(most=9))
def test_what_is_kept_says_all_that_was_made(tmp_path_factory: pytest.TempPathFactory, flow: FlowGraph) -> None:
    from tests.unit.backends.metaflow.make import spec_of

    quick_graph.install()
    spec = spec_of(flow)
    path = tmp_path_factory.mktemp("graph") / "graph.json"
    kept_graph._write(path, spec._graph, "x")
    again = type(spec._graph).__new__(type(spec._graph))
    kept_graph._restore(again, spec, json.loads(path.read_text()))
    assert {k: v for k, v in vars(again).items() if k != "nodes"} == {k: v for k, v in vars(spec._graph).items() if k != "nodes"}
    for name, node in spec._graph.nodes.items():
        assert again[name].type == node.type
        assert {k: v for k, v in vars(again[name]).items() if k != "_kept"} == vars(node)
