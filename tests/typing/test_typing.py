"""Signatures survive `@step` and `@flow`: mypy and pyright accept what is right and refuse what is wrong, line by line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MARK = "# WRONG"

pytestmark = pytest.mark.typing


def mypy(path: Path) -> set[int]:
    """Return the lines of a file that mypy finds errors in."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(path.parent / "cache")]
    done = subprocess.run([*command, "--no-error-summary", str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return {int(m[1]) for m in re.finditer(rf"(?m)^.*{re.escape(path.name)}:(\d+): error:", done.stdout)}


def pyright(path: Path) -> set[int]:
    """Return the lines of a file that pyright finds errors in."""
    program = Path(sys.executable).parent / "pyright"
    if not program.exists():
        pytest.skip("pyright is not installed")
    done = subprocess.run(
        [str(program), "--outputjson", "--pythonpath", sys.executable, str(path)],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1, done.stdout
    return {d["range"]["start"]["line"] + 1 for d in found["generalDiagnostics"] if d["severity"] == "error"}


CHECKERS = pytest.mark.parametrize("check", [mypy, pyright], ids=lambda f: f.__name__)


@CHECKERS
def test_right_calls_pass(check, tmp_path):
    path = shutil.copy(HERE / "right.py", tmp_path / "right.py")
    assert check(Path(path)) == set()


@CHECKERS
def test_wrong_calls_fail(check, tmp_path):
    path = Path(shutil.copy(HERE / "wrong.txt", tmp_path / "wrong.py"))
    marked = {i for i, line in enumerate(path.read_text().splitlines(), 1) if MARK in line}
    assert len(marked) > 20
    assert check(path) == marked
