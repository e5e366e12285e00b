"""Options made of a flow's parameters."""

from typing import Annotated, Any, Optional

import pytest

from flowbridge.cli.parameters import is_flag, is_list, read, split
from flowbridge.errors import ParameterError


@pytest.mark.parametrize(
    ("annotation", "flag", "several"),
    [
        (int, False, False),
        (bool, True, False),
        (bool | None, True, False),
        (Optional[bool], True, False),  # noqa: UP045
        (list[int], False, True),
        (list, False, True),
        (tuple[int, ...], False, True),
        (set[str] | None, False, True),
        (Annotated[list[int], "at most three"], False, True),
        (str, False, False),
        (str | list[str], False, False),
        (dict[str, int], False, False),
        (Any, False, False),
    ],
)
def test_kinds(annotation, flag, several):
    assert is_flag(annotation) is flag
    assert is_list(annotation) is several


@pytest.mark.parametrize(
    ("tokens", "texts"),
    [
        ([], {}),
        (["--n", "1"], {"n": "1"}),
        (["--n", "-1"], {"n": "-1"}),
        (["--learning-rate", "1"], {"learning_rate": "1"}),
        (["--learning_rate=1=2"], {"learning_rate": "1=2"}),
        (["--xs", "1,2", "--xs", "3"], {"xs": '["1", "2", "3"]'}),
        (["--xs", "[1, 2]"], {"xs": "[1, 2]"}),
        (["--fast", "--n", "1"], {"fast": "true", "n": "1"}),
        (["--no-fast"], {"fast": "false"}),
        (["--fast", "no"], {"fast": "no"}),
        (["--where", '{"a": 1}'], {"where": '{"a": 1}'}),
    ],
)
def test_reading(tokens, texts):
    annotations = {"n": int, "learning_rate": float, "xs": list[int], "fast": bool, "where": dict[str, int]}
    assert read(tokens, annotations, ()) == texts


@pytest.mark.parametrize("tokens", [["--m", "1"], ["n"], ["--n"], ["--n", "--m"], ["--n", "1", "--n", "2"], ["--fast", "1", "2"]])
def test_refused(tokens):
    with pytest.raises(ParameterError):
        read(tokens, {"n": int, "fast": bool}, ())


def test_a_flow_without_parameters():
    with pytest.raises(ParameterError, match="takes no parameters"):
        read(["--n", "1"], {}, ())


@pytest.mark.parametrize(
    ("tokens", "own", "others"),
    [
        (["f.py", "--n", "1"], ["f.py"], ["--n", "1"]),
        (["--quiet", "f.py", "--store", "s", "--n=1"], ["--quiet", "f.py", "--store", "s"], ["--n=1"]),
        (["f.py", "--store=s", "--fast", "--n", "-1"], ["f.py", "--store=s"], ["--fast", "--n", "-1"]),
        (["f.py", "extra"], ["f.py"], ["extra"]),
        (["--store"], ["--store"], []),
    ],
)
def test_splitting(tokens, own, others):
    assert split(tokens, {"--quiet"}, {"--store"}) == (own, others)
