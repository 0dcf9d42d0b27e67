"""Models that a provider has retired or may have retired: known, never offered, and reported with their successor."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from portico.config.schema import Config
from portico.errors import UsageError
from portico.gateway.router import LiveModels
from portico.models.client import begin
from portico.models.loader import CallableModel, ModelLoader
from portico.models.protocols import Question
from portico.models.provider_errors import AttemptFailed, model_error
from portico.models.reference import ModelReference
from portico.net.client import HttpClient
from portico.plugins.builtin import MINIMAX as PROVIDER
from portico.secret import Secret
from tests.person import sit_down

pytestmark = pytest.mark.requirement("E169")

RETIRED = {"MiniMax-M2.5", "MiniMax-M2.5-highspeed", "MiniMax-M2.7", "MiniMax-M2.7-highspeed", "MiniMax-M3.1-Flash-Preview"}
NOW = "MiniMax-M3.1-Flash"
BY_ID = {model.id: model for model in PROVIDER.models}


@pytest.fixture
def session(minimax):
    session = minimax()
    session.sign_in("--region", "global")
    return session


def test_the_catalogue_knows_todays_models_with_their_figures_and_sources():
    flash, m3 = BY_ID[NOW], BY_ID["MiniMax-M3"]

    assert (flash.context_window, flash.max_tokens, flash.input) == (1_000_000, 524_288, ("text", "image", "video"))
    assert (flash.cost.input, flash.cost.output, flash.cost.cache_read, flash.cost.cache_write) == (0.15, 0.60, 0.015, 0)
    assert (m3.cost.input, m3.cost.output, m3.cost.cache_read) == (0.30, 1.20, 0.06)
    assert "video" in m3.input
    assert all(model.source for model in PROVIDER.models)


def test_each_retired_model_says_since_when_and_what_serves_it():
    assert {model.id for model in PROVIDER.models if model.retired_on} == RETIRED
    for id in RETIRED:
        assert BY_ID[id].successor == NOW
        assert NOW in BY_ID[id].note
    assert BY_ID["MiniMax-M2.7"].retired_on == "2026-11-18"


def test_m2_1_stays_and_says_honestly_that_it_may_be_gone():
    for id in ("MiniMax-M2.1", "MiniMax-M2.1-lightning", "MiniMax-M2.1-highspeed", "MiniMax-M2"):
        assert (BY_ID[id].retired_on, BY_ID[id].successor) == (None, NOW)
        assert "may no longer" in BY_ID[id].note


def test_the_list_marks_what_is_retired_and_says_the_note(session):
    session.ok("models", "fallbacks", "add", "minimax-portal/MiniMax-M2.7")

    result = session.run("models", "list")
    rows = {row["key"]: row for row in json.loads(session.ok("models", "list", "--all", "--json"))["models"]}

    (line,) = (line for line in result.stdout.splitlines() if line.startswith("minimax-portal/MiniMax-M2.7 "))
    assert "retired" in line
    assert f"MiniMax-M2.7: {BY_ID['MiniMax-M2.7'].note}" in result.stderr
    assert "MiniMax-M2.1: " in result.stderr
    row = rows["minimax-portal/MiniMax-M2.7"]
    assert (row["retiredOn"], row["successor"]) == ("2026-11-18", NOW)
    assert row["note"] == BY_ID["MiniMax-M2.7"].note
    assert "retiredOn" not in rows[f"minimax-portal/{NOW}"]


def test_a_retired_model_is_in_no_menu(session):
    result, person = sit_down(session, "configure", "--section", "default-model", answers=[f"minimax-portal/{NOW}"])

    assert result.returncode == 0, result.stderr
    text = person.shown.getvalue()
    assert f"minimax-portal/{NOW}" in text
    assert not [id for id in RETIRED if f"/{id}\n" in text or f"/{id} " in text]


def test_the_gateway_offers_its_clients_no_retired_model_and_still_answers_for_one():
    loader = ModelLoader(Config(), [PROVIDER], [], {"MINIMAX_API_KEY": "sk-cp-x"})
    live = LiveModels(loader, {})

    offered = {model.reference.model for model in live.ready()}

    assert NOW in offered
    assert offered.isdisjoint(RETIRED)
    assert loader.load("minimax/MiniMax-M2.7").reference.model == "MiniMax-M2.7"


def test_a_retired_model_that_is_named_answers_on_a_plan_with_a_note(session):
    result = session.run("ask", "--model", "minimax-portal/MiniMax-M2.7", "Why?")

    assert result.returncode == 0
    assert "MiniMax-M2.7 was retired on 2026-11-18" in result.stderr
    assert session.run("ask", "Why?").stderr == ""


def test_setting_a_retired_default_model_warns(session):
    assert "was retired on 2026-11-18" in session.run("models", "set", "minimax-portal/MiniMax-M2.7").stderr


def test_with_a_pay_as_you_go_key_the_error_of_a_retired_model_names_a_current_one(minimax):
    session = minimax(knobs={"api-key": "sk-api-pays"})
    session.env["MINIMAX_API_KEY"] = "sk-api-pays"

    result = session.run("ask", "--model", "minimax/MiniMax-M2.7", "Why?")

    assert result.returncode == 2
    assert "portico models set minimax/MiniMax-M3.1-Flash" in result.stderr
    session.ok("models", "set", "minimax/MiniMax-M3.1-Flash")
    assert session.run("ask", "Why?").returncode == 0


def test_the_error_of_a_model_that_the_plan_lacks_names_the_current_one(minimax):
    session = minimax(knobs={"refuse-model": "MiniMax-M2.1"})
    session.sign_in("--region", "global")

    result = session.run("ask", "Why?")

    assert result.returncode == 8
    assert "does not include MiniMax-M2.1" in result.stderr
    assert "portico models set minimax-portal/MiniMax-M3.1-Flash" in result.stderr


@pytest.mark.parametrize(
    ("id", "hint"),
    [("MiniMax-M2.1", "{prog} models set minimax/MiniMax-M3.1-Flash"), (NOW, "{prog} models list --all")],
)
async def test_a_known_model_that_the_provider_does_not_know_is_unknown_with_a_current_one(aiohttp_server, id, hint):
    async def unknown(_request):
        message = f"invalid params, unknown model '{id}' (2013)"
        return web.json_response({"type": "error", "error": {"type": "invalid_request_error", "message": message}}, status=400)

    app = web.Application()
    app.router.add_post("/anthropic/v1/messages", unknown)
    server = await aiohttp_server(app)
    model = CallableModel(
        ModelReference("minimax", id),
        BY_ID[id],
        "anthropic-messages",
        str(server.make_url("/anthropic")),
        "config",
        key=Secret("sk-x"),
        error_codes=PROVIDER.error_codes,
    )

    async with HttpClient() as http:
        with pytest.raises(AttemptFailed) as raised:
            await begin(model, Question("Why?", 10), http=http, broker=None)

    error = model_error(model, raised.value.provider_error)
    assert isinstance(error, UsageError)
    assert (error.id, error.message) == ("unknown-model", f"minimax does not serve {id}.")
    assert hint in error.hint
