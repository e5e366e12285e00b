"""A project on disk, importable for the length of a test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

SOURCES = {
    "pyproject.toml": "",
    "app_main.py": """
        import json
        import os.path
        from typing import TYPE_CHECKING

        import lib_pkg.deep.leaf
        from lib_pkg import tools
        if TYPE_CHECKING:
            import only_for_checkers

        def work(x):
            import late_import
            return tools.double(x) + late_import.ONE

        def other(x):
            return x
    """,
    "late_import.py": "ONE = 1\n",
    "only_for_checkers.py": "raise RuntimeError\n",
    "unused.py": "X = 1\n",
    "lib_pkg/__init__.py": "from .tools import double\n",
    "lib_pkg/tools.py": "from . import constants as c\ndef double(x):\n    return x * c.TWO\n",
    "lib_pkg/constants.py": "TWO = 2\n",
    "lib_pkg/unused_too.py": "",
    "lib_pkg/data.txt": "some data",
    "lib_pkg/deep/__init__.py": "",
    "lib_pkg/deep/leaf.py": "import json, lib_pkg\nfrom ..constants import TWO\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules on `sys.path`."""
    root = tmp_path / "project"
    for name, text in SOURCES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    monkeypatch.syspath_prepend(str(root))
    before = set(sys.modules)
    path_before = list(sys.path)
    yield root
    forget(before)
    sys.path[:] = path_before


def forget(before: set[str]) -> None:
    """Drop the modules imported since."""
    for name in set(sys.modules) - before:
        if not name.startswith(("numpy", "flowbridge", "cloudpickle")):
            del sys.modules[name]


@pytest.fixture
def work(project: Path) -> Any:
    """A function of the project."""
    del project
    return importlib.import_module("app_main").work
