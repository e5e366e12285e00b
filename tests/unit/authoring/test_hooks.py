"""run, check and compile are handed to what is installed from above."""

from __future__ import annotations

import pytest

from flowbridge import flow
from flowbridge.authoring import hooks
from flowbridge.errors import UsageError
from tests.unit.authoring import steps_here as s


class Recorder:
    def __init__(self):
        self.calls = []

    def run(self, flow, args, kwargs, options):
        self.calls.append(("run", flow.name, tuple(args), dict(kwargs), dict(options)))
        return "a run"

    def check(self, flow, options):
        self.calls.append(("check", flow.name, dict(options)))
        return "checked"

    def compile(self, flow, target, options):
        self.calls.append(("compile", flow.name, target, dict(options)))
        return "compiled"


@pytest.fixture
def recorder():
    before = list(hooks._installed)
    made = Recorder()
    hooks.install(made)
    yield made
    hooks._installed[:] = before


@flow
def training(n: int) -> int:
    return s.add(n)


def test_everything_is_handed_on(recorder):
    assert training.options(backend="local", tags=["x"]).run(3) == "a run"
    assert training.check(backend="kubeflow") == "checked"
    assert training.compile("out.yaml", backend="kubeflow") == "compiled"
    assert recorder.calls == [
        ("run", "training", (3,), {}, {"backend": "local", "tags": ["x"]}),
        ("check", "training", {"backend": "kubeflow"}),
        ("compile", "training", "out.yaml", {"backend": "kubeflow"}),
    ]


def test_without_hooks_the_root_is_asked(monkeypatch):
    monkeypatch.setattr(hooks, "_installed", [])
    with pytest.raises(UsageError, match="can be built, but not run"):
        hooks.installed()
