"""A store and settings of its own for every test."""

import pytest


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setenv("FLOWBRIDGE_ACCOUNT_DIR", str(tmp_path / "account"))
    monkeypatch.setenv("FLOWBRIDGE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "store")
