"""Records carry their own checksum: what was written comes back, and one changed byte is noticed and named."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbridge.artifacts.reference import Reference
from flowbridge.errors import ArtifactDamagedError
from flowbridge.records.envelope import seal, unseal
from flowbridge.records.models import Frame, Reason, TaskRecord, Usage

text = st.text(max_size=20)
numbers = st.floats(allow_nan=False)
references = st.builds(
    Reference, digest=text, size=st.integers(0, 2**60), serializer=text, inline=st.none() | text, length=st.none() | st.integers(0)
)
reasons = st.builds(
    Reason,
    kind=st.sampled_from(["error", "timeout"]),
    message=text,
    frames=st.lists(st.builds(Frame, file=text, line=st.integers(0), function=text)).map(tuple),
)
records = st.builds(
    TaskRecord,
    step=text,
    index=st.lists(st.integers(0, 10**9), max_size=3).map(tuple),
    attempt=st.integers(0, 99),
    state=st.sampled_from(["done", "failed", "skipped"]),
    final=st.booleans(),
    outputs=st.lists(st.tuples(text, references), max_size=3).map(tuple),
    count=st.none() | st.integers(0, 10**9),
    reason=st.none() | reasons,
    finished=st.floats(0, 2e11),
    usage=st.builds(Usage, peak_memory=st.none() | st.integers(0, 2**63), cpu_time=st.none() | numbers),
    metrics=st.dictionaries(text, numbers, max_size=3),
    series=st.dictionaries(text, st.lists(st.tuples(st.none() | numbers, numbers), max_size=3).map(tuple), max_size=2),
    params=st.dictionaries(text, st.none() | st.booleans() | st.integers() | text, max_size=3),
)
SAMPLE = TaskRecord(
    step="train",
    index=(3,),
    state="done",
    finished=12.5,
    metrics={"auc": 0.5},
    outputs=(("result", Reference(digest="sha256:ab", size=3, serializer="json")),),
)


@given(records)
def test_what_is_written_comes_back(record: TaskRecord) -> None:
    assert unseal(seal(record), TaskRecord, "x") == record


def test_a_record_is_one_json_object_that_people_can_read() -> None:
    text_ = json.loads(seal(SAMPLE))
    assert set(text_) == {"digest", "record"}
    assert text_["record"]["step"] == "train"
    assert "attempt" not in text_["record"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_come_back(value: float) -> None:
    record = TaskRecord(step="a", state="done", finished=1.0, metrics={"m": value}, series={"m": ((None, value), (value, 1.0))})
    back = unseal(seal(record), TaskRecord, "x")
    assert str(back.metrics["m"]) == str(value)
    assert str(back.series["m"]) == str(((None, value), (value, 1.0)))


@pytest.mark.parametrize("position", range(len(seal(SAMPLE))))
def test_one_flipped_bit_anywhere_is_noticed(position: int) -> None:
    data = bytearray(seal(SAMPLE))
    data[position] ^= 1
    with pytest.raises(ArtifactDamagedError, match="record of a task tasks/x is damaged"):
        unseal(bytes(data), TaskRecord, "tasks/x")


@given(st.binary(max_size=300) | st.integers(0, len(seal(SAMPLE)) - 1).map(lambda n: seal(SAMPLE)[:n]))
def test_anything_else_is_damage_too(data: bytes) -> None:
    with pytest.raises(ArtifactDamagedError, match="is damaged"):
        unseal(data, TaskRecord, "x")


def test_a_record_of_a_newer_version_is_told_apart_from_damage() -> None:
    from flowbridge.records.envelope import seal_body

    data = seal_body(b'{"step":"a","state":"done","finished":1.0,"from_the_future":1}')
    with pytest.raises(ArtifactDamagedError, match=r"from_the_future.*upgrade flowbridge"):
        unseal(data, TaskRecord, "x")
