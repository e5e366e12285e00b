"""A project of a user's, and the command run in it as he would run it: in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowbridge.cli.main import call

FLOWS = '''
"""Flows of a user."""
from __future__ import annotations

from typing import NamedTuple

from flowbridge import each, flow, log_metric, log_table, step


class Pair(NamedTuple):
    value: int
    twice: int


@step
def numbers(n: int, start: int) -> list[int]:
    print("making", n)
    return list(range(start, start + n))


@step(memory="1Gi", retries=1)
def double(x: int, lr: float) -> Pair:
    print("doubling", x)
    log_metric("lr", lr)
    if x == 13:
        raise ValueError("thirteen is not doubled")
    return Pair(x, 2 * x)


@step
def total(pairs: list[Pair], names: list[str], loud: bool) -> int:
    log_metric("total", sum(p.twice for p in pairs))
    log_table("names", [{"name": n} for n in names])
    print("LOUD" if loud else "quiet")
    return sum(p.twice for p in pairs)


@flow(tags=["mine"])
def doubling(n: int = 3, start: int = 0, lr: float = 0.5, names: list[str] = ["a"], loud: bool = False, store_name: str | None = None) -> int:
    """Double some numbers."""
    return total(double.map(each(numbers(n, start)), lr=lr), names, loud)
'''

BROKEN = """
from flowbridge import flow, step

@step
def one(n: int) -> int:
    return n

@flow
def branching(n: int) -> int:
    if one(n) > 3:
        return one(1)
    return one(one(missing=n))

@flow
def raising(n: int) -> int:
    return one({}["key"])
"""

MANY = """
from flowbridge import flow, step

@step(nodes=2)
def gang(n: int) -> int:
    return n

@flow
def first(n: int) -> int:
    return gang(n)

@flow
def second(n: int) -> int:
    return gang(n)
"""


class Project:
    """Where the command is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWBRIDGE_")}
        self.env |= {"XDG_CONFIG_HOME": str(folder / "no-config"), "FLOWBRIDGE_ACCOUNT_DIR": str(folder / "account"), "NO_COLOR": "1"}
        for name, text in {"flows.py": FLOWS, "broken.py": BROKEN, "many.py": MANY}.items():
            (folder / name).write_text(text)

    def __call__(self, *arguments: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command; its exit code must be the one expected."""
        done = subprocess.run(
            [sys.executable, "-m", "flowbridge", *arguments],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert (
            "Traceback" not in done.stderr or "ValueError: thirteen" in done.stderr or "--debug" in arguments or "KeyError" in done.stderr
        )
        return done

    def here(self, monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
        """Run the command in this process, which costs a hundredth of one of its own; return exit code and what was printed."""
        monkeypatch.chdir(self.folder)
        monkeypatch.setattr(sys, "path", list(sys.path))
        for name in [n for n in os.environ if n.startswith("FLOWBRIDGE_")]:
            monkeypatch.delenv(name)
        for name in ("XDG_CONFIG_HOME", "FLOWBRIDGE_ACCOUNT_DIR", "NO_COLOR"):
            monkeypatch.setenv(name, self.env[name])
        code = call(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    @property
    def written(self) -> bool:
        """Whether there is a store."""
        return (self.folder / ".flowbridge").exists()


@pytest.fixture
def flowbridge(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A project with a run that is done (first) and one that failed; tests only look at it."""
    project = Project(tmp_path_factory.mktemp("project"))
    project("run", "flows.py")
    project("run", "flows.py:doubling", "--start", "11", "--tag", "unlucky", code=1)
    return project
