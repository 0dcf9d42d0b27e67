from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import aiohttp
import pytest

from portico.emulation.run import run_emulation
from portico.interfaces.plugins import EmulatorOptions

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_environment_names_the_proxy_the_authority_a_browser_and_throwaway_places(emulation, tmp_path: Path) -> None:
    env = emulation.env
    schemes = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    assert {env.get(name) for name in schemes} == {emulation.proxy_url}
    assert "127.0.0.1" in env["NO_PROXY"].split(",")
    assert env["SSL_CERT_FILE"] == str(emulation.ca_file)
    assert env["BROWSER"].endswith("approver.py %s")
    assert {env["PORTICO_STATE_DIR"], env["PORTICO_CONFIG"]} == {str(emulation.state), str(emulation.config)}
    assert emulation.state.is_relative_to(tmp_path)


async def test_a_program_that_is_led_here_reaches_nobody_else_by_plain_http_either(emulation, monkeypatch) -> None:
    for name, value in emulation.env.items():
        monkeypatch.setenv(name, value)
    async with aiohttp.ClientSession(trust_env=True) as session, session.get("http://elsewhere.example/") as reply:
        assert reply.status == 403
        assert "Portico's emulator" in await reply.text()


async def test_the_throwaway_config_says_what_the_emulator_adds(small, tmp_path: Path) -> None:
    async with run_emulation([small], EmulatorOptions(redirect=True), tmp_path / "run") as info:
        config = json.loads(info.config.read_text())
    assert config == {"plugins": {"entries": {"small": {"config": {"redirect": True}}}}}


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
async def test_its_places_are_private(emulation) -> None:
    assert stat.S_IMODE(emulation.state.stat().st_mode) == 0o700
    assert stat.S_IMODE(emulation.state.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(emulation.config.stat().st_mode) == 0o600


async def test_a_service_that_is_local_in_real_life_is_met_in_plain_http(make_small, tmp_path: Path) -> None:
    async with run_emulation([make_small(0)], EmulatorOptions(), tmp_path / "run") as info:
        async with aiohttp.ClientSession() as session, session.get(f"{info.loopback['small']}/hello") as reply:
            assert reply.status == 200
        assert info.notes == ()


async def test_a_taken_loopback_port_is_told_and_costs_nothing_else(make_small, tmp_path: Path) -> None:
    async with run_emulation([make_small(0)], EmulatorOptions(), tmp_path / "one") as first:
        taken = int(first.loopback["small"].rpartition(":")[2])
        async with run_emulation([make_small(taken)], EmulatorOptions(), tmp_path / "two") as second:
            assert second.loopback == {}
            assert str(taken) in second.notes[0]
