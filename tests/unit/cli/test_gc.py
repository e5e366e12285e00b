"""Cleaning by command: shown first, removed when asked."""

import json
import os
import time
from pathlib import Path

from flowbridge import flow, step
from flowbridge.cli.main import call


@step
def make(n: int) -> bytes:
    return bytes([n]) * 100_000


@flow
def making(n: int = 1) -> bytes:
    return make(n)


def test_gc_shows_then_removes_and_du_tells(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    store = str(tmp_path / "store")
    for n in (1, 2):
        assert making.options(backend="inline", store=store).run(n=n).status == "done"
    then = time.time() - 3 * 86400
    for path in Path(store).rglob("*"):
        os.utime(path, (then, then))
    capsys.readouterr()
    arguments = ["gc", "--keep", "1", "--store", store]
    assert call([*arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["removed"] is False
    assert shown["by_flow"]["making"] >= 100_000
    assert call(arguments) == 0
    assert "can go. Nothing is removed yet" in capsys.readouterr().out
    assert call([*arguments, "--yes"]) == 0
    assert "Removed 1 run and 1 file" in capsys.readouterr().out
    assert call([*arguments[:2], "0", "--best", "auc", "--store", store]) == 2
    assert "No run that is done has a metric 'auc'" in capsys.readouterr().err

    assert call(["du", "--store", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == {"making": 1}
    assert call(["du", "--store", store]) == 0
    assert "(shared)" in capsys.readouterr().out
    assert call([*arguments, "--status", "running"]) == 2
    assert "Unknown status" in capsys.readouterr().err


def test_a_run_is_tagged_and_found_by_its_tags(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("FLOWBRIDGE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    run = making.options(backend="inline", tags=["first"]).run(n=1)
    making.options(backend="inline").run(n=2)
    capsys.readouterr()
    assert call(["tag", run.id, "pinned", "baseline", "--remove", "first"]) == 0
    assert capsys.readouterr().out == f"{run.id}  pinned, baseline\n"
    assert call(["tag", run.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": run.id, "tags": ["pinned", "baseline"]}
    assert call(["runs", "--where", "'pinned' in tags", "--json"]) == 0
    assert [r["id"] for r in json.loads(capsys.readouterr().out)] == [run.id]
    assert call(["tag", run.id, "--remove", "pined"]) == 2
    assert "Did you mean 'pinned'" in capsys.readouterr().err
