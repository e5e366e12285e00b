"""A floor imports only floors below it: what runs, by import-linter; what only type checkers see, here."""

import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT, files, imports, name_of, tree

FLOORS = [
    {"errors"},
    {"settings"},
    {"ir"},
    {"artifacts", "authoring"},
    {"packaging", "records", "environments"},
    {"worker"},
    {"engine"},
    {"backends"},
    {"client"},
    {"testing"},
    {"cli"},
    {"__main__"},
]
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
UPWARD = {
    ("flowbridge.authoring.decorators", "flowbridge.client.run"),
    ("flowbridge.engine.executors.process", "flowbridge.backends.base"),
    ("flowbridge.engine.loop", "flowbridge.backends.base"),
}
"""A flow's `run` says that it returns a `Run`, which is handed down to it; the engine gets a prepared run, as backends do."""


def test_contracts_hold():
    pytest.importorskip("importlinter")
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_types_come_from_floors_below(path):
    module = name_of(path)
    room = module.split(".")[1] if "." in module else None
    if room is None:
        return
    wrong = []
    for imported in imports(tree(path), typing_only=True):
        if not imported.startswith("flowbridge."):
            continue
        other = imported.split(".")[1]
        place = imported.rpartition(".")[0]
        if other in HEIGHT and other != room and HEIGHT[other] >= HEIGHT[room] and (module, place) not in UPWARD:
            wrong.append(imported)
    assert wrong == []


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_rooms_import_from_rooms_not_from_the_root(path):
    """What only the root package offers would load it anew for everybody, and hide who needs whom."""
    if "testing" in path.parts or path.name == "__init__.py":
        return
    found = [i for i in imports(tree(path), typing_only=False) if i.startswith("flowbridge.") and i.split(".")[1] not in HEIGHT]
    assert found == []


def test_every_room_has_a_floor():
    rooms = {name_of(p).split(".")[1] for p in files() if "." in name_of(p)}
    assert rooms <= set(HEIGHT)
