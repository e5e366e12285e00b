"""Programs in containers as steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowbridge import FlowError, container_step, each, flow
from flowbridge.errors import ConfigError
from flowbridge.ir.bindings import FromStep
from tests.unit.authoring import steps_here as s

convert = container_step(
    image="debian:stable",
    command=["/usr/bin/convert-it", "{inputs.source}", "-o", "{outputs.target}"],
    inputs=["source"],
    outputs=["target"],
    memory="1Gi",
)
split = container_step(
    image="debian:stable",
    command=["sh", "-c", "split {inputs.source} > {outputs.left} 2> {outputs.right}"],
    inputs={"source": Path},
    outputs=["left", "right"],
    name="halve",
)


def test_in_a_flow():
    @flow
    def f(path: str) -> Any:
        made = convert(s.say(path))
        parts = split(source=made)
        convert.map(each([path]))
        return s.echo([parts.left, parts.right])

    graph = f.trace().graph
    node = graph.steps_by_id["convert_it"]
    assert node.container.image == "debian:stable"
    assert node.code is None
    assert (node.output_kind, node.resources.memory) == ("single", 2**30)
    assert dict(graph.steps_by_id["halve"].inputs)["source"] == FromStep(step="convert_it", output="target")
    assert dict(graph.steps_by_id["echo"].inputs)["value"].items[1] == FromStep(step="halve", output="right")
    assert "halve" not in f.trace().functions
    assert graph.maps[0].id == "convert_it_2-map"


def test_problems():
    @flow
    def f() -> Any:
        parts = split()
        s.echo(parts)
        return s.echo(parts.middle)

    with pytest.raises(FlowError) as caught:
        f.trace()
    told = caught.value.problems
    assert "argument 'source' (Path) is missing" in told[0]
    assert "is several files; pass one of them: left, right" in told[1]
    assert "has no 'middle'; it has left, right" in told[2]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"command": "run it"}, "program and arguments as a list"),
        ({"command": ["x", "{inputs.a}"]}, r"names nothing in inputs="),
        ({"command": ["x"], "outputs": ["model"]}, "stands nowhere in the command"),
        ({"command": ["x", "{inputs.sorce} {inputs.source}"], "inputs": ["source"]}, "Did you mean 'source'"),
        ({"command": ["x", "{outputs.a-b}"], "outputs": ["a-b"]}, "cannot be the name"),
    ],
)
def test_mistakes(settings, told):
    with pytest.raises(ConfigError, match=told):
        container_step(image="x", **settings)


def test_outside_of_a_flow():
    with pytest.raises(FlowError, match="It is a program, not a function"):
        convert("x")
