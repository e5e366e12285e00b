"""What users may import from `flowbridge`: every name is there, in order, documented, and no other."""

import inspect

import flowbridge
from flowbridge import _PLACES

CONTRACT = {
    "Environment", "Resources", "Run", "checkpoint", "container_step", "context", "each", "first", "flow", "get_run", "grid",
    "log_figure", "log_metric", "log_param", "log_table", "otherwise", "register_serializer", "runs", "step", "when",
}  # fmt: skip
"""The names that users' code is written with; none may go."""


def test_names_are_sorted_and_unique():
    assert list(flowbridge.__all__) == sorted(set(flowbridge.__all__))


def test_no_name_of_the_contract_is_missing():
    assert set(flowbridge.__all__) >= CONTRACT


def test_every_name_is_there_and_knows_where_it_lives():
    for name in flowbridge.__all__:
        assert getattr(flowbridge, name) is not None, name
    assert set(_PLACES) == set(flowbridge.__all__) - {"__version__"}


def test_every_name_is_documented():
    for name in _PLACES:
        assert inspect.getdoc(getattr(flowbridge, name)), name


def test_a_wrong_name_is_an_attribute_error():
    assert not hasattr(flowbridge, "no_such_name")


def test_dir_shows_them():
    assert set(flowbridge.__all__) <= set(dir(flowbridge))
