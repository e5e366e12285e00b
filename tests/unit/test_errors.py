"""The wording of errors that several rooms raise."""

from __future__ import annotations

import pytest

from flowbridge.errors import UnsupportedError


@pytest.mark.parametrize(("gaps", "told"), [(["one"], "1 thing stands in the way"), (["one", "two"], "2 things stand in the way")])
def test_gaps_are_counted(gaps: list[str], told: str) -> None:
    assert told in str(UnsupportedError("local", gaps))
