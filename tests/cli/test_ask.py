"""`ask`: a signed-in model answers, and what is said when it cannot."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tests.minimax_session import GLOBAL
from tests.models.threaded_api import command as in_process
from tests.models.threaded_api import events, served


@pytest.fixture
def session(minimax):
    return minimax()


def test_the_default_model_answers_on_stdout_and_only_the_answer(session):
    session.sign_in("--region", "global")

    done = session.run("ask", "Why?")

    assert (done.returncode, done.stderr) == (0, "")
    assert "answering as MiniMax-M2.1. You said: Why?" in done.stdout
    named = json.loads(session.ok("ask", "--model", "minimax-m2.1-lightning", "--json", "Why?"))
    assert named["model"] == "minimax-portal/MiniMax-M2.1-lightning"
    assert named["source"] == f"profile {GLOBAL}"
    assert "answering as MiniMax-M2.1-lightning" in named["answer"]


def test_without_any_credential_the_first_line_is_the_pages_and_the_ways_out_follow(session):
    done = session.run("ask", "--model", "minimax/MiniMax-M2.1", "Why?")

    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == "Unknown model: minimax/MiniMax-M2.1"
    for way in ("MINIMAX_API_KEY", "models.providers.minimax", "onboard --auth-choice minimax-portal"):
        assert way in done.stderr


@pytest.mark.requirement("E146")
def test_a_model_that_is_named_and_is_not_the_default_is_never_answered_for_by_another(session):
    session.sign_in("--region", "global")
    session.ok("models", "fallbacks", "add", "minimax-portal/MiniMax-M2.1-lightning")

    done = session.run("ask", "--model", "anthropic/claude-opus-4-6", "Why?", env={"ANTHROPIC_API_KEY": "sk-wrong-1234567890"})

    assert (done.returncode, done.stdout) == (3, "")
    assert "anthropic rejected the credential from environment variable ANTHROPIC_API_KEY." in done.stderr


@pytest.mark.requirement("P14")
def test_a_wrong_case_is_not_sent(session):
    session.sign_in("--region", "global")

    done = session.run("ask", "--model", "minimax-portal/minimax-m2.1", "Why?")

    assert done.returncode == 2
    assert "Did you mean minimax-portal/MiniMax-M2.1?" in done.stderr


def test_with_nothing_set_up_it_says_what_to_do(session):
    done = session.run("ask", "Why?")

    assert done.returncode == 9
    assert "models set" in done.stderr


@pytest.mark.requirement("P16")
def test_a_token_that_ended_is_replaced_before_the_question_is_sent(minimax):
    session = minimax(access_ttl_s=1)
    session.sign_in("--region", "global")
    generation = session.profiles()[0]["generation"]

    while session.profiles()[0]["generation"] == generation:
        assert "answering as MiniMax-M2.1" in session.ok("ask", "Still there?")


def test_without_a_network_it_ends_with_its_own_code_and_names_the_check(session, unused_tcp_port):
    session.sign_in("--region", "global")
    proxy = f"http://127.0.0.1:{unused_tcp_port}"

    done = session.run("ask", "Why?", env={"HTTPS_PROXY": proxy, "https_proxy": proxy})

    assert done.returncode == 8
    assert "portico doctor" in done.stderr
    assert "emulator" not in done.stderr


def test_a_model_that_neither_the_catalogue_nor_the_provider_knows_is_unknown(session):
    session.sign_in("--region", "global")

    done = session.run("ask", "--model", "minimax-portal/M2", "Why?")

    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "Unknown model: minimax-portal/M2"
    assert "Did you mean minimax-portal/MiniMax-M2, " in done.stderr


def test_a_part_of_a_models_name_gets_a_did_you_mean(session):
    session.sign_in("--region", "global")

    done = session.run("ask", "--model", "M2.1", "Why?")

    assert done.returncode == 2
    assert "Did you mean minimax/MiniMax-M2.1, minimax-portal/MiniMax-M2.1, " in done.stderr


def test_signed_out_the_first_step_is_to_sign_in(session):
    session.sign_in("--region", "global")
    session.ok("auth", "logout", "--yes")

    done = session.run("ask", "Why?")

    assert (done.returncode, done.stderr.splitlines()[0]) == (3, "portico: You are not signed in to minimax-portal.")
    assert "  Run `portico onboard --auth-choice minimax-portal`." in done.stderr


def test_a_model_of_a_plugin_that_is_off_names_the_command_that_turns_it_on(session):
    for command in (
        ("ask", "--model", "minimax-portal/MiniMax-M2.1", "Why?"),
        ("models", "list", "--provider", "minimax-portal"),
    ):
        done = session.run(*command)
        assert done.returncode == 2
        assert "portico plugins enable minimax-portal-auth" in done.stderr


@pytest.mark.parametrize("words", [("-",), ()])
def test_the_question_may_come_from_standard_input(session, monkeypatch, words):
    session.sign_in("--region", "global")
    monkeypatch.setattr(sys, "stdin", io.StringIO("Why is it so?"))

    assert "You said: Why is it so?" in session.ok("ask", *words)


@pytest.mark.parametrize("words", [("",), ("  ",), ("-",), ()])
def test_no_question_is_refused(session, monkeypatch, words):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    done = session.run("ask", *words)

    assert done.returncode == 2
    assert "The question is empty." in done.stderr


THINKING = (
    ("MiniMax-M3.1-Flash", "--effort", "max"),
    ("MiniMax-M3.1-Flash", "--thinking", "on"),
    ("MiniMax-M3", "--thinking", "on"),
    ("MiniMax-M3", "--thinking", "off"),
    ("MiniMax-M2.1", "--effort", "high"),
)


@pytest.mark.requirement("E165")
def test_each_family_answers_however_much_it_is_asked_to_think(session):
    session.sign_in("--region", "global")

    for model, *asked in THINKING:
        done = session.run("ask", "--model", f"minimax-portal/{model}", *asked, "Why?")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.requirement("E165")
def test_what_a_family_cannot_do_is_an_error_with_the_way_that_works_or_a_note(session):
    session.sign_in("--region", "global")
    flash = ("ask", "--model", "minimax-portal/MiniMax-M3.1-Flash")

    done = session.run(*flash, "--thinking", "off", "Why?")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "portico: MiniMax-M3.1-Flash always thinks; the lowest level is --effort low."
    assert session.ok(*flash, "--effort", "low", "Why?")

    done = session.run("ask", "--model", "minimax-portal/MiniMax-M3", "--effort", "high", "Why?")
    assert done.returncode == 0
    assert done.stderr == "MiniMax-M3 has no levels of thinking: --effort high only switches thinking on.\n"

    done = session.run("ask", "--thinking", "off", "--effort", "low", "Why?")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "portico: Choose either --thinking off or --effort, not both.")


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
WHOLE = events(
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Here."}}, {"type": "message_stop"}
)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (events(OVERLOADED), "HTTP 200: Overloaded"),
        (f": wait\n\n{events(OVERLOADED)}", "HTTP 200: Overloaded"),
        ("", "answer-unknown: its stream ended before its first event"),
        ('{"base_resp": {"status_code": 1000, "status_msg": "unknown error"}}', "HTTP 200: unknown error"),
    ],
    ids=["error", "error after a comment", "nothing", "error in place of a stream"],
)
def test_a_fallback_answers_where_the_first_event_is_an_error_as_at_the_gateway(paths, stream, why):
    content = "application/json" if stream.startswith("{") else "text/event-stream"
    with served(lambda _: (200, stream), content) as first, served(lambda _: (200, WHOLE)) as second:
        each = "{{ baseUrl: '{}', apiKey: 'x', api: 'anthropic-messages', models: [{{ id: 'm' }}] }}"
        providers = f"{{ first: {each.format(first)}, second: {each.format(second)} }}"
        model = "{ primary: 'first/m', fallbacks: ['second/m'] }"
        config = f"{{ agents: {{ defaults: {{ model: {model} }} }}, models: {{ providers: {providers} }} }}"
        paths.config.write_text(config, encoding="utf-8")
        done = in_process(paths, "ask", "--json", "Why?")

    told = json.loads(done.stdout)
    assert (told["model"], told["answer"]) == ("second/m", "Here.")
    assert (told["attempts"][0]["outcome"], told["attempts"][0]["why"]) == ("failed", why)
    assert f"first/m (config models.providers.first.apiKey) did not answer: {why}" in done.stderr
