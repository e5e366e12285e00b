"""Digests of code: what changes what a step computes changes its digest, and nothing else does."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from flowbridge.packaging.fingerprint import code_digest, code_digests

BASE = {
    "steps_mod.py": """
        import math
        import helpers
        from helpers import scale, LIMIT as TOP
        from flowbridge import step

        FACTOR = 3
        OTHER = 4

        class Out:
            x: int

        def decorate(f):
            return f

        def inner(x):
            return x * FACTOR

        def load(x) -> Out:
            return inner(x) + scale(x)

        def train(x):
            def nested(y):
                return helpers.whole(y)
            return nested(x) + TOP

        @decorate
        def plain(x):
            import late
            return OTHER

        @step(cpu=1)
        def decorated(x):
            return x
    """,
    "helpers.py": """
        from deeper import base
        LIMIT = 9
        UNUSED = 1
        def scale(x):
            return base(x)
        def whole(x):
            return x
    """,
    "deeper.py": "def base(x):\n    return x\ndef unused():\n    pass\n",
    "late.py": "X = 1\n",
}
STEPS = ("load", "train", "plain", "decorated")


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, *edits: tuple[str, str]) -> None:
        text = dedent(BASE[name])
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (self.root / name).write_text(text)

    def digests(self) -> dict[str, str]:
        for name in ("steps_mod", "helpers", "deeper", "late"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        module = importlib.import_module("steps_mod")
        return code_digests({name: getattr(module, name) for name in STEPS})


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    import types

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    stub = types.ModuleType("flowbridge")
    stub.step = lambda **options: lambda f: f  # type: ignore[attr-defined]
    if not hasattr(sys.modules["flowbridge"], "step"):
        monkeypatch.setattr(sys.modules["flowbridge"], "step", stub.step, raising=False)
    project = Project(tmp_path)
    for name in BASE:
        project.write(name)
    return project


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("steps_mod.py", "FACTOR = 3", "FACTOR = 5", {"load"}),
        ("steps_mod.py", "return x * FACTOR", "return FACTOR * x", {"load"}),
        ("steps_mod.py", "x: int", "x: float", {"load"}),
        ("steps_mod.py", "return nested(x) + TOP", "return nested(x) - TOP", {"train"}),
        ("steps_mod.py", "OTHER = 4", "OTHER = 5", {"plain"}),
        ("steps_mod.py", "@decorate\n", "", {"plain"}),
        ("steps_mod.py", "cpu=1", "cpu=2", set()),
        ("steps_mod.py", "return OTHER", "# a comment\n    return   OTHER", set()),
        ("steps_mod.py", "def inner(x):", 'def inner(x):\n    "A docstring."', set()),
        ("steps_mod.py", "import math", "import math\nprint('on import')", {"load", "train", "plain", "decorated"}),
        ("helpers.py", "LIMIT = 9", "LIMIT = 8", {"train"}),
        ("helpers.py", "UNUSED = 1", "UNUSED = 2", {"train"}),
        ("deeper.py", "return x\n", "return -x\n", {"load", "train"}),
        ("deeper.py", "pass", "return 1", set()),
        ("late.py", "X = 1", "X = 2", {"plain"}),
    ],
)
def test_only_the_steps_that_reach_a_change_are_new(code: Project, file: str, old: str, new: str, changed: set[str]) -> None:
    before = code.digests()
    code.write(file, (old, new))
    after = code.digests()
    assert {name for name in STEPS if before[name] != after[name]} == changed


def test_a_digest_is_the_same_in_every_process(code: Project) -> None:
    program = "import flowbridge, sys; flowbridge.step = lambda **o: lambda f: f\nimport steps_mod; from flowbridge.packaging.fingerprint import code_digest; print(code_digest(steps_mod.train))"
    source = Path(next(iter(importlib.import_module("flowbridge").__path__))).parent
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": f"{source}:{code.root}", "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {code.digests()["train"]}


def make(offset: int, text: str = "x") -> object:
    def inner(x: int) -> object:
        return x + offset, text

    return inner


def test_functions_inside_functions_count_with_what_they_hold() -> None:
    assert code_digest(make(1)) == code_digest(make(1))  # type: ignore[arg-type]
    assert code_digest(make(1)) != code_digest(make(2))  # type: ignore[arg-type]
    assert code_digest(make(1)) != code_digest(make(1, "y"))  # type: ignore[arg-type]
    assert code_digest(lambda x: x + 1) != code_digest(lambda x: x + 2)
