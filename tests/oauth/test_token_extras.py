"""Fields of token replies beyond RFC 6749; an invalid one never loses the tokens."""

from __future__ import annotations

import base64
import json

import pytest

from portico.oauth.standard import StandardDialect
from tests.oauth.helpers import reply

NOW = 1_000_000


def grant(**extra):
    fields = {"access_token": "at-1", "token_type": "Bearer", **extra}
    return StandardDialect().read_token_reply(reply(json.dumps(fields), sent_at_ms=NOW))


def id_token(claims):
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


@pytest.mark.parametrize("name", ["refresh_expires_in", "refresh_token_expires_in"])
def test_the_refresh_tokens_expiry_is_read(name):
    assert grant(**{name: 1800}).refresh_expires_at == NOW + 1_800_000


@pytest.mark.parametrize("value", [None, 0, -1, True, "1800", "soon", 1e308, [], {}])
def test_an_unusable_refresh_expiry_is_ignored(value):
    assert grant(refresh_expires_in=value).refresh_expires_at is None


def test_the_account_is_the_subject_of_the_id_token():
    assert grant(id_token=id_token({"sub": "user-1"})).subject == "user-1"


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "a.b",
        "a.b.c",
        "e30.!!!.c2ln",
        "é.é.é",
        id_token([]),
        id_token({}),
        id_token({"sub": 5}),
        id_token({"sub": ""}),
        id_token({"sub": "a\nb"}),
        id_token({"sub": "x" * 256}),
        f"e30.{base64.urlsafe_b64encode(b'[' * 100_000).decode()}.c2ln",
    ],
)
def test_an_unreadable_id_token_gives_no_subject_and_does_not_lose_the_tokens(value):
    assert grant(id_token=value).subject is None
