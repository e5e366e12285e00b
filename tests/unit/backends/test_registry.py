"""Backends by name: near names, two claims on one name, what to install."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from flowbridge.backends import registry
from flowbridge.backends.local.backend import LocalBackend
from flowbridge.errors import BackendNotFoundError, ConfigError, MissingExtraError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    registry.get_backend.cache_clear()
    yield
    registry.get_backend.cache_clear()


def plug_in(monkeypatch: pytest.MonkeyPatch, **found: str) -> None:
    points = [EntryPoint(name.rstrip("_"), value, registry.GROUP) for name, value in found.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])


def test_those_that_come_with_flowbridge() -> None:
    assert {"inline", "kubeflow", "local", "metaflow"} <= set(registry.backend_names())
    assert isinstance(registry.get_backend("local"), LocalBackend)
    assert registry.get_backend("local") is registry.get_backend("local")


def test_an_unknown_name_shows_near_ones() -> None:
    with pytest.raises(BackendNotFoundError, match=r"'kubflow'.*Did you mean 'kubeflow'"):
        registry.get_backend("kubflow")


def test_a_plug_in_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, mine="flowbridge.backends.inline.backend:InlineBackend")
    assert registry.get_backend("mine").name == "inline"
    assert "mine" in registry.backend_names()


def test_two_claims_on_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, local="somebody.elses:Backend")
    with pytest.raises(ConfigError, match=r"Two plug-ins claim the backend name 'local'.*somebody\.elses"):
        registry.get_backend("local")


def test_the_same_claim_twice_is_no_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package installed twice on the path (a checkout and a wheel) shows its entry points twice."""
    plug_in(monkeypatch, local="flowbridge.backends.local.backend:LocalBackend", local_="flowbridge.backends.local.backend:LocalBackend")
    assert isinstance(registry.get_backend("local"), LocalBackend)


def test_a_plug_in_that_cannot_be_imported_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, mine="no_such_package.backend:Backend")
    with pytest.raises(MissingExtraError, match="'no_such_package', which is not installed"):
        registry.get_backend("mine")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch)
    monkeypatch.setitem(registry.BUILT_IN, "metaflow", "not_there_metaflow.backend:Backend")
    with pytest.raises(MissingExtraError, match=r"pip install 'flowbridge\[metaflow\]'"):
        registry.get_backend("metaflow")
