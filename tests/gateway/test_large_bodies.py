"""A body that is slow to parse: read through in slices, so that nobody else waits, and nothing is built of it."""

from __future__ import annotations

import asyncio
import json
import random
import time
import tracemalloc

import pytest

from portico.errors import UsageError
from portico.gateway import request_body as body_module
from portico.net.client import HttpClient
from tests.gateway.fronts import configure, gateway
from tests.gateway.providers import WHOLE, answered, provider

pytestmark = pytest.mark.requirement("E125")
SIZE = 4 << 20
LONGEST_S = 0.1


def full_of(piece, *, start=b'{"model":"acme/model","a":[', end=b"0]}"):
    return start + piece * ((SIZE - len(start) - len(end)) // len(piece)) + end


TEXT = {"start": b'{"model":"acme/model","a":"', "end": b'"}'}
COSTLY = {
    "empty objects": full_of(b"{},"),
    "empty arrays": full_of(b"[],"),
    "short strings": full_of(b'"",'),
    "members": full_of(b'"a":1,', start=b'{"model":"acme/model",', end=b'"b":1}'),
    "inner members": full_of(b'"a":1,', start=b'{"model":"acme/model","a":{', end=b'"b":1}}'),
    "numbers": full_of(b"1,"),
    "one number": full_of(b"1"),
    "white space": full_of(b" "),
    "one text": full_of(b"x", **TEXT),
    "escapes": full_of(b"\\n", **TEXT),
    "three bytes a character": full_of("€".encode(), **TEXT),
    "depth": full_of(b"["),
    "model names": full_of(b'"model":1,', start=b"{", end=b'"b":1}'),
    "a model's name": full_of(b"x", start=b'{"model":"', end=b'"}'),
    "no end": full_of(b"x", start=b'{"model":"', end=b""),
}


@pytest.fixture
def few_parts(monkeypatch):
    """A bound that is reached sooner, so that the tests are fast."""
    monkeypatch.setattr(body_module, "MOST_PARTS", 50_000)


async def longest_gap(working):
    """How long, in seconds, everybody else waited at most while `working` was done."""
    task, longest = asyncio.ensure_future(working), 0.0
    while not task.done():
        began = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - began)
    task.exception()
    return longest


@pytest.mark.parametrize("name", COSTLY)
async def test_no_body_keeps_others_waiting_while_it_is_read(name, few_parts):
    gap = LONGEST_S
    for _ in range(3):  # other processes of this machine take time too
        if gap >= LONGEST_S:
            gap = await longest_gap(body_module.read_in_turn(COSTLY[name], asyncio.Lock()))
    assert gap < LONGEST_S


MEDIUM = {
    "white space before the model": b"{" + b" " * 250_000 + b'"messages":[]}',
    "white space before the object": b" " * 250_000 + b'{"messages":[]}',
    "numbers of 4,299 digits": b'{"model":"acme/model","a":[' + b",".join([b"1" * 4299] * 58) + b"]}",
}


@pytest.mark.parametrize("name", MEDIUM)
def test_a_body_that_is_read_in_one_go_is_read_in_a_few_milliseconds(name):
    def seconds():
        began = time.thread_time()
        body_module.read_body(MEDIUM[name])
        return time.thread_time() - began

    assert min(seconds() for _ in range(5)) < 0.003


async def test_bodies_of_one_key_are_read_one_after_the_other():
    turn, large = asyncio.Lock(), COSTLY["one text"]
    reading = [asyncio.ensure_future(body_module.read_in_turn(large, turn)) for _ in range(3)]
    await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
    assert [each.done() for each in reading] == [True, False, False]
    assert {(await each).model for each in reading} == {"acme/model"}


def test_reading_a_body_takes_no_memory_beside_it():
    tracemalloc.start()
    try:
        for name in ("one text", "three bytes a character", "numbers"):
            tracemalloc.reset_peak()
            body_module.read_body(COSTLY[name])
            assert tracemalloc.get_traced_memory()[1] < SIZE / 8
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("empty objects", "too-many-values"),
        ("members", "too-many-values"),
        ("depth", "bad-json"),
        ("a model's name", "bad-model-name"),
        ("no end", "bad-json"),
    ],
)
def test_what_no_client_means_is_refused(few_parts, name, id):
    with pytest.raises(UsageError) as caught:
        body_module.read_body(COSTLY[name])
    assert caught.value.id == id
    assert len(str(caught.value)) < 200


