"""What the local backend refuses before anything runs, and what it says of a flow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowbridge.backends.base import Backend
from flowbridge.backends.local.backend import LocalBackend
from flowbridge.backends.registry import get_backend
from flowbridge.backends.support import Unsupported
from flowbridge.ir.environment import EnvironmentWish, Secret
from flowbridge.ir.features import Feature
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.resources import Resources
from flowbridge.settings import MachineSettings, Profile

SMALL = Profile(machine=MachineSettings(cpu=2, memory="4Gi", gpus=[]))


def flow(**about: Any) -> FlowGraph:
    return FlowGraph(name="f", steps=(StepNode(id="train", name="train", code=CodeRef(module="m", qualname="train"), **about),))


@pytest.mark.parametrize("name", ["inline", "local"])
def test_every_feature_has_its_line(name: str) -> None:
    backend = get_backend(name)
    assert set(backend.support) == set(Feature)
    refused = {f: s for f, s in backend.support.items() if isinstance(s, Unsupported)}
    assert all(s.instead for s in refused.values()), "a refusal must say the way out"


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(cpu=3), "cpu=3"),
        (Resources(memory=5 * 2**30), "memory=5Gi"),
        (Resources(gpu=1), "gpu=1"),
        (Resources(custom=(("licence", 1.0),)), "licence=1"),
    ],
)
def test_more_than_the_machine_has_is_refused(resources: Resources, words: str) -> None:
    (gap,) = LocalBackend().gaps(flow(resources=resources), SMALL)
    assert gap.startswith("step train: ")
    assert words in gap


def test_a_gang_is_counted_whole() -> None:
    (gap,) = LocalBackend().gaps(flow(resources=Resources(cpu=1), nodes=3), SMALL)
    assert "3 nodes" in gap


@pytest.mark.parametrize("name", ["inline", "local"])
def test_a_missing_secret_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = flow(environment=EnvironmentWish(secrets=(Secret(env="TOKEN", name="FB_TEST_SECRET"),)))
    backend: Backend = get_backend(name)
    (gap,) = backend.gaps(graph, SMALL)
    assert "step train" in gap
    assert "FB_TEST_SECRET" in gap
    monkeypatch.setenv("FB_TEST_SECRET", "hidden")
    assert backend.gaps(graph, SMALL) == []


def test_a_store_in_memory_is_refused() -> None:
    (gap,) = LocalBackend().gaps(flow(), SMALL.model_copy(update={"store": "memory://x"}))
    assert "inline" in gap


def test_a_flow_that_fits_has_no_gaps() -> None:
    assert LocalBackend().gaps(flow(resources=Resources(cpu=2, memory=2**30)), SMALL) == []


@pytest.mark.parametrize("name", ["inline", "local"])
def test_compiling_gives_the_flow_itself(name: str, tmp_path: Path) -> None:
    graph = flow(resources=Resources(cpu=1))
    compiled = get_backend(name).compile(graph, SMALL)
    (path,) = compiled.write(tmp_path / "out.json")
    assert FlowGraph.model_validate(json.loads(path.read_text())) == graph


def test_notes_tell_of_the_machine_and_of_what_is_done_otherwise() -> None:
    notes = LocalBackend().notes(flow(environment=EnvironmentWish(image="python:3.12"), resources=Resources(shm=1)), SMALL)
    assert "2 cores" in notes[0]
    assert any("image (train)" in n for n in notes)
    assert any("/dev/shm" in n for n in notes)


def test_inline_tells_what_it_does_not_hold() -> None:
    notes = get_backend("inline").notes(flow(resources=Resources(memory=1, gpu=1)), SMALL)
    assert any(n.startswith("memory (train)") for n in notes)
    assert any(n.startswith("gpu (train)") for n in notes)
