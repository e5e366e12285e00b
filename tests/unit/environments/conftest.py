"""A tiny package of its own, so that most tests need no index; and whether the index answers."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from flowbridge.environments.uv import call, find_uv
from flowbridge.errors import FlowbridgeError


def wheel(folder: Path, name: str, version: str, requires: str = "") -> Path:
    """Write a wheel with one module that knows its version."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that uv looks in besides the index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("1.0", "1.4", "2.0"):
        wheel(folder, "fb_tiny", version)
    wheel(folder, "fb_user", "1.0", "fb_tiny<2")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, wheels: Path) -> Path:
    """No index at all: what is resolved comes from the folder of wheels, and the worker's own needs are left out."""
    monkeypatch.setattr(sys.modules["flowbridge.environments.lock"], "NEEDS", ())  # the package has a function of that name
    monkeypatch.setenv("UV_NO_INDEX", "1")
    return wheels


@pytest.fixture(scope="session")
def index() -> None:
    """Skip, loudly, where no package index answers."""
    try:
        call(["pip", "compile", "-", "--quiet", "--no-header"], doing="A test of the index", stdin="iniconfig>=2", uv=find_uv())
    except (FlowbridgeError, subprocess.SubprocessError) as error:
        pytest.skip(f"NO PACKAGE INDEX ANSWERS HERE, so nothing was installed for real: {error}")
