"""`purge`: afterwards the keyring, the folders and the providers know nothing of Portico's any more, or it says what does."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from portico import paths
from portico.cli import purge
from portico.gateway import control
from portico.paths import Paths
from portico.services.gateway_state import running
from tests.minimax_session import CN, GLOBAL


@pytest.fixture
def session(minimax, secret_service):
    session = minimax()
    session.records = lambda: [item for item in secret_service.items() if item.attributes.get("service") == "portico"]
    yield session
    control.stop(session.paths)


def everything(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")
    session.ok("gateway", "start")
    session.ok("gateway", "key", "add", "aider")
    session.ok("ask", "Hello")
    session.ok("config", "set", "gateway.models.x", "minimax-portal/MiniMax-M2.1")


def test_no_record_no_process_no_file_and_no_live_token_is_left(session):
    everything(session)
    token = session.ok("auth", "token", GLOBAL).strip()
    assert len(session.records()) == 4

    done = session.run("purge", "--yes", "--json")

    told = json.loads(done.stdout)
    assert (done.returncode, told["left"], told["notRevoked"]) == (0, [], {})
    assert (set(told["signedOut"]), set(told["gatewayKeys"])) == ({GLOBAL, CN}, {"default", "aider"})
    assert session.records() == []
    assert running(session.paths) is None
    assert not session.paths.state.exists()
    assert not session.paths.config.exists()
    assert list(session.paths.config.parent.glob("portico.json5*")) == []
    refused = session.run("ask", "--no-fallback", "--model", "minimax/MiniMax-M2.1", "Hello", env={"MINIMAX_API_KEY": token})
    assert refused.returncode == 3


def test_a_second_time_there_is_nothing_to_do(session):
    everything(session)
    session.ok("purge", "--yes")

    assert session.ok("purge", "--yes") == "Deleted everything except the program.\n"


def test_the_configuration_may_stay_and_so_does_what_is_not_ours(session):
    everything(session)
    theirs = session.paths.state / "notes.txt"
    theirs.write_text("mine")

    done = session.run("purge", "--yes", "--keep-config")

    assert done.returncode == 7
    assert "it has files that are not Portico's" in done.stderr
    assert [path.name for path in session.paths.state.iterdir()] == ["notes.txt"]
    assert session.paths.config.exists()


def test_without_a_yes_nothing_is_changed(session):
    everything(session)

    done = session.run("purge")

    assert (done.returncode, "--yes" in done.stderr) == (2, True)
    assert len(session.records()) == 4
    assert session.ok("ask", "Hello")


def test_where_the_provider_cannot_be_told_everything_goes_here_and_that_is_said(session, unused_tcp_port):
    session.sign_in("--region", "global")
    away = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), f"http://127.0.0.1:{unused_tcp_port}")

    done = session.run("purge", "--yes", "--json", env=away)

    told = json.loads(done.stdout)
    assert (done.returncode, [*told["notRevoked"]], told["left"]) == (11, [GLOBAL], [])
    assert session.records() == []
    assert not session.paths.state.exists()


def test_where_the_keyring_cannot_be_reached_what_leads_to_its_records_stays(session, tmp_path):
    session.sign_in("--region", "global")
    away = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/nowhere"}

    done = session.run("purge", "--yes", "--json", env=away)

    told = json.loads(done.stdout)
    assert (done.returncode, GLOBAL in told["left"][0]) == (7, True)
    assert session.paths.index.exists()
    assert session.ok("purge", "--yes").endswith("Deleted everything except the program.\n")
    assert session.records() == []


@pytest.mark.requirement("E89")
@pytest.mark.parametrize("moved", [True, False])
def test_a_config_folder_goes_only_if_nobody_moved_it(tmp_path, monkeypatch, moved):
    default = tmp_path / "portico" / "portico.json5"
    monkeypatch.setattr(paths, "_default_config", lambda _env: default)
    config = tmp_path / "project" / "portico.json5" if moved else default
    config.parent.mkdir(parents=True)
    config.write_text("{}")
    done = purge._Purged()

    purge._delete_files(done, SimpleNamespace(paths=Paths(config, tmp_path / "state", ""), env={}), keep_config=False)

    assert str(config) in done.files
    assert config.parent.exists() == moved
