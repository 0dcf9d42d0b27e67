"""Every input is accepted as the response, or refused for a known reason."""

from __future__ import annotations

import json
import string
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from portico.errors import PorticoError
from portico.oauth.authorization_response import (
    CallbackRefused,
    ExpectedResponse,
    UnrelatedResponse,
    read_parameters,
    read_pasted,
)
from portico.oauth.standard import StandardDialect
from portico.oauth.token_response import check_fit
from portico.secret import Secret
from portico.urls import why_not_a_safe_url
from tests.oauth.helpers import reply

if TYPE_CHECKING:
    from collections.abc import Callable

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import given  # noqa: E402 - behind the skip
from hypothesis import strategies as st  # noqa: E402

STATE = "s" * 43
EXPECTED = ExpectedResponse(Secret(STATE), "https://as.test", iss_required=True)
REASONS = {
    "state-missing",
    "state-mismatch",
    "pasted-text-is-not-the-redirect-url",
}
NAMES = st.sampled_from(["code", "state", "iss", "error", "error_description", "x"])
VALUES = st.sampled_from([STATE, "https://as.test", "", "a", "\x00", "\ud800", "é", "<b>", "%", "&"])
ODD = [
    None,
    True,
    0,
    -1,
    3600,
    1.5,
    1e308,
    float("nan"),
    10**30,
    "",
    "3600",
    "bearer",
    "at-1",
    "a b",
    "\r\n",
    "é",
    [],
    ["a"],
    {},
    {"a": 1},
]
FIELDS = ["access_token", "refresh_token", "token_type", "expires_in", "scope", "error"]


def reason(read: Callable[[], object]) -> str | None:
    """Why `read` refused; None if it did not."""
    try:
        read()
    except UnrelatedResponse as unfit:
        return unfit.reason
    return None


@pytest.mark.requirement("E82")
@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_only_a_response_with_the_state_and_issuer_is_accepted(pairs):
    query = urlencode(pairs, errors="surrogatepass")
    answers = []
    refused = reason(lambda: answers.append(EXPECTED.read(read_parameters(query))))

    if refused is not None:
        assert refused in REASONS
    elif isinstance(answers[0], CallbackRefused):
        assert ("state", STATE) in pairs
    else:
        assert pairs.count(("state", STATE)) == pairs.count(("iss", "https://as.test")) == 1


@pytest.mark.requirement("E82")
@given(st.text(alphabet=string.printable + "é\x00\udcff", max_size=80))
def test_any_query_is_read_or_refused(query):
    assert reason(lambda: read_parameters(query)) in {*REASONS, None}
    assert reason(lambda: read_pasted(f"http://127.0.0.1/cb?{query}", "http://127.0.0.1/cb")) in {*REASONS, None}


@pytest.mark.requirement("E82")
@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(ODD)), max_size=8))
def test_any_json_reply_is_a_valid_token_set_or_a_named_error(pairs):
    good = {"access_token": "at-1", "token_type": "bearer"}
    with suppress(PorticoError):
        token_set = StandardDialect().read_token_reply(reply(json.dumps({**good, **dict(pairs)})))
        check_fit(token_set)
        token = token_set.access.reveal()
        assert token.isascii()
        assert token.isprintable()
        assert " " not in token


@given(st.binary(max_size=60))
def test_any_body_is_read_or_refused(body):
    with pytest.raises(PorticoError):
        StandardDialect().read_token_reply(reply(body.decode("utf-8", errors="surrogateescape")))


@given(st.text(max_size=40) | st.text(max_size=30).map(lambda text: f"https://{text}"))
def test_a_safe_url_has_only_url_characters(url):
    if why_not_a_safe_url(url) is None:
        assert url.isascii()
        assert not set(url) & set(" \"'`$;|<>\\^{}()!*#\n\r\t\x00")
