"""A sign-in with a running gateway; real gateway processes."""

from __future__ import annotations

import io
import os

import pytest

from portico.accounts import summary
from portico.app import App
from portico.gateway import control
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.vault import Vault
from portico.terminal.output import Output
from portico.testing.canary import canary


@pytest.fixture
def running(paths):
    """A gateway that was started before the encrypted file existed."""
    yield control.start(paths, port=0)
    control.stop(paths)


@pytest.fixture
def with_passphrase(paths):
    """The environment of a sign-in that has just stored its tokens in the encrypted file."""
    environment = {**os.environ, "PORTICO_PASSPHRASE": canary("passphrase")}
    Vault(paths, ProfileIndex(paths), store="file", passphrase=PassphraseSource(environment)).probe()
    return environment


def app_with(env):
    output = Output(json=False, quiet=False, verbose=False, color=False, stdout=io.StringIO(), stderr=io.StringIO())
    return App("portico", env=env, out=output).unattended()


def test_a_gateway_without_the_passphrase_is_restarted_with_it_and_only_once(paths, running, with_passphrase):
    assert "it was restarted" in summary.set_up_background(app_with(with_passphrase), wanted=False)
    restarted = control.running(paths)
    assert restarted.instance != running.instance
    assert (restarted.port, restarted.opens_encrypted_file) == (running.port, True)
    assert summary.set_up_background(app_with(with_passphrase), wanted=False) == "the running gateway refreshes the tokens"
    assert control.running(paths) == restarted


def test_a_gateway_that_cannot_be_restarted_is_reported_and_keeps_running(paths, running, with_passphrase):
    without = {name: value for name, value in with_passphrase.items() if name != "PORTICO_PASSPHRASE"}
    app = app_with(without)
    assert (
        summary.set_up_background(app, wanted=False)
        == "the gateway cannot refresh the tokens until you restart it: portico gateway restart"
    )
    assert "passphrase" in app.out.stderr.getvalue()
    assert control.running(paths) == running


def test_an_account_in_the_keyring_does_not_restart_the_gateway(paths, running):
    assert summary.set_up_background(app_with(dict(os.environ)), wanted=False) == "the running gateway refreshes the tokens"
    assert control.running(paths) == running


def test_the_started_gateway_uses_the_port_from_the_environment(paths, unused_tcp_port):
    try:
        stored = summary.set_up_background(app_with({**os.environ, "PORTICO_GATEWAY_PORT": str(unused_tcp_port)}), wanted=True)
        assert "refreshes the tokens until this machine restarts" in stored
        assert control.running(paths).port == unused_tcp_port
    finally:
        control.stop(paths)
