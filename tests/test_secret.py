from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import pytest

from portico.secret import REDACTED, Secret, redact

TEXT = "s3cr3t-value-0123456789"


@pytest.mark.requirement("E48")
@pytest.mark.parametrize(
    "show",
    [str, repr, "{}".format, "{:>40}".format, lambda secret: f"{secret!r}", lambda secret: "%s" % secret],  # noqa: UP031 - the old operator is one of the ways
)
@pytest.mark.requirement("E48")
def test_no_way_of_formatting_a_secret_shows_it(show):
    assert TEXT not in show(Secret(TEXT))


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
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())

    assert REDACTED in shown
    assert TEXT not in shown.replace(f"TEXT = '{TEXT}'", "")


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


def test_redaction_removes_the_secrets_it_is_told_of():
    assert redact(f"a {TEXT} b", Secret(TEXT)) == f"a {REDACTED} b"


def test_redaction_leaves_ordinary_text_alone():
    assert (
        redact("profile minimax-portal:default, region global, 3 models")
        == "profile minimax-portal:default, region global, 3 models"
    )
