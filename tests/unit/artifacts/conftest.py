"""A store in a folder of its own, and a disk that is soon full."""

import os
import subprocess

import pytest

from flowbridge.artifacts.store import Store


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "store"), cache_dir=tmp_path / "cache")


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=False).returncode:
        pytest.skip("NOT TESTED: a full disk. It needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", place], check=True)
