"""The Python in the pages on flows, maps and conditions is run as it stands."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from flowbridge import Flow

PAGES = Path(__file__).parents[3] / "docs" / "concepts"


@pytest.mark.parametrize("page", ["flows.md", "conditions-and-maps.md"])
def test_python_in_the_page(page, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for block in blocks:
        exec(compile(block, page, "exec"), vars(module))
    flows = [value for value in vars(module).values() if isinstance(value, Flow)]
    assert len(flows) >= 3
    for found in flows:
        assert found.trace().graph.steps
