from __future__ import annotations

import copy
import json
import logging
import pickle
import time
import traceback
from base64 import b64encode, urlsafe_b64encode
from html import escape
from urllib.parse import quote, quote_plus, unquote_plus

import pytest

from portico.secret import REDACTED, Secret, hide, redact

TEXT = "s3cr3t-value-0123456789"


@pytest.mark.requirement("E48")
@pytest.mark.parametrize(
    "formatted",
    [str, repr, "{}".format, "{:>40}".format, lambda secret: f"{secret!r}", lambda secret: "%s" % secret],  # noqa: UP031 - the old operator is one of the ways
)
@pytest.mark.requirement("E48")
def test_no_formatting_of_a_secret_shows_it(formatted):
    assert TEXT not in formatted(Secret(TEXT))


@pytest.mark.requirement("E48")
def test_a_secret_in_a_log_record_is_redacted(caplog):
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("portico").debug("token %s in %r", Secret(TEXT), {"access": Secret(TEXT)})

    assert TEXT not in caplog.text


@pytest.mark.requirement("E48")
@pytest.mark.requirement("E48")
def test_a_traceback_that_shows_locals_does_not_show_a_secret():
    def fail(token):
        raise ValueError(token)

    try:
        fail(Secret(TEXT))
    except ValueError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())

    assert REDACTED in text
    assert TEXT not in text.replace(f"TEXT = '{TEXT}'", "")


@pytest.mark.requirement("E48")
@pytest.mark.requirement("E48")
@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
def test_a_secret_cannot_be_serialised_or_copied(leave):
    with pytest.raises(TypeError):
        leave(Secret(TEXT))


def test_secrets_compare_by_content_and_are_no_dictionary_keys():
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret("other")
    assert Secret(TEXT) != TEXT
    with pytest.raises(TypeError):
        hash(Secret(TEXT))


def test_only_an_empty_secret_is_false():
    assert not Secret("")
    assert Secret(" ")


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {TEXT}",
        f"authorization=Basic {TEXT}",
        f'{{"access_token": "{TEXT}"}}',
        f"{{'refresh_token': '{TEXT}'}}",
        f"GET /cb?code={TEXT}&state={TEXT}",
        f"code_verifier={TEXT}",
        f"x-api-key: {TEXT}",
        f"bearer {TEXT}",
        f"the token mmoat_{TEXT} was refused",
        f"sk-cp-{TEXT}",
    ],
)
def test_redaction_finds_credentials_by_field_name_and_by_shape(text):
    assert TEXT not in redact(text)


def test_redaction_removes_the_secrets_that_it_knows():
    assert redact(f"a {TEXT} b", Secret(TEXT)) == f"a {REDACTED} b"


def test_redaction_leaves_ordinary_text_alone():
    assert (
        redact("profile minimax-portal:default, region global, 3 models")
        == "profile minimax-portal:default, region global, 3 models"
    )


SHAPES = {
    "a JWT": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEiLCJuIjo0MX0.Qm_x-7PzW1dKcV3n5aH9uTqYb2Lr",
    "20 characters": "q7ZtLw2RkN9xVb4Hc1Ms",
    "with / + and =": "8f/Kd+3Qa==Zx/90+LmPw/T5e+Rg==",
    "with a space and an umlaut": "grün wie 7 Zebras im Schnee",
}
FORMS = {
    "as it is": lambda secret: secret,
    "in capitals": str.upper,
    "URL-encoded": lambda secret: quote(secret, safe=""),
    "URL-encoded in small letters": lambda secret: quote(secret, safe="").lower(),
    "URL-encoded in part": lambda secret: quote(secret, safe="/+"),
    "URL-encoded for a form": quote_plus,
    "URL-encoded twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "URL-encoded in each character": lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
    "URL-decoded once too often": unquote_plus,
    "JSON-escaped": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "JSON in JSON": lambda secret: json.dumps(json.dumps({"token": secret})),
    "JSON-escaped in each character": lambda secret: "".join(f"\\u{ord(character):04x}" for character in secret),
    "HTML-escaped": lambda secret: escape(secret.replace("+", "&#43;").replace("/", "&#x2F;")),
    "in hex": lambda secret: secret.encode().hex(),
    "in base64": lambda secret: b64encode(secret.encode()).decode(),
    "in base64 behind a client's id": lambda secret: b64encode(b"portico-test:" + secret.encode()).decode(),
    "in base64url in JSON": lambda secret: urlsafe_b64encode(f'{{"t":"{secret}"}}'.encode()).decode().rstrip("="),
    "its first part": lambda secret: secret[: len(secret) * 3 // 4] + "...",
    "its last part": lambda secret: "..." + secret[len(secret) // 4 :],
}


@pytest.mark.requirement("E116")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_known_secret_is_hidden_in_whatever_form_it_is_repeated(shape, form):
    secret = SHAPES[shape]
    repeated, without = FORMS[form](secret), FORMS[form](secret[0] + "x" * (len(secret) - 1))

    text = redact(f"the token «{repeated}» is unknown", Secret(secret))

    assert text.startswith("the token «")
    assert text.endswith("» is unknown")
    parts = {repeated[at : at + 12] for at in range(len(repeated) - 11)}
    assert not [part for part in parts if part in text and part not in without]


@pytest.mark.requirement("E116")
@pytest.mark.parametrize("turn", [1, -1])
def test_of_a_secret_that_begins_as_another_one_the_end_is_hidden_too(turn):
    known = [Secret("q7ZtLw2RkN9xVb4H"), Secret("q7ZtLw2RkN9xVb4H-second")]
    assert hide("from q7ZtLw2RkN9xVb4H to q7ZtLw2RkN9xVb4H-second", *known[::turn]) == "from [redacted] to [redacted]"


@pytest.mark.requirement("E116")
def test_text_beside_a_known_secret_stays_as_it_is():
    text = 'Übergröße 100 % of "limits" &c. C:\\new\\u\\x &unknown; &#99999999; %zz %4'

    assert redact(text, Secret("q7ZtLw2RkN9xVb4Hc1Ms"), Secret("limit"), Secret("")) == text.replace("limit", REDACTED)


@pytest.mark.requirement("E116")
@pytest.mark.parametrize("unit", ["a", "%61", "\\u0061", "&#97;"])
def test_a_long_text_that_is_nearly_a_secret_is_searched_in_linear_time(unit):
    started = time.process_time()
    redact(unit * (64_000 // len(unit)), Secret("a" * 4_000 + "b"), Secret("ab" * 2_000))

    assert time.process_time() - started < 1
