"""Each `ask` is noted on its way out: which model, whose credential, what it took and what came of it, and never a word of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from portico.app import App
from portico.cli.ask import RequestRecord
from portico.errors import NetworkError, UsageError
from portico.interfaces.plugins import ModelCost, ModelSpec
from portico.models.failover import Cooldowns, Failover
from portico.models.loader import CallableModel
from portico.models.protocols import Piece, Usage
from portico.models.provider_errors import ProviderError
from portico.models.reference import ModelReference
from portico.net.errors import AnswerCut
from portico.testing.canary import canary
from portico.usage.entry import Entry
from portico.usage.history_file import COLUMNS, HistoryFile
from tests.minimax_session import GLOBAL

M21, LIGHTNING = "minimax-portal/MiniMax-M2.1", "minimax-portal/MiniMax-M2.1-lightning"


def noted(paths):
    select = f"SELECT {', '.join(COLUMNS)} FROM requests ORDER BY rowid"
    rows = HistoryFile(paths, pytest.fail).read(lambda connection: connection.execute(select).fetchall()) or []
    return [Entry(**dict(zip(COLUMNS, row, strict=True))) for row in rows]


# --- the command ---------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("P10")
def test_an_answer_is_noted_with_its_tokens_its_price_and_its_times(minimax):
    session = minimax()
    session.sign_in("--region", "global")

    told = json.loads(session.ok("ask", "--json", "Why?"))

    [entry] = noted(session.paths)
    assert (entry.model, entry.credential, entry.client, entry.api) == (M21, GLOBAL, "ask", "anthropic-messages")
    assert (entry.outcome, entry.attempts) == ("answered", 1)
    assert (entry.input_tokens, entry.output_tokens) == (told["usage"]["input"], told["usage"]["output"])
    assert entry.cost_usd == told["cost"] > 0
    assert 0 < entry.first_byte_ms <= entry.latency_ms


@pytest.mark.requirement("P10")
def test_a_corrected_price_holds_from_then_on_and_earlier_rows_keep_theirs(minimax):
    session = minimax()
    session.sign_in("--region", "global")
    session.ok("ask", "Why?")
    corrected = {"id": "MiniMax-M2.1", "cost": {"input": 1_000_000, "output": 0}}
    text = json.dumps({"providers": {"minimax-portal": {"models": [corrected]}}})
    (session.paths.config.parent / "models.json").write_text(text, encoding="utf-8")

    session.ok("ask", "Why?")

    before, after = noted(session.paths)
    assert before.cost_usd < 0.01
    assert after.cost_usd == after.input_tokens


@pytest.mark.parametrize(
    ("knobs", "outcome"),
    [
        ({"quota": "none"}, "no-plan"),
        ({"quota": "exhausted"}, "plan-used-up"),
        ({"refuse-model": "MiniMax-M2.1"}, "plan-lacks-model"),
    ],
)
def test_a_refusal_is_noted_in_the_words_that_decide_what_is_next(minimax, knobs, outcome):
    session = minimax(knobs=knobs)
    session.sign_in("--region", "global")

    assert session.run("ask", "Why?").returncode != 0

    [entry] = noted(session.paths)
    assert (entry.outcome, entry.model, entry.cost_usd, entry.first_byte_ms) == (outcome, M21, 0, None)


def test_the_model_that_answered_in_anothers_place_is_noted_with_all_attempts(minimax):
    session = minimax(knobs={"refuse-model": "MiniMax-M2.1"})
    session.sign_in("--region", "global")
    session.ok("models", "fallbacks", "add", LIGHTNING)

    session.ok("ask", "Why?")

    [entry] = noted(session.paths)
    assert (entry.model, entry.outcome, entry.attempts) == (LIGHTNING, "answered", 2)


def test_what_was_never_sent_is_not_noted(minimax, tmp_path):
    session = minimax()
    session.sign_in("--region", "global")
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")

    for words in (("",), ("--model", "nobody/nothing", "Why?"), ("--image", str(picture), "--model", M21, "What is it?")):
        assert session.run("ask", *words).returncode == 2

    assert noted(session.paths) == []


@pytest.mark.requirement("E48")
def test_neither_a_word_of_the_question_or_the_answer_nor_a_credential_is_in_the_history(minimax):
    key = canary("key")
    session = minimax(knobs={"api_key": key})
    session.sign_in("--region", "global")

    session.ok("ask", "Tell of purple hippopotami.")
    session.ok("ask", "--model", "minimax/MiniMax-M2.1", "Tell of purple hippopotami.", env={"MINIMAX_API_KEY": key})

    assert [entry.credential for entry in noted(session.paths)] == [GLOBAL, "environment variable MINIMAX_API_KEY"]
    for path in session.paths.state.glob("history.sqlite*"):
        content = path.read_bytes()
        for word in (b"hippopotami", b"emulator, answering", b"CANARY", key.encode()):
            assert word not in content


def test_switched_off_in_the_configuration_nothing_is_noted(minimax):
    session = minimax()
    session.sign_in("--region", "global")
    session.ok("config", "set", "history", '"off"')

    session.ok("ask", "Why?")

    assert not session.paths.history.exists()


def test_a_damaged_history_is_said_and_keeps_nobody_from_an_answer(minimax):
    session = minimax()
    session.sign_in("--region", "global")
    session.ok("ask", "Why?")
    session.paths.history.write_bytes(b"no database" * 1000)

    done = session.run("ask", "Why?")

    assert (done.returncode, "You said: Why?" in done.stdout) == (0, True)
    assert "The usage history is damaged" in done.stderr
    assert len(noted(session.paths)) == 1


# --- what is noted of one request -----------------------------------------------------------------------------------------------


def a_model(name="one"):
    spec = ModelSpec(name, name, cost=ModelCost(1.0, 1.0))
    return CallableModel(
        ModelReference("acme", name), spec, "openai-completions", "https://acme.example/v1", "config", profile_id="acme:p"
    )


def a_record(clock, *models):
    record = RequestRecord(Failover(models or (a_model(),), Cooldowns(clock)), clock)
    record.start()
    return record


def row_of(record, paths, clock):
    record.save(App("portico", clock=clock))
    rows = noted(paths)
    return rows[0] if rows else None


def test_the_times_are_those_of_the_first_piece_and_of_the_end(paths, fake_clock):
    record = a_record(fake_clock)
    record.failover.answered(record.failover.next())
    fake_clock.advance(0.2)
    record.add(Piece("Bec"))
    fake_clock.advance(0.3)
    record.add(Piece("ause", Usage(10, 5)))
    record.finish()

    entry = row_of(record, paths, fake_clock)

    assert (entry.first_byte_ms, entry.latency_ms, entry.input_tokens, entry.output_tokens) == (200, 500, 10, 5)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (AnswerCut("It broke off."), "cut"),
        (KeyboardInterrupt(), "left"),
        (asyncio.CancelledError(), "left"),
        (BrokenPipeError(), "left"),
    ],
)
def test_an_answer_that_ends_early_is_noted_with_what_had_come_and_without_a_price(paths, fake_clock, error, outcome):
    record = a_record(fake_clock)
    record.failover.answered(record.failover.next())
    record.add(Piece("Bec", Usage(10, 0)))
    record.fail(error)

    entry = row_of(record, paths, fake_clock)

    assert (entry.outcome, entry.input_tokens, entry.cost_usd) == (outcome, 10, None)


def test_of_several_that_fail_the_last_one_is_named(paths, fake_clock):
    record = a_record(fake_clock, a_model("one"), a_model("two"))
    for kind in ("server", "rate-limit"):
        record.failover.failed(record.failover.next(), ProviderError(kind, "no"))
    record.fail(NetworkError("rate-limited", "No."))

    entry = row_of(record, paths, fake_clock)

    assert (entry.model, entry.outcome, entry.attempts) == ("acme/two", "rate-limit", 2)


def test_a_question_that_no_model_can_take_is_none(paths, fake_clock):
    record = a_record(fake_clock)
    record.fail(UsageError("model-lacks-feature", "No."))

    assert row_of(record, paths, fake_clock) is None
