"""Steps with packages of their own, run by the local engine beside steps without."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import flowbridge
from flowbridge import flow, step
from flowbridge.client.locks import needed_by
from flowbridge.engine.environments import own_paths
from flowbridge.errors import ConfigError
from tests.unit.environments.conftest import index, wheels

__all__ = ["index", "wheels"]


@step
def here(name: str) -> list[bool]:
    """Look for packages in the environment of the flow."""
    return [importlib.util.find_spec(p) is not None for p in ("fb_tiny", "networkx", name)]


@step(packages=["fb_tiny==1.4"])
def in_its_own(seen: list[bool]) -> list[object]:
    """Look for packages in an environment of its own."""
    fb_tiny = importlib.import_module("fb_tiny")
    return [*seen, fb_tiny.VERSION, importlib.util.find_spec("networkx") is not None, sys.prefix]


@step(packages=["fb_tiny==1.4"], memory="100Mi")
def hog(seen: list[object]) -> int:
    """Use more memory than declared."""
    return len(bytearray(300_000_000)) + len(seen)


@step(packages=["fb_tiny==1.0"])
def in_another(item: int) -> str:
    """Look for the version of a package in a further environment."""
    return f"{importlib.import_module('fb_tiny').VERSION} {item}"


@flow
def both(name: str = "pytest") -> list[object]:
    """Hand values from one environment to the other."""
    found = in_its_own(here(name))
    hog(found)
    return found


@flow
def many(items: list[int] = [1, 2, 3]) -> list[str]:  # noqa: B006  (a flow's default is never changed)
    """Map over a step with an environment of its own."""
    return in_another.map(flowbridge.each(items))


@step(packages=["no-such-package-of-anybody==9"])
def nowhere() -> int:
    """Never run."""
    return 1


@flow
def impossible() -> int:
    """Wish for what there is not."""
    return nowhere()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheels: Path, index: None) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("FLOWBRIDGE_ACCOUNT_DIR", str(tmp_path / "account"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_step_runs_in_its_own_environment_with_its_limits_and_the_others_here(place: Path) -> None:
    run = both.run()
    assert run["here"][0].load() == [False, True, True]
    seen = run["in_its_own"][0].load()
    assert seen[:5] == [False, True, True, "1.4", False]
    assert seen[5].startswith(str(place / "cache"))
    hogged = run["hog"][0].record
    assert hogged is not None
    assert hogged.reason is not None
    assert (hogged.state, hogged.reason.kind, hogged.reason.declared) == ("failed", "out_of_memory", 100 * 2**20)


def test_a_lock_is_in_the_store_and_named_in_the_record(place: Path) -> None:
    run = many.run()
    assert run.result() == ["1.0 1", "1.0 2", "1.0 3"]
    locks = list((place / ".flowbridge" / "environments").glob("*.txt"))
    assert ["fb-tiny==1.0 \\" in lock.read_text() for lock in locks] == [True]


def test_what_can_not_be_locked_is_refused_before_anything_is_written(place: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-package-of-anybody"):
        impossible.run()
    assert not list((place / ".flowbridge").glob("runs/*/*"))


def test_what_a_module_imports_is_needed_to_load_its_steps() -> None:
    assert "pytest" in needed_by(in_its_own)
    assert "tests" not in needed_by(in_its_own)


def test_folders_of_installed_packages_are_not_the_users_own() -> None:
    assert not [p for p in own_paths() if "site-packages" in p]
