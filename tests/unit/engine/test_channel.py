"""Messages between a driver and its template arrive whole and in order, over packets and over a stream."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowbridge.engine.channel import Channel


@pytest.fixture(params=[False, True], ids=["packets", "stream"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair(framed=request.param)
    yield ours, theirs
    ours.close()
    theirs.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(messages=st.lists(st.binary(min_size=1, max_size=2000), max_size=8))
def test_messages_arrive_whole(ends: tuple[Channel, Channel], messages: list[bytes]) -> None:
    for message in messages:
        ends[0].send(message)
    assert [ends[1].receive() for _ in messages] == messages


def test_nothing_has_come(ends: tuple[Channel, Channel]) -> None:
    ends[1].socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        ends[1].receive()


def test_the_other_end_goes_away(ends: tuple[Channel, Channel]) -> None:
    ends[0].send(b"last words")
    ends[0].close()
    assert [ends[1].receive(), ends[1].receive()] == [b"last words", b""]
    with pytest.raises(ConnectionError):
        ends[1].send(b"x")


def test_something_long(ends: tuple[Channel, Channel]) -> None:
    content = os.urandom(3_000_000)
    sender = threading.Thread(target=ends[0].send_long, args=(content,))
    sender.start()
    assert ends[1].receive_long() == content
    sender.join()


def test_too_large_for_a_packet_is_said() -> None:
    ours, theirs = Channel.pair()
    with pytest.raises(OSError, match="too long"):
        ours.send(bytes(10_000_000))
    ours.close()
    theirs.close()
