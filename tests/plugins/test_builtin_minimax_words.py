"""The plan, its page and its keys, in MiniMax's own terms of November 2026."""

from __future__ import annotations

import pytest

from portico.plugins.builtin import MINIMAX as PROVIDER
from portico.testing.canary import canary
from tests.minimax_session import SIGN_IN
from tests.source_tree import ROOT

pytestmark = pytest.mark.requirement("E174")

PLAN_PAGE = "https://platform.minimax.io/console/plan"
PAGES_LINK = "https://platform.minimax.io/subscribe/coding-plan"


def test_a_plan_is_bought_where_minimax_sells_it_today():
    assert PROVIDER.subscribe_urls["global"] == PLAN_PAGE
    assert PROVIDER.subscribe_urls["cn"].startswith("https://platform.minimaxi.com/")


def test_without_a_plan_the_page_of_today_is_shown(minimax):
    session = minimax(knobs={"quota": "none"})
    session.sign_in("--region", "global")

    assert f"Subscribe: {PLAN_PAGE}" in session.ok("usage")
    assert f"Subscribe: {PLAN_PAGE}" in session.run("ask", "Why?").stderr


def test_a_sign_in_says_before_it_begins_what_minimax_says_of_other_tools(minimax):
    session = minimax()
    text = session.run(*SIGN_IN, "--region", "global", *session.store).stderr

    assert "According to MiniMax's M Plan FAQ, tools other than MiniMax Code need a Subscription Key" in text
    assert "portico onboard --auth-choice minimax-api" in text


def test_the_report_of_a_pay_as_you_go_key_names_the_key_of_the_plan(minimax):
    result = minimax().run("usage", env={"MINIMAX_API_KEY": f"sk-api-{canary('key')}"})

    assert result.returncode == 0
    assert "needs a Subscription Key" in result.stdout
    assert "plan usage needs the plan's Subscription Key (sk-cp-...)" in result.stderr
    assert "MINIMAX_CODE_PLAN_KEY" in result.stderr


@pytest.mark.parametrize("name", ["docs/providers/minimax.md", "docs/providers/minimax.tr.md"])
def test_the_provider_pages_name_the_plan_its_page_and_its_keys(name):
    text = (ROOT / name).read_text(encoding="utf-8")

    for phrase in ("M Plan", PLAN_PAGE, PAGES_LINK, "Subscription Key", "sk-cp-", "sk-api-"):
        assert phrase in text


@pytest.mark.parametrize("name", ["no-plan", "minimax-refused", "credential-refused"])
def test_the_pages_of_errors_name_the_plan_and_its_keys(name):
    text = (ROOT / f"docs/errors/{name}.md").read_text(encoding="utf-8")

    assert "M Plan" in text
    assert "Token Plan" not in text or "Coding Plan" in text
