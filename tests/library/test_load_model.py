"""`portico.load_model`: a Python program uses a model by its name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

import portico
from portico.app import App
from portico.errors import SignInNeeded
from portico.library.engine import Engine
from portico.library.model import load_model
from portico.models.protocols import Image
from portico.models.thinking import ModelLacksFeature
from portico.paths import CONFIG_ENV, STATE_ENV
from portico.testing.canary import in_text
from tests.auth.conftest import account, clock
from tests.auth.helpers import PROFILE
from tests.gateway.fronts import configure
from tests.gateway.providers import DONE, STREAM_HEAD, answered, provider, streamed, word
from tests.minimax_session import GLOBAL

__all__ = ("account", "clock")

M21 = "minimax-portal/MiniMax-M2.1"


@pytest.fixture
def session(minimax, monkeypatch):
    """A session whose environment is this process's own, as a program's would be."""
    session = minimax()
    for name, value in session.run_portico.environment(session.env).items():
        monkeypatch.setenv(name, value)
    return session


def test_the_default_model_answers_a_program_and_reports_its_usage(session):
    session.sign_in("--region", "global")

    reply = portico.load_model().ask("Why?")

    assert "answering as MiniMax-M2.1. You said: Why?" in reply.text
    assert (reply.model, reply.usage.output > 0, reply.cost is not None) == (M21, True, True)
    assert [one.outcome for one in reply.attempts] == ["answered"]


def test_the_answer_comes_in_pieces_to_synchronous_and_asynchronous_readers(session):
    session.sign_in("--region", "global")
    model = load_model(M21)

    async def read():
        return [piece async for piece in model.astream("Why?")]

    pieces = list(model.stream("Why?"))
    assert len(pieces) > 1
    assert "".join(pieces) == "".join(asyncio.run(read())) == model.ask("Why?").text


def test_a_model_has_all_that_a_client_needs_and_never_shows_its_credential(session):
    session.sign_in("--region", "global")
    model = load_model("minimax-m2.1")

    credential = model.credential()

    assert (model.reference, model.name, model.source) == (M21, "MiniMax-M2.1", f"profile {GLOBAL}")
    assert model.bases["openai-completions"].startswith("https://api.minimax.io")
    assert model.headers() == {"Authorization": f"Bearer {credential.token.reveal()}"}
    assert credential.expires_at > 0
    assert in_text(f"{credential!r} {model!r} {vars(model)!r}") == []


def test_a_refused_token_is_replaced_once_for_all_who_hold_it(session):
    session.sign_in("--region", "global")
    model = load_model()
    old = model.credential()

    with ThreadPoolExecutor(8) as threads:
        new = list(threads.map(lambda _: model.credential(rejected=old), range(8)))

    async def several():
        return await asyncio.gather(*(model.acredential(rejected=old) for _ in range(8)))

    new += asyncio.run(several())
    assert {one.generation for one in new} == {old.generation + 1}


def test_the_environments_key_needs_no_event_loop_of_the_provider(session, monkeypatch):
    monkeypatch.setenv("MINIMAX_API_KEY", "sk-emulator-global")

    model = load_model("minimax/MiniMax-M2.1")

    assert model.credential().expires_at is None
    assert "answering as MiniMax-M2.1" in model.ask("Why?").text


@pytest.mark.requirement("E146")
def test_a_fallback_answers_for_the_default_model_unless_it_may_not(session, monkeypatch):
    session.sign_in("--region", "global")
    session.ok("models", "set", "anthropic/claude-opus-4-6")
    session.ok("models", "fallbacks", "add", M21)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-wrong-1234567890")

    reply = load_model("anthropic/claude-opus-4-6").ask("Why?")

    assert [one.outcome for one in reply.attempts] == ["failed", "answered"]
    assert reply.model == M21
    with pytest.raises(SignInNeeded, match="was not asked again: in cooldown until 20"):
        load_model("anthropic/claude-opus-4-6", fallback=False).ask("Why?")


@pytest.mark.requirement("E142")
async def test_a_model_that_was_refused_is_asked_again_after_a_new_sign_in(account):
    refused = answered({"error": {"message": "invalid token"}}, status=401)
    passphrase = account.vault.real._passphrase.get().reveal()
    env = {CONFIG_ENV: str(account.paths.config), STATE_ENV: str(account.paths.state), "PORTICO_PASSPHRASE": passphrase}
    async with provider(refused, refused, streamed(word("yes"), DONE)) as acme:
        configure(account.paths, {"test": acme.base})

        def sign_in():
            account.clock.advance(60)
            account.sign_in()
            account.index.update(PROFILE, lambda profile: replace(profile, api_base=acme.base))

        sign_in()
        model = await asyncio.to_thread(load_model, "test/model", env=env)
        for why in ("invalid token", "was not asked again"):
            with pytest.raises(SignInNeeded, match=why):
                await asyncio.to_thread(model.ask, "Why?")
        sign_in()
        assert (await asyncio.to_thread(model.ask, "Why?")).text == "yes"


def test_what_cannot_be_called_raises_the_commands_own_error(session):
    with pytest.raises(SignInNeeded) as raised:
        load_model("minimax/MiniMax-M2.1")
    assert raised.value.id == "unknown-model"
    assert "MINIMAX_API_KEY" in raised.value.hint_for("portico")
    with pytest.raises(SignInNeeded) as raised:
        load_model(M21, profile="minimax-portal:nobody")
    assert raised.value.id == "not-signed-in"


@pytest.mark.requirement("E165")
def test_a_question_that_the_model_cannot_answer_gets_no_warning_beside_the_error(tmp_path, caplog):
    config = tmp_path / "portico.json5"
    models = [{"id": "MiniMax-M3", "reasoning": True, "input": ["text"]}]
    block = {"baseUrl": "http://127.0.0.1:9/v1", "api": "openai-completions", "apiKey": "sk-of-a-test", "models": models}
    config.write_text(json.dumps({"models": {"providers": {"mine": block}}}), encoding="utf-8")
    model = load_model("mine/MiniMax-M3", config=config, env={"PORTICO_STATE_DIR": str(tmp_path / "state")})

    with caplog.at_level("WARNING", "portico"), pytest.raises(ModelLacksFeature, match="takes no images"):
        model.ask("What is this?", images=[Image("image/png", "AAAA")], effort="high")

    assert caplog.messages == []


def test_a_caller_that_is_cancelled_leaves_the_engine_to_the_others(session):
    session.sign_in("--region", "global")
    model = load_model()

    async def cancelled():
        asking = asyncio.create_task(model.aask("Why?"))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(cancelled())
    assert "answering" in model.ask("Why?").text


def test_an_engine_that_was_closed_starts_again(session):
    session.sign_in("--region", "global")
    with closing(Engine(App.without_terminal(None, None))) as engine:

        async def token():
            return (await engine.broker.access(GLOBAL)).generation

        first = engine.run(token())
        engine.close()
        assert engine.run(token()) == first


def test_a_token_is_refreshed_while_every_connection_to_models_is_in_use(session):
    session.sign_in("--region", "global")
    with closing(Engine(App.without_terminal(None, None))) as engine:

        async def hangs(writer):
            writer.write(STREAM_HEAD)
            await asyncio.Event().wait()

        async def refreshed():
            access_token = await engine.broker.access(GLOBAL)
            async with provider(hangs) as acme, contextlib.AsyncExitStack() as streams:
                for _ in range(100):
                    await streams.enter_async_context(await engine.http.send(f"{acme.base}/x", body=b"{}", headers={}))
                return access_token, await engine.broker.access(GLOBAL, rejected_generation=access_token.generation)

        access_token, fresh = engine.run(refreshed())
    assert fresh.generation > access_token.generation


PROGRAM = """
    import os, sys
    import portico

    model = portico.load_model()
    print(model.ask("Why?").model, flush=True)
    child = os.fork()
    if child == 0:
        print(model.ask("And in a child?").model, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(sorted(name for name in ("rich", "questionary", "anthropic", "openai") if name in sys.modules))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is a POSIX matter")
def test_a_program_of_its_own_asks_forks_asks_and_ends(session):
    session.sign_in("--region", "global")

    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(PROGRAM)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split("\n")[:3] == [M21, M21, "[]"]


def test_the_package_is_imported_without_anything_else():
    code = "import portico, sys, json; print(json.dumps(sorted(m for m in sys.modules if m.startswith('portico'))))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == ["portico"]
