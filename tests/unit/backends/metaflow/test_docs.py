"""The page about Metaflow says what the support table says, and names every setting."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from flowbridge import Flow
from flowbridge.backends.metaflow.compile import compile_flow
from flowbridge.backends.metaflow.options import MetaflowOptions
from flowbridge.backends.metaflow.support import TABLE
from tests.unit.backends import pages
from tests.unit.backends.metaflow.make import profile

PAGE = pages.DOCS / "backends" / "metaflow.md"


def test_page_has_the_support_table() -> None:
    """UPDATE_GOLDEN=1 writes it."""
    pages.has_the_support_table(PAGE, TABLE)


def test_page_names_every_setting() -> None:
    pages.names_every_setting(PAGE, MetaflowOptions)


HOW_TO = PAGE.parents[1] / "how-to" / "from-metaflow.md"
MOVIES = (
    "movie_title,genres,gross\nAlien,Sci-Fi|Horror,80\nBrazil,Sci-Fi|Drama,10\nSolaris,Sci-Fi,20\nHeat,Crime|Drama,67\nFargo,Crime,60\n"
)


def test_metaflows_tutorials_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every flow of the page runs, and becomes a FlowSpec."""
    module = types.ModuleType("tutorials")
    monkeypatch.setitem(sys.modules, "tutorials", module)
    for block in re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), flags=re.DOTALL):
        exec(compile(block, str(HOW_TO), "exec"), module.__dict__)
    file = tmp_path / "movies.csv"
    file.write_text(MOVIES)
    given: dict[str, tuple[Any, ...]] = {"hello_world": ()}
    flows = {name: value for name, value in vars(module).items() if isinstance(value, Flow)}
    assert len(flows) == 7
    results = {}
    for name, flow in flows.items():
        results[name] = flow.options(backend="inline", store=str(tmp_path / "store")).run(*given.get(name, (file,))).result()
        text = compile_flow(flow.trace().graph, profile()).text
        compile(text, name, "exec")
    assert results["hello_world"] == "Hi!"
    assert set(results["playlist"]) == {"Alien", "Brazil", "Solaris"}
    assert results["movie_stats"]["crime"] == [60, 60, 60]
    assert results["playlist_redux"] == ["Alien", "Solaris"]
    assert results["every_morning"] == results["statistics_redux"] == 8
    assert results["report"] == "5 films, each looked at; 4 genres"
