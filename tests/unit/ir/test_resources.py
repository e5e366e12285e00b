"""Quantities in the forms of Kubernetes, exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbridge.errors import ConfigError
from flowbridge.ir.flow import StepNode
from flowbridge.ir.resources import Resources, format_bytes, parse_bytes, parse_cpu, parse_duration


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4Gi", 4 * 2**30),
        ("1.5G", 1_500_000_000),
        ("512Mi", 2**29),
        (1024, 1024),
        ("1e3", 1000),
        ("0.5Ki", 512),
        ("7", 7),
        (" 2 M ", 2_000_000),
    ],
)
def test_bytes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["4GB", "4 gi", "", "-1", "0", True, "Gi", "4Gi4", "0.1", "nan"])
def test_no_bytes(text):
    with pytest.raises(ValueError, match="write it like"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "cores"), [("500m", 0.5), (2, 2.0), ("0.25", 0.25), (0.1, 0.1), ("1", 1.0)])
def test_cores(text, cores):
    assert parse_cpu(text) == cores


@pytest.mark.parametrize("text", ["0", "-1", "m", "2 cores", True, "inf", "nan", ""])
def test_no_cores(text):
    with pytest.raises(ValueError, match="write it like"):
        parse_cpu(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("2h", 7200), ("1h30m", 5400), ("7d", 604800), (5, 5), ("200ms", 0.2), ("1w", 604800)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["soon", "5", "", "1h 30m", "-3s", 0, True, "3 s3"])
def test_no_durations(text):
    with pytest.raises(ValueError, match="write it like"):
        parse_duration(text)


@given(st.integers(1, 2**60))
def test_sizes_for_people_are_close(size):
    assert abs(parse_bytes(format_bytes(size).removesuffix("B")) - size) <= size * 0.06


def test_resources_take_both_forms_and_keep_numbers():
    made = Resources(cpu="500m", memory="4Gi", custom={"b": 1, "a": 2})
    assert (made.cpu, made.memory, made.custom) == (0.5, 4 * 2**30, (("a", 2.0), ("b", 1.0)))
    assert Resources.model_validate_json(made.model_dump_json()) == made
    node = StepNode(id="a", name="a", resources=made)
    assert StepNode.model_validate_json(node.model_dump_json(exclude_defaults=True)) == node


@pytest.mark.parametrize(
    ("amounts", "told"),
    [
        ({"memory": "4GB"}, "'4GB' is not an amount"),
        ({"memori": 1}, "Did you mean 'memory'"),
        ({"gpu": 1.5}, "0.5 for a share"),
        ({"gpu": 0}, "GPUs"),
    ],
)
def test_mistakes_are_one_sentence(amounts, told):
    with pytest.raises(ConfigError, match=told) as caught:
        Resources(**amounts)
    assert "\n" not in str(caught.value)
