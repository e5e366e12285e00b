"""Steps that are placed: on this machine, by whatever name, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowbridge.backends.registry import get_backend
from flowbridge.client.prepare import gaps_of
from flowbridge.engine.here import container_gaps, placement_gaps
from flowbridge.ir.flow import ContainerSpec, FlowGraph
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


def programs(*names: str) -> FlowGraph:
    return flow(*(step(name, container=ContainerSpec(image="busybox", command=("true",))) for name in names), step("pid"))


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Leave nothing in the path that runs containers, and return the folder that is searched."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_programs_in_images_need_what_runs_them(no_engine: Path) -> None:
    (gap,) = container_gaps(programs("resize", "pack").steps)
    assert gap.startswith("the steps resize, pack run programs in images, which takes podman or docker, and neither is installed here")
    (gap,) = container_gaps(programs("pack").steps)
    assert gap.startswith("step pack runs a program in an image")
    assert not list(container_gaps(flow(step("pid")).steps))
    (no_engine / "podman").touch(mode=0o755)
    assert not list(container_gaps(programs("resize", "pack").steps))


@pytest.mark.parametrize(
    "settings",
    [
        {"backend": "inline"},
        {"backend": "local"},
        pytest.param({"backend": "metaflow"}, marks=pytest.mark.metaflow),
        {"backend": "kubeflow", "kubeflow": {"host": "local"}},
    ],
    ids=lambda settings: settings["backend"],
)
def test_every_backend_that_starts_programs_here_asks_before(no_engine: Path, settings: dict[str, Any]) -> None:
    profile = Profile(**settings)
    found = [gap for gap in gaps_of(get_backend(profile.backend), programs("resize"), profile) if "podman" in gap]
    assert len(found) == 1


def test_a_server_that_runs_images_needs_nothing_here(no_engine: Path) -> None:
    profile = Profile(backend="kubeflow", store="s3://bucket/store", kubeflow={"host": "https://kfp.example.com"})
    assert not [gap for gap in gaps_of(get_backend("kubeflow"), programs("resize"), profile) if "podman" in gap]
