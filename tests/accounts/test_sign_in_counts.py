"""One sign-in builds each expensive part once: plugins, config and passphrase."""

from __future__ import annotations

from collections import Counter

import pytest
from cryptography.hazmat.primitives.kdf import scrypt

from portico.config import document, load
from portico.config.document import ConfigFile
from portico.plugins import manager
from portico.util.lock import FileLock
from tests.minimax_session import SIGN_IN, MinimaxSession, sealed_store, start

DEVICE_FLOW = ("--region", "global", "--flow", "device", "--no-browser", "--store", "file", "--json")


@pytest.fixture
def session(run_portico, tmp_path):
    """A session whose provider approves every code."""
    with start(tmp_path / "emulation", auto_approve=True) as info:
        yield MinimaxSession(info, run_portico, store=("--store", "file"), env=sealed_store())


@pytest.fixture
def made(monkeypatch):
    """Count how often each part is built."""
    count = Counter()

    def counted(owner, name):
        make = getattr(owner, name)

        def making(*args, **named):
            count[name] += 1
            return make(*args, **named)

        monkeypatch.setattr(owner, name, making)

    counted(manager, "find")
    counted(manager, "PluginHost")
    counted(load, "load_config")
    counted(document, "parse")
    counted(FileLock, "acquire")
    counted(ConfigFile, "edit")
    counted(scrypt, "Scrypt")
    return count


def test_a_sign_in_builds_each_part_once_and_reads_the_config_once(session, made):
    session.ok(*SIGN_IN, *DEVICE_FLOW)

    # Two plugin hosts: the plugin disabled, then enabled. Four parsed configs: the first, with the plugin, and for the second
    # edit, with the provider and with the default model.
    assert made == {"find": 1, "PluginHost": 2, "edit": 2, "load_config": 1, "parse": 4, "Scrypt": 1, "acquire": 10}


def test_a_later_command_with_a_model_builds_each_part_once(session, made):
    session.ok(*SIGN_IN, *DEVICE_FLOW)
    made.clear()

    session.ok("ask", "Hello")

    assert made == {"find": 1, "PluginHost": 1, "load_config": 1, "parse": 1, "Scrypt": 1, "acquire": 1}


def test_a_command_that_edits_the_config_does_not_read_it_again(session, made):
    session.ok(*SIGN_IN, *DEVICE_FLOW)
    loads = {}
    for words in (
        "models set minimax-portal/MiniMax-M2.1",
        "models aliases add quick minimax-portal/MiniMax-M2.1",
        "models aliases remove quick",
        "config set gateway.port 18555",
        "auth order set minimax-portal:default --provider minimax-portal",
        "plugins disable minimax-portal-auth",
        "plugins enable minimax-portal-auth",
        "auth logout minimax-portal:default --yes",
    ):
        made.clear()
        session.ok(*words.split())
        loads[words] = made["load_config"]

    assert {words: count for words, count in loads.items() if count > 1} == {}
