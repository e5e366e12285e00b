"""No environment variable that flowbridge hands to itself may be taken for a misspelt setting."""

import re

from flowbridge.settings import load_profile
from tests.architecture.sources import files


def test_variables_of_our_own_are_known(monkeypatch, tmp_path):
    names = {name for path in files() for name in re.findall(r"[\"'](FLOWBRIDGE_[A-Z_]+)[\"']", path.read_text(encoding="utf-8"))}
    assert len(names) > 3
    settings = {"FLOWBRIDGE_STORE_OPTIONS": "{}", "FLOWBRIDGE_TRUST": "1", "FLOWBRIDGE_PROFILE": "", "FLOWBRIDGE_KUBEFLOW__HOST": "local"}
    for name in names:
        monkeypatch.setenv(name, settings.get(name, "1"))
    load_profile(directory=tmp_path)
