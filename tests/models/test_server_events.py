"""Server-sent events, however the network cuts them."""

from __future__ import annotations

import pytest

from portico.errors import NetworkError
from portico.models.server_events import read_events

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


async def test_a_line_that_never_ends_is_given_up():
    with pytest.raises(NetworkError) as caught:
        await collect(*[b"data: " + b"x" * (1 << 20)] * 6)

    assert caught.value.id == "event-too-long"
