"""Code bundles: what they hold, that they are the same every time, and that they open elsewhere."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from flowbridge.errors import ArtifactDamagedError, FlowError
from flowbridge.ir.flow import CodeRef
from flowbridge.packaging.bundle import build, code_of
from flowbridge.packaging.loader import MANIFEST, CodeNotFoundError, open_bundle

MODULES = {
    "app_main.py", "late_import.py", "lib_pkg/__init__.py", "lib_pkg/tools.py", "lib_pkg/constants.py", "lib_pkg/deep/__init__.py", "lib_pkg/deep/leaf.py",
}  # fmt: skip

IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from flowbridge.packaging.loader import open_bundle
loader = open_bundle(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]))
function = loader.step(sys.argv[3])
print(function(20), sys.modules[function.__module__].__file__ if function.__module__ in sys.modules else "")
"""


def names(data: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return set(archive.namelist()) - {MANIFEST}


def elsewhere(data: bytes, folder: Path, step: str, **variables: str) -> list[str]:
    """Call a function of a bundle in a process that knows nothing of the project."""
    (folder / "bundle.zip").write_bytes(data)
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(folder / "bundle.zip"), str(folder / "cache"), step]
    source = Path(sys.modules["flowbridge"].__path__[0]).parent
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "PYTHONPATH": str(source), **variables}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_bundle_holds_what_the_function_reaches_and_nothing_else(work: Any) -> None:
    assert names(build({"s": work}).data) == MODULES


def test_a_bundle_has_the_same_bytes_every_time(work: Any, project: Path) -> None:
    first = build({"a": work, "b": work})
    for path in project.rglob("*.py"):
        os.utime(path, (1, 1))
    second = build({"b": work, "a": work})
    assert first.data == second.data
    assert first.digest == "sha256:" + hashlib.sha256(first.data).hexdigest()


def test_a_changed_module_changes_the_digest_and_an_unused_one_does_not(work: Any, project: Path) -> None:
    before = build({"s": work}).digest
    (project / "unused.py").write_text("X = 2\n")
    assert build({"s": work}).digest == before
    (project / "lib_pkg" / "constants.py").write_text("TWO = 3\n")
    assert build({"s": work}).digest != before


def test_a_function_of_a_module_runs_elsewhere_from_the_bundle(work: Any, tmp_path: Path) -> None:
    result, file = elsewhere(build({"s": work}).data, tmp_path, "s")
    assert result == "41"
    assert file.startswith(str(tmp_path / "cache"))


def test_functions_that_cannot_be_imported_travel_by_value(work: Any, tmp_path: Path) -> None:
    offset = 5

    def inner(x: int) -> int:
        return int(work(x)) + offset

    bundle = build({"s": inner, "t": lambda x: x + offset})
    assert bundle.code["s"].by_value
    assert names(bundle.data) == MODULES | {"pickles/s.pkl", "pickles/t.pkl"}
    assert elsewhere(bundle.data, tmp_path, "s")[0] == "46"
    assert elsewhere(bundle.data, tmp_path, "t")[0] == "25"


def test_code_of_tells_what_can_be_imported(work: Any) -> None:
    assert code_of(work) == CodeRef(module="app_main", qualname="work")
    assert code_of(lambda: 1).by_value


def test_what_cannot_be_pickled_is_named_with_its_step() -> None:
    lock = __import__("threading").Lock()

    def uses_lock() -> None:
        lock.acquire()

    with pytest.raises(FlowError, match=r"step 'bad'.*cannot pickle '_thread.lock'"):
        build({"bad": uses_lock})


def test_data_files_are_taken_along_when_asked(work: Any, project: Path) -> None:
    assert names(build({"s": work}, include=["lib_pkg/*.txt"], root=project).data) == MODULES | {"lib_pkg/data.txt"}


def test_opening_twice_unpacks_once(work: Any, tmp_path: Path) -> None:
    data = build({"s": work}).data
    first, second = open_bundle(data, tmp_path), open_bundle(data, tmp_path)
    assert first.folder == second.folder
    assert len(list((tmp_path / "bundles").iterdir())) == 1


def test_a_file_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactDamagedError, match="is not a zip file"):
        open_bundle(b"nonsense", tmp_path)
    assert not list((tmp_path / "bundles").iterdir())


def test_missing_functions_and_modules_are_named(work: Any, tmp_path: Path) -> None:
    loader = open_bundle(build({"s": work}).data, tmp_path)
    with pytest.raises(CodeNotFoundError, match="no function for step 'nope'"):
        loader.step("nope")
    with pytest.raises(CodeNotFoundError, match="has no function 'gone'"):
        loader.function(CodeRef(module="app_main", qualname="gone"))
    with pytest.raises(CodeNotFoundError, match="Module 'gone_module' is not in the code bundle"):
        loader.function(CodeRef(module="gone_module", qualname="f"))
