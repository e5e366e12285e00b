"""What is really loaded, in a fresh process: a static check cannot see that importing a room first runs the root package."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "networkx",
    "fsspec",
    "kfp",
    "kubernetes",
    "metaflow",
    "numpy",
    "pandas",
    "rich",
    "typer",
    "starlette",
    "polars",
    "pyarrow",
    "torch",
}
"""What `import flowbridge` never loads."""

ORCHESTRATORS = {"kfp", "kubernetes", "metaflow", "networkx", "rich", "typer"}
"""What a worker never loads."""

MOST = 150


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a statement loads."""
    program = f"import sys, json\nbefore = set(sys.modules)\n{statement}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def heads(modules: set[str]) -> set[str]:
    return {m.partition(".")[0] for m in modules}


def test_the_root_is_light():
    loaded = loaded_by("import flowbridge")
    assert heads(loaded) & HEAVY == set()
    assert len(loaded) <= MOST, sorted(loaded)


def test_writing_a_flow_loads_no_store_and_no_orchestrator():
    loaded = loaded_by("from flowbridge import each, flow, step, when, Resources")
    assert heads(loaded) & HEAVY == set()


@pytest.mark.parametrize("module", ["flowbridge.worker.__main__", "flowbridge.worker.run", "flowbridge.engine.child"])
def test_a_worker_carries_no_orchestrator(module):
    loaded = loaded_by(f"import {module}")
    assert heads(loaded) & ORCHESTRATORS == set()
    assert heads(loaded) & {"numpy", "pandas", "pyarrow", "polars", "torch"} == set()


def test_the_client_loads_no_orchestrator_and_no_screen():
    loaded = loaded_by("import flowbridge.client.start, flowbridge.client.runs")
    assert heads(loaded) & {"kfp", "kubernetes", "metaflow", "rich", "typer", "numpy", "pandas"} == set()


def test_the_command_line_loads_flows_only_inside_of_commands():
    loaded = loaded_by("import flowbridge.cli.main")
    assert heads(loaded) & {"kfp", "kubernetes", "metaflow", "networkx", "fsspec", "numpy", "pandas"} == set()


def test_importing_starts_nothing():
    """No thread, no process, no file opened, no logging set up."""
    program = (
        "import logging, threading, os\n"
        "before = set(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else set()\n"
        "import flowbridge, flowbridge.settings, flowbridge.client.start, flowbridge.worker.run\n"
        "after = set(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else set()\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('flowbridge').handlers\n"
        "assert len(after) == len(before), after - before\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
