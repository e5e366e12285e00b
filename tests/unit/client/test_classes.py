"""The class of what a step returned, in a process that never saw it: its code comes from the store, where that is trusted."""

import subprocess
import sys

import pytest

FLOW = """
from __future__ import annotations
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from flowbridge import flow, step

Path({ran!r}).touch()

@dataclass
class Pair:
    value: int
    twice: int

    def sum(self) -> int:
        return self.value + self.twice

@step
def double(n: Fraction) -> Pair:
    return Pair(int(n), 2 * int(n))

@flow
def doubling(n: Fraction = Fraction(3)) -> Pair:
    return double(n)

if __name__ == "__main__":
    assert doubling.options(backend="inline").run().status == "done"
"""

LOOK = """
import flowbridge
value = flowbridge.get_run("latest")["double"].load()
print(type(value).__name__, tuple(getattr(value, name) for name in ("value", "twice")))
"""


@pytest.fixture
def python(store, tmp_path):
    def call(*arguments):
        return subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout

    return call


@pytest.fixture
def ran(tmp_path):
    """A file that is there once the code of the flow was imported."""
    return tmp_path / "ran"


def in_a_module(python, tmp_path, ran):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.py").write_text(FLOW.format(ran=str(ran)))
    python("-c", "import sys; sys.path.insert(0, 'there'); import mine; mine.doubling.options(backend='inline').run()")
    ran.unlink()


def test_a_module_that_is_not_here(python, tmp_path, ran):
    in_a_module(python, tmp_path, ran)
    assert python("-c", LOOK) == "Pair (3, 6)\n"
    assert ran.exists()


def test_no_module_of_a_store_that_is_not_trusted_is_imported(python, tmp_path, ran, monkeypatch):
    in_a_module(python, tmp_path, ran)
    monkeypatch.setenv("FLOWBRIDGE_TRUST", "false")
    assert python("-c", LOOK) == "Outputs (3, 6)\n"
    assert not ran.exists()


def test_a_script_or_notebook_whose_other_annotations_do_not_travel(python, tmp_path, ran):
    """A function that is pickled takes along the names that it uses, which its annotations are not."""
    (tmp_path / "script.py").write_text(FLOW.format(ran=str(ran)))
    python("script.py")
    assert python("-c", LOOK) == "Pair (3, 6)\n"


OWN_FORMAT = """
from flowbridge import flow, register_serializer, step
import {package}

class Model:
    def __init__(self, n):
        self.n = n

register_serializer(Model, save=lambda m, file: file.write(m.n), load=lambda file: Model(file.read()), name="mine")

@step
def make() -> list[Model]:
    return [Model(b"1" * 5000)]

@flow
def making() -> list[Model]:
    return make()
"""


def test_a_format_whose_module_needs_a_package_that_is_not_here(python, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.py").write_text(OWN_FORMAT.format(package="rarely_installed"))
    (tmp_path / "there" / "rarely_installed.py").write_text("")
    python(
        "-c",
        "import sys; sys.path.insert(0, 'there'); sys.modules['rarely_installed'] = sys; import mine; mine.making.options(backend='inline').run()",
    )
    (tmp_path / "there" / "rarely_installed.py").unlink()
    look = """
import flowbridge
task = flowbridge.get_run('latest')['make'][0]
for _ in range(2):
    try:
        task.load()[0]
    except flowbridge.errors.SerializationError as error:
        print(error)
"""
    lines = python("-c", look).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "No serializer goes by the name 'mine' here" in line
        assert "could not be imported here" in line
        assert "'rarely_installed', which is neither in the code bundle nor installed here" in line