async def test_a_costly_body_is_refused_over_http_and_another_client_is_served_meanwhile(paths, few_parts):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            await here.json()
            costly = asyncio.create_task(here.json(body=COSTLY["empty objects"]))
            waits = []
            while not costly.done():
                began = time.perf_counter()
                assert (await here.json())[0] == 200
                waits.append(time.perf_counter() - began)
            status, reply, _ = await costly
    assert (status, reply["error"]["code"]) == (413, "too-many-values")
    assert max(waits) < 0.5
    assert len(waits) > 3


@pytest.mark.parametrize("with_model", [True, False])
async def test_a_large_body_passes_byte_for_byte_but_for_the_models_name(paths, with_model):
    data = COSTLY["escapes"] if with_model else COSTLY["escapes"].replace(b'"model":"acme/model",', b"")
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            for _ in range(2):
                assert (await here.json(body=data))[:2] == (200, WHOLE)
    expected = COSTLY["escapes"].replace(b"acme/model", b"model")
    assert [request.body == expected for request in acme.requests] == [True, True]


async def test_a_large_body_is_sent_in_slices():
    body = body_module.read_body(COSTLY["one text"]).naming("model")
    assert [len(piece) for piece in body] == [9, 7, SIZE - 9 - len(b'"acme/model"')]
    async with provider(answered(WHOLE)) as acme, HttpClient() as http:
        answer = await http.send(f"{acme.base}/x", body=body, headers={})
        assert json.loads((await answer.read(1 << 20))[0]) == WHOLE
        assert answer.has_body
        answer.close()
    assert acme.requests[0].body == b"".join(body)


def random_value(rand, depth):
    kind = rand.choice("nsbtlao" if depth else "nsbtl")
    if kind == "o":
        return {random_text(rand): random_value(rand, depth - 1) for _ in range(rand.randrange(4))}
    if kind == "a":
        return [random_value(rand, depth - 1) for _ in range(rand.randrange(4))]
    return {"n": rand.uniform(-1e9, 1e9), "s": random_text(rand), "b": True, "t": None, "l": rand.randrange(-9, 9)}[kind]


def random_text(rand):
    return "".join(rand.choice('ab"\\{}[]:,€😀\n\t /model') for _ in range(rand.randrange(8)))


@pytest.mark.parametrize("ascii", [True, False])
def test_both_ways_of_reading_a_body_find_the_same_model(ascii):
    rand = random.Random(5)
    for _ in range(500):
        fields = {random_text(rand): random_value(rand, 3) for _ in range(rand.randrange(4))}
        if rand.random() < 0.7:
            fields["model"] = random_text(rand)
        text = json.dumps(fields, ensure_ascii=ascii, indent=rand.choice([None, 1]))
        walked, scanned = body_module._walk(text), through(body_module._Scan(text.encode()).body())
        assert (scanned.model, scanned.start, scanned.end) == (walked.model, walked.start, walked.end)
        assert json.loads(scanned.naming("x")) == {**fields, "model": "x"}
        for cut in {rand.randrange(len(text)) for _ in range(3)}:
            with pytest.raises((ValueError, IndexError)):
                through(body_module._Scan(text[:cut].encode()).body())


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[]",
            "5",
            "{",
            '{"a"',
            '{"a":',
            '{"a":1',
            '{"a":1,',
            '{"a":1,}',
            "{,}",
            '{"a" 1}',
            "{1:2}",
            '{"a":}',
            '{"a":1 "b":2}',
        ),
        *(
            '{"a":[}',
            '{"a":[1}',
            '{"a":{]}',
            '{"a":"',
            '{"a":"\\"}',
            '{"a":1} x',
            '{"a":nul}',
            '{"a":01}',
            "{'a':1}",
            '{"a":[\'"\']}',
        ),
        *('{"a":[/*"*/1]}', '{"a":1}}', '\ufeff{"a":1}'),
    ],
)
def test_what_is_no_json_object_is_refused_however_large(text):
    with pytest.raises((ValueError, IndexError)):
        through(body_module._Scan(text.encode()).body())


def through(steps):
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
