"""Files and functions stay small enough to be read in one go."""

import ast

import pytest

from tests.architecture.sources import files, name_of, tree

FILE, FUNCTION = 400, 40


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_files(path):
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= FILE, f"{path.name} has {count} lines"


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_functions(path):
    long = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if lines > FUNCTION:
                long[node.name] = lines
    assert long == {}


@pytest.mark.parametrize("path", [p for p in files() if p.name == "__init__.py" and p.parent.name != "flowbridge"], ids=name_of)
def test_packages_only_export(path):
    kinds = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign, ast.AnnAssign, ast.If)
    if name_of(path) == "flowbridge.testing.cases":
        kinds = (*kinds, ast.FunctionDef)  # puts the lists of its modules together
    odd = [type(n).__name__ for n in tree(path).body if not isinstance(n, kinds)]
    assert odd == []


def test_no_drawers_for_odds_and_ends():
    odd = {"utils", "util", "helpers", "common", "core", "manager", "misc"}
    assert [name_of(p) for p in files() if set(p.with_suffix("").parts) & odd] == []


def test_no_blind_catches():
    """`except Exception: pass` hides what the user needs to know."""
    blind = []
    for path in files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and all(isinstance(s, ast.Pass) for s in node.body):
                caught = ast.unparse(node.type) if node.type is not None else ""
                if caught in {"", "Exception", "BaseException"}:
                    blind.append(f"{name_of(path)}:{node.lineno}")
    assert blind == []
