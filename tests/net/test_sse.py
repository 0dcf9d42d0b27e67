"""Server-sent events, however the network cuts them."""

from __future__ import annotations

import asyncio

import pytest

from portico.errors import NetworkError
from portico.net.sse import EventParser, read_events

STREAM = b': hello\r\nevent: a\r\ndata: {"one":\r\ndata: 1}\r\n\r\ndata:two \xe2\x82\xac\n\ndata: three\r\rdata: cut off'


async def chunks(*pieces):
    for piece in pieces:
        yield piece


async def collect(*pieces):
    return [data async for data in read_events(chunks(*pieces))]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
async def test_events_are_the_same_wherever_the_stream_is_cut(size):
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]

    assert await collect(*pieces) == ['{"one":\n1}', "two €", "three"]


@pytest.mark.requirement("E85")
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_events_are_the_same_for_every_two_cuts_and_every_line_end(end):
    stream = STREAM.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", end) + end + end

    for first in range(len(stream) + 1):
        for second in range(first, min(first + 4, len(stream) + 1)):
            pieces = stream[:first], stream[first:second], stream[second:]
            assert await collect(*pieces) == ['{"one":\n1}', "two €", "three", "cut off"], pieces


@pytest.mark.requirement("E85")
@pytest.mark.parametrize("end", ["\r\n\r\n", "\r\r"])
async def test_an_event_is_there_as_soon_as_its_empty_line_is(end):
    """A stream whose last byte is a CR, and one that pauses within a CRLF."""
    more = asyncio.Event()

    async def stream():
        yield b"data: one" + end.encode().rstrip(b"\n")
        await more.wait()
        yield b"\ndata: two\n\n"

    events = read_events(stream())
    assert await asyncio.wait_for(anext(events), 1) == "one"
    more.set()
    assert [event async for event in events] == ["two"]


async def test_a_line_that_never_ends_is_given_up():
    with pytest.raises(NetworkError) as raised:
        await collect(*[b"data: " + b"x" * (1 << 20)] * 6)

    assert raised.value.id == "event-too-long"


@pytest.mark.parametrize("line", [b"data: " + b"x" * 1000 + b"\n", b"data:\n", b"data: x\r\nid: 1\r\n"])
async def test_an_event_that_never_ends_is_given_up(line):
    with pytest.raises(NetworkError) as raised:
        await collect(*[line * (1 + (1 << 20) // len(line))] * 12)

    assert raised.value.id == "event-too-long"


async def test_many_events_are_not_counted_as_one():
    assert len(await collect(*[b"data: " + b"x" * (1 << 20) + b"\n\n"] * 6)) == 6


@pytest.mark.parametrize("at", range(8))
def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it(at):
    stream, events = b"\xef\xbb\xbfdata: one\n\ndata: \xef\xbb\xbf\n\n", EventParser()

    assert events.feed(stream[:at]) + events.feed(stream[at:]) == [b"one", b"\xef\xbb\xbf"]


def test_a_line_that_is_only_the_name_of_a_field_has_an_empty_value():
    assert EventParser().feed(b"data\n\nid\n\ndata\ndata: x\n\ndatabase: y\n\n: data\n\n") == [b"", b"\nx"]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_an_event_beyond_the_limit_is_dropped_and_the_next_one_is_read(size):
    stream, events = b"data: one\n\ndata: " + b"x" * 40 + b"\n\ndata: two\n\ndata: " + b"y" * 40, EventParser(limit=20)

    events_read = [data for at in range(0, len(stream), size) for data in events.feed(stream[at : at + size])]

    assert (events_read, events.overlong, events.is_within_event, events.rest) == ([b"one", b"two"], True, True, None)
