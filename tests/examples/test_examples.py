"""Every example runs as it stands, from the command line, as its first lines say."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
RESULTS = {
    "branches": (["--reading", "17"], "17 is fine"),
    "failures": ([], 13.5),
    "files": (["--rows", "10"], {"a": 45, "b": 450}),
    "resources": (["--megabytes", "20"], 14),
    "values": (["--days", "12"], 120000),
}


@pytest.fixture
def flowbridge(tmp_path):
    """The command, in an empty folder."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWBRIDGE_")}
    env |= {"XDG_CONFIG_HOME": str(tmp_path / "no-config"), "MPLBACKEND": "agg"}

    def call(*arguments, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "flowbridge", *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return call


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_it_runs_with_its_defaults(path, flowbridge):
    assert re.search(r"(?m)^Done in ", flowbridge("run", str(path)))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_what_it_says_to_type_is_understood(path, flowbridge):
    """Each command in its docstring names this file, and parameters that its flow takes."""
    said = re.findall(r"(?m)^\s*(flowbridge run .*)$", path.read_text())
    assert said
    for line in said:
        words = shlex.split(line)
        assert words[2].partition(":")[0] == f"examples/{path.name}"
        target = words[2].replace("examples/", f"{path.parent}/")
        taken = flowbridge("run", target, "--help")
        own = [w for w in words[3:] if w.startswith("--") and w != "--backend"]
        assert all(re.search(rf"(?m)^  {w}\b", taken) for w in own), line


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_results(name, flowbridge):
    words, result = RESULTS[name]
    text = flowbridge("run", str(ROOT / "examples" / f"{name}.py"), *words, "--quiet")
    assert f"Result: {result!r}" in text.splitlines()


def test_other_branch(flowbridge):
    text = flowbridge("run", str(ROOT / "examples" / "branches.py"), "--reading", "42", "--json")
    states = {t["step"]: t["status"] for t in json.loads(text)["tasks"]}
    assert "skipped" in states.values()
