"""Files, modules and flows by the names users type."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from flowbridge.ir.flow import CodeRef
from flowbridge.packaging import locate
from flowbridge.packaging.bundle import code_of
from flowbridge.packaging.locate import FlowNotFoundError, Target, UserCodeError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("train.py", Target("train.py", None, is_file=True)),
        ("flows/train.py:training", Target("flows/train.py", "training", is_file=True)),
        ("package.module:training", Target("package.module", "training", is_file=False)),
        ("package.module", Target("package.module", None, is_file=False)),
        ("train.py:", Target("train.py", None, is_file=True)),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert locate.parse_target(text) == target


def test_the_root_of_a_project(project: Path, tmp_path: Path) -> None:
    assert locate.project_root(project / "lib_pkg" / "deep" / "leaf.py") == project
    (project / "lib_pkg" / "flowbridge.toml").write_text("")
    assert locate.project_root(project / "lib_pkg" / "deep" / "leaf.py") == project / "lib_pkg"
    alone = tmp_path / "alone"
    alone.mkdir()
    assert locate.project_root(alone / "x.py") == alone


def test_a_file_has_the_name_others_import_it_by(project: Path) -> None:
    assert locate.module_name(project / "lib_pkg" / "deep" / "leaf.py") == ("lib_pkg.deep.leaf", project)
    assert locate.module_name(project / "app_main.py") == ("app_main", project)
    assert locate.load_file(project / "lib_pkg" / "tools.py") is sys.modules["lib_pkg.tools"]
    assert locate.load_file(project / "app_main.py") is locate.load_file(project / "app_main.py")


def test_a_file_named_like_a_loaded_module_gets_another_name(project: Path) -> None:
    (project / "json.py").write_text("HERE = 1\n")
    module = locate.load_file(project / "json.py")
    assert module.HERE == 1
    assert module.__name__ == "json_2"
    assert not hasattr(sys.modules["json"], "HERE")


def test_a_missing_file_suggests_the_near_ones(project: Path) -> None:
    with pytest.raises(FlowNotFoundError, match=r"There is no file .*app_man\.py\. Did you mean 'app_main\.py'\?"):
        locate.load_file(project / "app_man.py")
    with pytest.raises(FlowNotFoundError, match="there is no folder"):
        locate.load_file(project / "nowhere" / "x.py")


def test_a_missing_module_is_told_from_a_missing_import(project: Path) -> None:
    with pytest.raises(FlowNotFoundError, match="There is no module 'not_there'"):
        locate.load_module("not_there")
    (project / "needs.py").write_text("import not_there_either\n")
    with pytest.raises(UserCodeError, match="No module named 'not_there_either'"):
        locate.load_module("needs")


def test_an_error_in_the_users_file_shows_the_users_frames_only(project: Path) -> None:
    (project / "breaks_on_import.py").write_text("def f():\n    raise ValueError('no good')\nf()\n")
    with pytest.raises(UserCodeError) as caught:
        locate.load_file(project / "breaks_on_import.py")
    text = str(caught.value)
    assert "breaks_on_import.py" in text
    assert "line 2, in f" in text
    assert "ValueError: no good" in text
    assert "locate.py" not in text
    assert "importlib" not in text
    assert "breaks_on_import" not in sys.modules


def test_a_syntax_error_names_the_line(project: Path) -> None:
    (project / "typo.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(UserCodeError, match=r"typo\.py\", line 2"):
        locate.load_file(project / "typo.py")


FLOWS = """
    from flowbridge.authoring.decorators import flow, step
    {imports}
    @step
    def one(n: int) -> int:
        return n
    @flow
    def training(n: int) -> int:
        return one(n)
    @flow(name="shown_name")
    def serving(n: int) -> int:
        return one(n)
"""


def write_flows(project: Path, name: str, imports: str = "") -> str:
    (project / f"{name}.py").write_text(dedent(FLOWS.format(imports=imports)))
    return str(project / f"{name}.py")


def test_a_flow_is_found_by_file_or_module_and_name(project: Path) -> None:
    path = write_flows(project, "flows_a")
    assert locate.load_flow(f"{path}:training").name == "training"
    assert locate.load_flow("flows_a:training") is locate.load_flow(f"{path}:training")
    assert locate.load_flow(f"{path}:serving") is locate.load_flow(f"{path}:shown_name")


def test_several_flows_are_listed(project: Path) -> None:
    path = write_flows(project, "flows_b")
    with pytest.raises(FlowNotFoundError, match=r"defines 2 flows; say which:\n  .*flows_b.py:serving\n  .*flows_b.py:training"):
        locate.load_flow(path)
    with pytest.raises(FlowNotFoundError, match=r"has no flow 'traning'; its flows: serving, training. Did you mean 'training'"):
        locate.load_flow(f"{path}:traning")


def test_only_the_files_own_flows_count_unless_it_has_none(project: Path) -> None:
    write_flows(project, "flows_c")
    (project / "imports_one.py").write_text("from flows_c import training\n")
    assert locate.load_flow(str(project / "imports_one.py")).name == "training"
    (project / "has_one.py").write_text(
        "from flows_c import training, one\nfrom flowbridge.authoring.decorators import flow\n@flow\ndef own(n: int) -> int:\n    return one(n)\n"
    )
    assert locate.load_flow("has_one").name == "own"
    (project / "has_none.py").write_text("x = 1\n")
    with pytest.raises(FlowNotFoundError, match="has_none defines no flow"):
        locate.load_flow("has_none")


def test_a_steps_own_decorator_is_not_in_the_way_of_its_code(project: Path) -> None:
    path = write_flows(project, "flows_d")
    module = locate.load_file(Path(path))
    assert code_of(module.one) == CodeRef(module="flows_d", qualname="one")
