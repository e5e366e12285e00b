"""Steps that are placed: on this machine, by whatever name, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowbridge.engine.here import placement_gaps
from flowbridge.ir.flow import FlowGraph
from flowbridge.settings import Profile

from .runs import flow, step

CONFIG = """
[profiles.laptop]
backend = "local"
[profiles.cluster]
backend = "kubeflow"
"""


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flowbridge.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)


def gaps(graph: FlowGraph, **placement: str) -> list[str]:
    return list(placement_gaps(graph, Profile(placement=placement)))


@pytest.mark.parametrize("target", [None, "local", "laptop"])
def test_this_machine_goes_by_several_names(target: str | None) -> None:
    assert gaps(flow(step("pid", target=target))) == []


def test_another_place_is_refused() -> None:
    (gap,) = gaps(flow(step("pid", target="cluster")))
    assert gap.startswith("step pid is placed at 'cluster', whose backend is 'kubeflow'")


def test_a_profile_places_steps_by_name_and_targets_by_theirs() -> None:
    graph = flow(step("pid"), step("big", function="pid", target="gpu-box"))
    assert len(gaps(graph, pid="cluster")) == 2
    assert gaps(graph, **{"gpu-box": "laptop"}) == []


def test_a_place_that_is_nowhere_says_so() -> None:
    (gap,) = gaps(flow(step("pid", target="moon")))
    assert "neither this machine" in gap
