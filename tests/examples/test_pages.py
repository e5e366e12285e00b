"""The code on the pages that newcomers read first runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


PAGE = ROOT / "docs/how-to/serializers.md"
MODEL = """class Model:
    def __init__(self, weights):
        self.weights = weights

    def write(self, file):
        file.write(self.weights)

    @classmethod
    def read(cls, file):
        return cls(file.read())
"""
COLOUR = """

class Colour:
    def __init__(self, *parts):
        self.parts = parts
"""
KEEP = """
from flowbridge.artifacts.store import Store

store = Store.open("store", trust=False)
reference = store.save({made})
value = store.load(reference)
print(reference.serializer, ({shown}))
"""


def block(page, number=0):
    """Return a block of Python on a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)[number]


@pytest.fixture
def python(tmp_path):
    """Run something in an empty folder, with the settings that a newcomer has: none."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWBRIDGE_")} | {"XDG_CONFIG_HOME": str(tmp_path / "no-config")}

    def call(*arguments):
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_the_tutorial(python, tmp_path):
    (tmp_path / "hello.py").write_text(block("docs/tutorial/first-flow.md"))
    assert "Result: 3" in python("-m", "flowbridge", "run", "hello.py", "--text", "to be or not to be")
    looking = block("docs/tutorial/first-flow.md", 1).replace("run.result()  ", "assert run.result() == 3  ")
    looking = looking.replace('run["length"][2].load()  ', 'assert run["length"][2].load() == 2  ')
    assert looking.count("assert") == 2
    python("-c", f"from hello import hello\n{looking}\nassert hello.name == 'hello'")


def test_the_readme(python, tmp_path):
    (tmp_path / "training.py").write_text(block("README.md"))
    assert "can run on 'local'" in python("-m", "flowbridge", "check", "training.py")


def test_the_two_lines_of_the_readme_are_single_lines_that_ci_runs():
    lines = re.findall(r"(?m)^python3 -m venv .*$", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [bool(re.search(r"flowbridge run examples/training\.py$", lines[0])), "-m pytest" in lines[1]] == [True, True]
    assert len(lines) == 2
    assert "grep -E '^python3 -m venv .* -m pytest' README.md" in (ROOT / ".ci" / "run").read_text()


def test_a_file_system_put_through_the_suite(python, tmp_path):
    (tmp_path / "test_mine.py").write_text(block("docs/how-to/stores.md"))
    text = python("-m", "pytest", "-p", "no:cacheprovider", "-q", "test_mine.py", "-k", "come_back or racers or runs_are_found")
    assert "3 passed, 1 skipped" in text


def test_a_class_and_a_package_with_formats(python, tmp_path):
    own = block("docs/how-to/serializers.md").replace("class Model: ...", MODEL)
    (tmp_path / "mine.py").write_text(own + KEEP.format(made="Model(b'kept')", shown="Model, value.weights"))
    assert python("mine.py") == "mine.Model (<class 'mine.Model'>, b'kept')\n".replace("mine.", "__main__.")
    package = block("docs/how-to/serializers.md", 1) + COLOUR
    (tmp_path / "colours.py").write_text(package)
    (tmp_path / "colours-1.0.dist-info").mkdir()
    (tmp_path / "colours-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: colours\nVersion: 1.0\n")
    point = re.search(r"```toml\n\[project.entry-points.\"(.*)\"\]\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "colours-1.0.dist-info" / "entry_points.txt").write_text(f"[{point[1]}]\n" + point[2].replace('"', ""))
    (tmp_path / "use.py").write_text("from colours import Colour" + KEEP.format(made="Colour(1, 2, 3)", shown="Colour, value.parts"))
    assert python("use.py") == "colour (<class 'colours.Colour'>, (1, 2, 3))\n"
