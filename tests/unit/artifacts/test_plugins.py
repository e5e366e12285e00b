"""A format that an installed package brings: found by its entry point, in this process and in those that only read."""

import os
import subprocess
import sys
import zipfile

import pytest

MODULE = """
class Colour:
    def __init__(self, red, green, blue):
        self.parts = (red, green, blue)


class ColourSerializer:
    name = "colour"
    version = 1
    types = ("colours.Colour",)

    def save(self, value, sink):
        sink.write(bytes(value.parts))
        return (("shown", "#%02x%02x%02x" % value.parts),)

    def load(self, source):
        return Colour(*source.read())
"""
METADATA = "Metadata-Version: 2.1\nName: colours\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
SAVE = """
import sys, colours
from flowbridge.artifacts.store import Store
print(Store.open(sys.argv[1]).save([colours.Colour(1, 2, 255), colours.Colour(9, 9, 9)]).model_dump_json())
print(Store.open(sys.argv[1]).save(colours.Colour(1, 2, 255)).model_dump_json())
"""
LOAD = """
import sys
from flowbridge.artifacts.store import Store
from flowbridge.artifacts.reference import Reference
from flowbridge.errors import SerializationError
try:
    value = Store.open(sys.argv[1], trust=False).load(Reference.model_validate_json(sys.argv[2]))
except SerializationError as error:
    sys.exit(str(error))
print([v.parts for v in value] if isinstance(value, list) else value.parts)
"""


@pytest.fixture
def installed(tmp_path):
    """A wheel, installed into a folder as any other is."""
    uv = pytest.importorskip("uv").find_uv_bin()
    wheel = tmp_path / "colours-1.0-py3-none-any.whl"
    info = "colours-1.0.dist-info"
    names = {
        "colours.py": MODULE,
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": "[flowbridge.serializers]\ncolour = colours:ColourSerializer\n",
    }
    with zipfile.ZipFile(wheel, "w") as file:
        for name, text in names.items():
            file.writestr(name, text)
        file.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*names, f"{info}/RECORD")))
    target = tmp_path / "site"
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", sys.executable, "--target", target, wheel], check=True
    )
    return target


def python(code, *arguments, path=None):
    paths = [p for p in (path and str(path), os.environ.get("PYTHONPATH")) if p]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False)


def test_a_package_brings_a_format(installed, tmp_path):
    url = str(tmp_path / "store")
    saved = python(SAVE, url, path=installed)
    assert saved.returncode == 0, saved.stderr
    listed, one = saved.stdout.split("\n")[:2]
    assert '"serializer":"colour"' in one
    assert "#0102ff" in one
    assert python(LOAD, url, one, path=installed).stdout.strip() == "(1, 2, 255)"
    assert python(LOAD, url, listed, path=installed).stdout.strip() == "[(1, 2, 255), (9, 9, 9)]"


def test_without_the_package_the_error_says_so(installed, tmp_path):
    url = str(tmp_path / "store")
    one = python(SAVE, url, path=installed).stdout.split("\n")[1]
    told = python(LOAD, url, one)
    assert told.returncode != 0
    assert "'colour'" in told.stderr
    assert "install the package" in told.stderr
    assert "Traceback" not in told.stderr
