"""Runs of a store whose owner means ill, looked at by somebody who does not trust it."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

import flowbridge
from flowbridge import flow, step
from flowbridge.artifacts import layout
from flowbridge.records.envelope import seal
from flowbridge.worker.session import RunSession


class Call(NamedTuple):
    args: list[str]
    shell: bool


@step
def parts() -> Call:
    return Call([sys.executable, "-c", "open('harm', 'w')"], False)


@flow
def calling() -> Call:
    made = parts()
    return Call(made.args, made.shell)


@pytest.fixture
def run(store, monkeypatch):
    """Return the id of a run that is done, in a store that is not trusted any more."""
    made = calling.options(backend="inline").run()
    assert made.status == "done"
    monkeypatch.setenv("FLOWBRIDGE_TRUST", "false")
    return made


def change(run, **graph):
    """Have a run's flow say something else."""
    store = run._source.session.store
    text = run.graph.model_copy(update=graph).model_dump_json(exclude_defaults=True)
    record = run.record.model_copy(update={"graph": store.save(text)})
    store.content.put(layout.run_file(run.flow, run.id, "run"), seal(record))


@pytest.mark.parametrize("named", ["subprocess:Popen", "subprocess:run", "harmful:Call"])
def test_what_a_flow_says_it_returns_is_neither_imported_nor_called(run, tmp_path, monkeypatch, named):
    (tmp_path / "harmful.py").write_text("open('harm', 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    change(run, result_type=named)
    result = flowbridge.get_run(run.id).result()
    assert (type(result).__name__, tuple(result)) == ("Result", tuple(parts()))
    assert "harmful" not in sys.modules
    assert not (tmp_path / "harm").exists()


def test_code_of_a_run_is_not_imported_to_show_what_its_steps_returned(run, monkeypatch):
    monkeypatch.setattr(RunSession, "function", lambda *_: pytest.fail("code of the store is imported"))
    found = flowbridge.get_run(run.id)
    for value in (found["parts"][0].load(), found.result()):
        assert tuple(value) == tuple(parts())
