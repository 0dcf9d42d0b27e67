"""A home that 0.1.0 left, with a sign-in that was killed half-way: every account, key, count and service is still good."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from portico.gateway.keys import known, owner
from portico.paths import CONFIG_ENV, STATE_ENV, resolve_paths
from portico.services.gateway_state import running
from portico.store.profiles import ProfileIndex
from portico.store.vault import Vault
from tests.free_port import free_port
from tests.key_index import key_index
from tests.minimax_session import CN, GLOBAL, in_this_process, start
from tests.services import fake_systemd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from subprocess import CompletedProcess

pytestmark = pytest.mark.linux
WORK, KEY = "minimax-portal:work", "minimax:default"
KEPT = Path(__file__).parent / "v0_1_0" / "home"


@dataclass
class Home:
    """A copy of the home, and commands of today's program in it."""

    folder: Path
    env: dict[str, str]

    def __post_init__(self):
        self.paths = resolve_paths(env=self.env)
        self.index = ProfileIndex(self.paths)
        self.vault = Vault(self.paths, self.index, env=self.env)

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
        return in_this_process(words, {**self.env, **(env or {})})

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stderr}\n{done.stdout}"
        return done.stdout

    def json(self, *words: str):
        return json.loads(self.ok(*words, "--json"))

    def manager(self, folder: Path) -> Callable[..., int]:
        """A service manager that knows the units of this home: what `systemctl --user` ends with."""
        self.env |= fake_systemd.install(folder, self.folder, config=self.folder / ".config")
        return lambda *words: subprocess.run(["systemctl", "--user", *words], env=self.env, check=False).returncode


@pytest.fixture
def home(tmp_path, run_portico, monkeypatch):
    folder = tmp_path / "of-0-1-0"
    shutil.copytree(KEPT, folder)
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if path.suffix == ".service":
            text = path.read_text(encoding="utf-8").replace("@HOME@", str(folder)).replace("@PYTHON@", sys.executable)
            path.write_text(text.replace("@IMPORTS@", run_portico.environment()["PYTHONPATH"]), encoding="utf-8")
    monkeypatch.setenv("HOME", str(folder))
    moved = {"XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", CONFIG_ENV, STATE_ENV}
    for name in moved:
        monkeypatch.delenv(name, raising=False)
    env = run_portico.environment({**dict.fromkeys(moved), "HOME": str(folder)})
    return Home(folder, env | {"PORTICO_PASSPHRASE_FILE": str(folder / ".config" / "portico" / "passphrase")})


def test_no_account_is_lost_and_each_opens(home):
    listed = home.json("auth", "list")["profiles"]

    assert [profile["id"] for profile in listed] == [GLOBAL, CN, WORK, KEY]
    assert all(home.vault.read(profile["id"]).access.reveal() for profile in listed)
    assert home.index.view().damaged == ()


def test_the_tokens_that_were_stored_half_way_come_into_use_and_nothing_is_left_of_the_old_ones(home):
    before = home.index.get(CN)
    assert (before.slot, before.journal_entry is None) == ("a", False)

    tokens = home.vault.read(CN, to_refresh=True)

    assert tokens.access.reveal() != tokens.refresh.reveal() != ""
    assert (home.index.get(CN).slot, home.index.get(CN).journal_entry) == ("b", None)
    assert home.index.view().leftovers == ()
    assert home.vault.read(CN).access.reveal() == tokens.access.reveal()


def test_a_refresh_that_was_begun_is_known_as_one_whose_fate_is_open(home):
    assert home.index.get(WORK).journal_entry is not None


def test_the_gateway_key_is_taken(home):
    key = home.ok("gateway", "key", "show", "tool").strip()

    assert owner(known(key_index(home.paths).profiles()), [key]) == "tool"


def test_the_config_is_valid_and_keeps_its_bytes_and_its_comment(home):
    before = home.paths.config.read_text(encoding="utf-8")

    assert home.ok("config", "validate").endswith("is valid.\n")
    assert home.json("models", "aliases", "list")
    home.ok("models", "set", "minimax-portal/MiniMax-M2.1")

    after = home.paths.config.read_text(encoding="utf-8")
    assert after.startswith("// mine, and kept\n")
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert [line.strip() for line in changed] == [
        'model: { primary: "minimax-portal/MiniMax-M2.1", fallbacks: ["minimax/MiniMax-M2.1"] },'
    ]


def test_what_was_asked_is_still_counted(home):
    (row,) = home.json("usage", "cost", "--days", "3650")["rows"]

    assert (row["model"], row["requests"]) == ("minimax/MiniMax-M2.1", 2)


@pytest.mark.parametrize("unit", ["portico-gateway.service", "portico-keep-fresh.service"])
def test_a_service_that_it_installed_still_starts(home, tmp_path, unit):
    home.ok("config", "set", "gateway.port", str(free_port()))
    manager = home.manager(tmp_path / "systemd")

    started = manager("start", unit)
    try:
        assert started == 0, (tmp_path / "systemd" / f"{unit}.journal").read_text(encoding="utf-8")
        assert (running(home.paths) is not None) == (unit == "portico-gateway.service")
    finally:
        manager("stop", unit)


def test_the_gateway_service_that_it_installed_is_restarted_as_it_is_and_gets_a_socket_when_it_is_installed_again(home, tmp_path):
    home.ok("config", "set", "gateway.port", str(free_port()))
    manager = home.manager(tmp_path / "systemd")
    unit = home.folder / ".config/systemd/user/portico-gateway.service"
    assert manager("start", unit.name) == 0
    try:
        before, written = running(home.paths), unit.read_bytes()
        assert home.json("gateway", "restart")["previousPid"] == before.pid
        assert unit.read_bytes() == written
        assert "service-outdated" in {each["id"] for each in json.loads(home.run("doctor", "--json").stdout)["findings"]}

        placed = home.json("gateway", "install")
        assert f"127.0.0.1:{placed['port']}" in unit.with_suffix(".socket").read_text(encoding="utf-8")
        assert home.json("gateway", "restart")["previousPid"] == placed["pid"]
    finally:
        home.run("gateway", "uninstall")


def test_purge_finds_all_of_it(home, tmp_path):
    with start(tmp_path / "emulation") as info:
        meet = {name: value for name, value in info.env.items() if name not in {CONFIG_ENV, STATE_ENV}}
        home.manager(tmp_path / "systemd")
        done = home.run("purge", "--yes", "--json", env=meet)

    told = json.loads(done.stdout)
    assert (done.returncode, told["left"]) == (0, []), done
    assert (set(told["signedOut"]), set(told["gatewayKeys"])) == ({GLOBAL, CN, WORK, KEY}, {"tool"})
    left = [path.relative_to(home.folder).as_posix() for path in home.folder.rglob("*") if path.is_file()]
    assert left == [".config/portico/passphrase"]
