"""A gateway that nobody uses looks at the clock and at a few files' times, and does nothing else."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from portico.paths import CONFIG_ENV, STATE_ENV
from portico.services.gateway_state import read_state
from portico.store.profiles import ProfileIndex
from portico.testing.clock import FakeClock
from tests.auth.helpers import a_profile
from tests.gateway.helpers import wait_until
from tests.plugins.helpers import write_plugin

pytestmark = pytest.mark.requirement("E164")

# A gateway that writes down each thread that it starts, and each file that it asks the time of.
WATCHED = """
import os, sys
log = open(sys.argv[1], "a", buffering=1)
sys.addaudithook(lambda event, args: event.startswith("_thread.start") and log.write("thread\\n"))
stat = os.stat
def watched(path, *more, **named):
    log.write(f"stat {path}\\n")
    return stat(path, *more, **named)
os.stat = watched
from portico.cli.main import main
sys.exit(main(["gateway", "run", "--port", "0"], "portico"))
"""
MODULES = 40


@pytest.fixture
def plugin(paths, tmp_path):
    """A plugin of many modules, which is on."""
    folder = write_plugin(tmp_path / "plugins", "acme-auth")
    for number in range(MODULES):
        (folder / f"module_{number}.py").write_text(f"NUMBER = {number}\n")
    paths.config.parent.mkdir(parents=True, exist_ok=True)
    entries = {"load": {"paths": [str(folder)]}, "entries": {"acme-auth": {"enabled": True}}}
    paths.config.write_text(json.dumps({"plugins": entries}), encoding="utf-8")
    return folder


def test_an_idle_gateway_starts_no_thread_and_looks_at_a_few_files(gateway_paths, plugin, tmp_path):
    """For three seconds: it has a profile that nobody uses, whose token has ended."""
    ProfileIndex(gateway_paths).put(unused("acme-auth:default"))
    log = tmp_path / "log"
    env = {**os.environ, CONFIG_ENV: str(gateway_paths.config), STATE_ENV: str(gateway_paths.state)}
    with subprocess.Popen([sys.executable, "-c", WATCHED, str(log)], env=env, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: read_state(gateway_paths) is not None, 20)
            time.sleep(1.2)  # what it does once, when it begins
            before = len(log.read_text().splitlines())
            time.sleep(3)
            lines = log.read_text().splitlines()[before:]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)

    counted = collections.Counter(lines)
    assert counted["thread"] == 0
    assert len(counted) <= 12, counted
    assert all(times <= 7 for times in counted.values()), counted
    assert not any("module_" in line for line in lines), "modules are not looked at"


def unused(id):
    from dataclasses import replace

    profile = a_profile("", FakeClock(), id)
    return replace(profile, provider="acme-auth", plugin="", slot="a", has_refresh=True, created_at=1, expires_at=2)
