"""The worker as a process: an order in, a record and an exit code out, and nothing heavy imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import flowbridge
from flowbridge.artifacts.store import Store
from flowbridge.ir.bindings import Constant
from flowbridge.packaging.bundle import build
from flowbridge.worker.__main__ import parse_index
from flowbridge.worker.order import WorkOrder

from .driver import create, flow, item, out, over, step

SOURCE = """
    import sys
    def good(x):
        print("working on", x)
        return x + 1
    def bad(x):
        raise ValueError("no good")
    def heavy(x):
        names = {"kfp", "kubernetes", "metaflow", "networkx", "rich", "typer", "numpy", "pandas"}
        return sorted(names & set(sys.modules))
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    (tmp_path / "steps_of_test.py").write_text(dedent(SOURCE))
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    module = importlib.import_module("steps_of_test")
    yield module
    del sys.modules["steps_of_test"]


def work(*arguments: str) -> subprocess.CompletedProcess[str]:
    source = Path(next(iter(flowbridge.__path__))).parent
    return subprocess.run(
        [sys.executable, "-m", "flowbridge.worker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(source)},
    )


def test_a_process_runs_its_order_from_the_store_alone(store: Store, functions: object) -> None:
    graph = flow(
        over("m", x=Constant(value=[5, 6])),
        step("good", scope=("m",), inputs={"x": item("m", "x")}),
        step("bad", inputs={"x": Constant(value=1)}),
        step("after", inputs={"x": out("bad")}),
        step("heavy", inputs={"x": Constant(value=1)}),
    )
    bundle = build({"good": functions.good, "bad": functions.bad, "after": functions.good, "heavy": functions.heavy})  # type: ignore[attr-defined]
    files = create(graph, store, bundle=store.put_bundle(bundle.data))
    flags = ["--store", store.url, "--flow", "f", "--run", "r1"]

    assert work(*flags, "--step", "m").returncode == 0
    done = work(*flags, "--step", "good", "--index", "1", "--backend", "test", "--native", "pod-7")
    assert done.returncode == 0, done.stderr
    assert "working on 6" in done.stdout
    record = files.attempt("good", (1,), 0)
    assert record is not None
    assert store.load(record.output("result")) == 7
    assert record.native == "pod-7"

    failed = work(WorkOrder(store=store.url, flow="f", run="r1", step="bad").model_dump_json())
    assert failed.returncode == 1
    assert "ValueError: no good" in failed.stdout + failed.stderr
    assert 'File "steps_of_test.py"' in failed.stdout + failed.stderr
    assert work(*flags, "--step", "after").returncode == 0
    after = files.attempt("after", (), 0)
    assert after is not None
    assert after.state == "cancelled"

    assert work(*flags, "--step", "heavy").returncode == 0
    heavy = files.attempt("heavy", (), 0)
    assert heavy is not None
    assert store.load(heavy.output("result")) == []


def test_attempts_are_counted_for_systems_that_do_not(store: Store, functions: object) -> None:
    graph = flow(step("bad", retries=1, inputs={"x": Constant(value=1)}))
    bundle = build({"bad": functions.bad})  # type: ignore[attr-defined]
    files = create(graph, store, bundle=store.put_bundle(bundle.data))
    flags = ["--store", store.url, "--flow", "f", "--run", "r1", "--step", "bad", "--attempt", "next"]
    assert [work(*flags).returncode, work(*flags).returncode] == [1, 1]
    first, second = files.attempt("bad", (), 0), files.attempt("bad", (), 1)
    assert first is not None
    assert second is not None
    assert (first.final, second.final) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no order was given"),
        (["{}"], "store"),
        (["--flow", "f", "--run", "nope", "--step", "a"], "no run 'nope'"),
        (["--flow", "f", "--run", "r1", "--step", "nope"], "no step or map 'nope'; it has a"),
        (["--flow", "f", "--run", "r1", "--step", "a", "--index", "3"], "inside 0 maps"),
    ],
)
def test_a_wrong_order_is_one_message(store: Store, arguments: list[str], words: str) -> None:
    create(flow(step("a")), store)
    if "--flow" in arguments:
        arguments = [*arguments, "--store", store.url]
    done = work(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("text", "index"), [("", ()), ("_", ()), ("3", (3,)), ("3.1", (3, 1)), ("3,1", (3, 1))])
def test_indices(text: str, index: tuple[int, ...]) -> None:
    assert parse_index(text) == index
