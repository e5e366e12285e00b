from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flowbridge.environments import EnvironmentLock, lock
from flowbridge.errors import ConfigError, MissingExtraError
from flowbridge.ir.environment import EnvironmentWish

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def _no_index(alone: Path) -> None:
    """Every test here resolves from a folder of wheels."""


def test_a_wish_is_locked_to_exact_versions_with_hashes(tmp_path: Path) -> None:
    made = lock(EnvironmentWish(packages=("fb_tiny==1.*",)), cache_dir=tmp_path)
    assert made.packages == ("fb-tiny==1.4",)
    assert made.python == OWN
    assert "--hash=sha256:" in made.text


def test_requirements_and_packages_are_locked_together(tmp_path: Path) -> None:
    made = lock(EnvironmentWish(packages=("fb_tiny",), requirements=("fb_user==1.0",)), cache_dir=tmp_path)
    assert made.packages == ("fb-tiny==1.4", "fb-user==1.0")


def test_a_text_is_the_lock_again(tmp_path: Path) -> None:
    made = lock(EnvironmentWish(packages=("fb_tiny",), python="3.12"), cache_dir=tmp_path)
    assert EnvironmentLock.parse(made.text) == made
    assert made.python == "3.12"


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    one, same, other = (
        lock(EnvironmentWish(packages=(p,)), cache_dir=tmp_path / str(i)) for i, p in enumerate(["fb_tiny==1.4", "fb_tiny<2", "fb_tiny"])
    )
    assert one.digest == same.digest != other.digest


def test_something_else_is_no_lock() -> None:
    with pytest.raises(ConfigError, match="no environment lock"):
        EnvironmentLock.parse("numpy==2.0\n")


def test_what_was_locked_stays_locked_though_new_versions_come_out(tmp_path: Path, wheels: Path) -> None:
    wish = EnvironmentWish(packages=("fb_tiny",))
    first = lock(wish, cache_dir=tmp_path)
    for file in wheels.glob("fb_tiny-2*"):
        file.unlink()
    assert lock(wish, cache_dir=tmp_path) == first
    assert lock(wish, cache_dir=tmp_path, refresh=True).packages == ("fb-tiny==1.4",)


def test_no_such_version_is_told_with_the_words_of_uv(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fb_tiny==9 on Python .* cannot be locked(.|\n)*no version of fb-tiny==9"):
        lock(EnvironmentWish(packages=("fb_tiny==9",)), cache_dir=tmp_path)


def test_contradicting_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be locked"):
        lock(EnvironmentWish(packages=("fb_tiny==2.0", "fb_user")), cache_dir=tmp_path)


def test_what_the_code_imports_besides_gives_way_to_the_wish(tmp_path: Path) -> None:
    by_name = lock(EnvironmentWish(packages=("fb-tiny==1.0",)), also=["fb_tiny==2.0"], cache_dir=tmp_path)
    assert by_name.packages == ("fb-tiny==1.0",)
    by_version = lock(EnvironmentWish(packages=("fb_user",)), also=["fb_tiny==2.0"], cache_dir=tmp_path)
    assert by_version.packages == ("fb-tiny==1.4", "fb-user==1.0")


def test_what_the_code_imports_besides_is_pinned_where_it_can_be(tmp_path: Path) -> None:
    made = lock(EnvironmentWish(packages=("fb_user",)), also=["fb_tiny==1.0"], cache_dir=tmp_path)
    assert made.packages == ("fb-tiny==1.0", "fb-user==1.0")


def test_packages_of_this_machine_only_are_known_as_such(tmp_path: Path, wheels: Path) -> None:
    here = f"fb_tiny @ {(wheels / 'fb_tiny-1.0-py3-none-any.whl').as_uri()}"
    made = lock(EnvironmentWish(packages=(here, "fb_user")), cache_dir=tmp_path)
    assert len(made.local) == 1
    assert made.local[0].startswith("fb-tiny @ file:")


def test_without_uv_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowbridge.environments.uv._from_package", lambda: None)
    monkeypatch.setattr("flowbridge.environments.uv._beside", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"flowbridge\[environments\]"):
        lock(EnvironmentWish(packages=("fb_tiny",)), cache_dir=tmp_path)
