"""What the docs name is there: dotted names, files they link to, commands and options."""

import importlib
import re
from pathlib import Path

import pytest

from flowbridge.backends.registry import backend_names, get_backend
from flowbridge.cli.main import COMMANDS
from flowbridge.errors import MissingExtraError
from flowbridge.ir.features import Feature
from flowbridge.settings import MachineSettings, Profile
from tests.architecture.sources import ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
NAME = re.compile(r"`(flowbridge(?:\.\w+)+)`")
ROOMS = "errors|settings|ir|artifacts|authoring|packaging|records|environments|worker|engine|backends|client|testing|cli"
SHORT = re.compile(rf"`((?:{ROOMS})(?:\.\w+)+)`")


def exists(name: str) -> bool:
    """Tell whether a dotted name is a module, or something inside one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            fields = getattr(found, "model_fields", None) or getattr(found, "__dataclass_fields__", {})
            if not hasattr(found, part):
                return part in fields or part in getattr(found, "__annotations__", {})
            found = getattr(found, part)
        return True
    return False


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_names_exist(page):
    text = page.read_text(encoding="utf-8")
    named = {*NAME.findall(text), *(f"flowbridge.{n}" for n in SHORT.findall(text) if not n.endswith((".py", ".md", ".json")))}
    named = {n for n in named if not n.endswith((".toml", ".py"))}
    assert sorted(n for n in named if not exists(n)) == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    broken = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert broken == []


def test_the_finder_of_names_finds_lies():
    assert exists("flowbridge.ir.flow.FlowGraph.steps")
    assert not exists("flowbridge.ir.flow.FlowGraph.no_such_thing")
    assert not exists("flowbridge.no_such_room.thing")


def test_every_command_is_in_the_reference():
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert [c for c in COMMANDS if f"| `flowbridge {c}" not in page] == []


def test_every_setting_is_in_the_reference():
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    names = [n for n in Profile.model_fields if n not in {"name", "machine"}]
    names += [f"machine.{n}" for n in MachineSettings.model_fields]
    assert [n for n in names if f"`{n}`" not in page] == []


@pytest.mark.parametrize("name", backend_names())
def test_support_tables_have_a_line_for_every_feature(name):
    try:
        table = get_backend(name).support
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert set(table) == set(Feature)


def test_the_support_page_is_the_tables():
    generate = ROOT / "docs" / "generate_support.py"
    namespace = {"__name__": "generate_support", "__file__": str(generate)}
    exec(compile(generate.read_text(), str(generate), "exec"), namespace)
    try:
        wanted = namespace["pages"]()
    except MissingExtraError as error:
        pytest.skip(str(error))
    stale = [page_name(path) for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    assert stale == [], "run: python docs/generate_support.py"
