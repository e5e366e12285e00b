"""Style and types, as part of the tests: what is green here is green for whoever runs the tools by hand."""

import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_ruff():
    pytest.importorskip("ruff")
    done = run("ruff", "check", "--no-cache", "--output-format", "concise", ".")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mypy():
    pytest.importorskip("mypy")
    done = run("mypy")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_of_a_machine_or_a_person():
    """Paths of one machine have no place in what everybody gets."""
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        pytest.skip("not a git checkout")
    wrong = [name for name in told.stdout.split("\0") if name.endswith((".pyc", ".sqlite", ".log", ".DS_Store"))]
    assert wrong == []
