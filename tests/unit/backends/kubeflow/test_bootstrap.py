"""The command of a pod, really run in a Python that lacks flowbridge: pip, wheels and virtual environments are the real ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from flowbridge.backends.kubeflow.bootstrap import MARKER, SCRIPT, drivers, install
from flowbridge.backends.kubeflow.gaps import find_notes
from flowbridge.backends.kubeflow.options import options_of
from flowbridge.backends.kubeflow.wheel import build_wheel
from tests.unit.backends.kubeflow.flows import chain, profile

HIDDEN = ("flowbridge", "__editable__", "_editable_impl")
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def image(folder: Path, *without: str) -> Path:
    """Make a Python as in an image: managed by its distribution (PEP 668), with what is installed here but flowbridge and the packages named.

    Returns:
        Its interpreter.
    """
    library = folder / "lib" / VERSION
    site = library / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    python = folder / "bin" / "python3"
    shutil.copy2(Path(getattr(sys, "_base_executable", sys.executable)).resolve(), python)
    stdlib = Path(sysconfig.get_path("stdlib"))
    for found in (*stdlib.iterdir(), *stdlib.parent.glob("libpython*")):
        target = folder / "lib" / found.relative_to(stdlib.parent)
        if found.name not in {"site-packages", "EXTERNALLY-MANAGED"}:
            target.symlink_to(found)
    (library / "EXTERNALLY-MANAGED").write_text("[externally-managed]\nError=Managed by the distribution.\n")
    for found in Path(sysconfig.get_path("purelib")).iterdir():
        if not found.name.startswith((*HIDDEN, *without)) and found.suffix != ".pth":
            (site / found.name).symlink_to(found)
    return python


def wheel_of(package: str, folder: Path) -> None:
    """Write an installed package of plain Python back into a wheel."""
    about = distribution(package)
    files = {str(f): Path(str(f.locate())).read_bytes() for f in about.files or () if f.suffix != ".pyc" and not str(f).startswith("..")}
    info = next(name for name in files if name.endswith("/METADATA")).removesuffix("/METADATA")
    files = {name: data for name, data in files.items() if name.rpartition("/")[2] not in {"RECORD", "INSTALLER", "REQUESTED"}}
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")).encode()
    with zipfile.ZipFile(folder / f"{package}-{about.version}-py3-none-any.whl", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a pod without a home and without an index: what pip finds is in one folder."""
    temporary, index = folder / "tmp", folder / "index"
    temporary.mkdir()
    index.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "TMPDIR": str(temporary),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_USER": "1",
    }


def boot(python: Path, env: dict[str, str], store: Path) -> subprocess.CompletedProcess[str]:
    """Start the pod's command, for a flowbridge whose wheel is in the store."""
    name, data = build_wheel()
    store.mkdir()
    (store / "wheel").write_bytes(data)
    wanted = json.dumps(["fsspec", f"store:wheel#{name}#"])
    arguments = [MARKER, "--install", wanted, "--store", str(store), "--options", "{}", "--help"]
    return subprocess.run([python, "-c", SCRIPT, *arguments], env=env, capture_output=True, text=True, check=False)


def test_wheel_is_installed_without_a_home_into_a_managed_python(tmp_path: Path) -> None:
    """What the image lacks is fetched, what it has is used as it is, and nothing of it is changed; the same process imports fsspec."""
    python = image(tmp_path / "image", "fsspec")
    env = environment(tmp_path)
    wheel_of("fsspec", tmp_path / "index")
    refused = subprocess.run([python, "-m", "pip", "install", "fsspec"], env=env, capture_output=True, text=True, check=False)
    assert "externally-managed-environment" in refused.stderr  # the image is as hard to install into as it should be
    before = sorted((tmp_path / "image").rglob("*-packages/*"))
    done = boot(python, env, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert "usage: flowbridge pod" in done.stdout
    assert sorted((tmp_path / "image").rglob("*-packages/*")) == before


def test_pip_of_a_virtual_environment_in_the_image_is_not_needed(tmp_path: Path) -> None:
    """An image whose Python is a virtual environment without pip keeps its packages, and pip comes from ensurepip."""
    pytest.importorskip("ensurepip")
    outer = tmp_path / "venv"
    python = image(tmp_path / "image", "pip", "fsspec")
    subprocess.run([python, "-m", "venv", "--without-pip", outer], check=True, capture_output=True)
    site = outer / "lib" / VERSION / "site-packages"
    for found in (tmp_path / "image" / "lib" / VERSION / "site-packages").iterdir():
        found.rename(site / found.name)
    env = environment(tmp_path)
    wheel_of("fsspec", tmp_path / "index")
    done = boot(outer / "bin" / "python", env, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert "usage: flowbridge pod" in done.stdout


def test_image_without_pip_and_ensurepip_is_told(tmp_path: Path) -> None:
    python = image(tmp_path / "image", "pip")
    (tmp_path / "image" / "lib" / VERSION / "ensurepip").unlink()
    done = boot(python, environment(tmp_path), tmp_path / "store")
    assert done.returncode == 1
    assert "the image has neither flowbridge nor pip nor ensurepip" in done.stderr


def test_extras_of_the_profile_join_that_of_the_store() -> None:
    chosen = profile(install="flowbridge==0.1.0", extras=["arrow"])
    assert install(chosen, options_of(chosen), None) == ["flowbridge[s3,arrow]==0.1.0"]
    assert drivers(chosen, options_of(chosen)) == ["s3fs"]


@pytest.mark.parametrize(("store", "told"), [("abfs://data/x", True), ("hdfs://data/x", True), ("s3://data/x", False), ("gs://d", False)])
def test_store_that_only_the_image_can_open_is_told(store: str, told: bool) -> None:
    notes = find_notes(chain(2), profile(store))
    assert any("fsspec's driver for" in note for note in notes) == told
