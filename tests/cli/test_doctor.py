"""`doctor` on broken installations: its first finding, and that its fix or its hint solves the problem."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import tarfile
import threading
from dataclasses import replace

import keyring
import pytest

from portico.config.schema import PluginsConfig
from portico.plugins.manager import PluginHost
from portico.store.profiles import ProfileIndex
from portico.store.records import Failure
from portico.testing.canary import canary, exempt, in_text
from portico.util.clock import SystemClock
from tests.minimax_session import CN, GLOBAL, sealed_store

ACCOUNT = ("--region", "global")


@pytest.fixture
def session(minimax):
    session = minimax()
    session.sign_in(*ACCOUNT)
    return session


@pytest.fixture
def newcomer(minimax):
    """Signed out; without a keyring the config chooses the encrypted file."""
    session = minimax()
    if session.store:
        session.ok("config", "set", "auth.store", "file")
    return session


def report(session, *words, env=None):
    result = session.run("doctor", "--json", *words, env=env)
    value = json.loads(result.stdout)
    assert value["exitCode"] == result.returncode
    return value


def first(session, **more):
    """The first finding."""
    return report(session, **more)["findings"][0]


def as_advised(session, finding, **more):
    """Run the command of the hint as a user would type it."""
    assert finding["hint"].startswith("portico ")
    return session.ok(*shlex.split(finding["hint"])[1:], **more)


def test_a_sound_installation_has_no_findings_and_lists_what_was_examined(session):
    value = report(session)

    assert (value["exitCode"], value["findings"]) == (0, [])
    assert {"config", "store", "records", "health", "network", "plans", "gateway", "plugins", "service"} <= set(value["checks"])
    assert session.ok("doctor").endswith("\nNo problems found.\n")


def test_a_configuration_that_cannot_be_read_is_named_with_its_place(session):
    text = session.paths.config.read_text()
    session.paths.config.write_text("{ agents: { \n")

    found = first(session)

    assert (found["level"], "portico.json5:2" in found["message"]) == ("error", True)
    session.paths.config.write_text(text)
    assert report(session)["findings"] == []


def test_a_misspelt_key_is_named(session):
    session.ok("config", "set", "models.mode", "merge")
    session.paths.config.write_text(
        session.paths.config.read_text().replace('mode: "merge"', 'modee: "merge"').replace('"mode": "merge"', '"modee": "merge"')
    )

    found = first(session)

    assert "modee" in found["message"]
    session.paths.config.write_text(session.paths.config.read_text().replace("modee", "mode"))
    assert report(session)["findings"] == []


@pytest.mark.parametrize("what", ["state", "config"])
def test_what_others_can_read_is_closed(session, what):
    session.ok("config", "set", "env.SOME_KEY", canary("key"))
    exempt(session.paths.config)
    path = getattr(session.paths, what)
    path.chmod(0o755 if what == "state" else 0o644)

    found = first(session)
    assert (found["id"], found["fixable"]) == (f"{what}-open", True)

    value = report(session, "--fix")
    assert (value["exitCode"], value["findings"], len(value["mended"])) == (0, [], 1)
    assert path.stat().st_mode & 0o077 == 0


def test_a_plugin_that_is_off_while_a_sign_in_needs_it_is_turned_on(session):
    session.ok("plugins", "disable", "minimax-portal-auth")

    found = first(session)
    assert (found["id"], GLOBAL in found["why"]) == ("plugin-off", True)

    assert report(session, "--fix")["findings"] == []
    assert "answering as" in session.ok("ask", "Hello")


@pytest.mark.skipif(os.name != "posix", reason="POSIX owners and modes")
def test_a_refused_copy_of_a_plugin_is_found_and_the_copy_in_use_is_not_called_off(session, tmp_path):
    manifest = PluginHost(PluginsConfig(), paths=session.paths, env={}).find("minimax-portal-auth").source
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(manifest, copy)
    copy.chmod(0o777)
    session.ok("config", "set", "plugins.load.paths", json.dumps([str(copy)]))
    assert [each["id"] for each in report(session)["findings"]] == ["plugin-not-yours"]


def test_a_keyring_that_cannot_be_reached_is_named(minimax, tmp_path):
    session = minimax()
    away = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/nowhere", "PORTICO_PASSPHRASE": None}

    found = first(session, env=away)

    assert found["level"] == "error"
    assert "keyring" in f"{found['message']} {found['why']}".lower()
    assert "--store file" in found["hint"]


def test_with_the_encrypted_file_in_the_config_no_keyring_is_missed(minimax, tmp_path):
    session = minimax()
    session.ok("config", "set", "auth.store", "file")
    away = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/nowhere", **sealed_store(), "OPENAI_API_KEY": "sk-any"}

    assert report(session, env=away)["findings"] == []


def test_deleted_tokens_are_found(session, secret_service):
    for item in secret_service.items():
        if item.attributes.get("username", "").startswith(GLOBAL):
            keyring.delete_password("portico", item.attributes["username"])

    found = first(session)

    assert (found["id"], GLOBAL in found["message"]) == ("record-damaged", True)
    as_advised(session, {"hint": f"{found['hint']} --non-interactive --no-background"})
    assert report(session)["findings"] == []


def test_an_ended_sign_in_is_found(session):
    ended = Failure(
        at=1, id="sign-in-expired", message="The provider refused the refresh token.", terminal=True, code="invalid_grant"
    )
    ProfileIndex(session.paths).update(GLOBAL, lambda one: replace(one, failure=ended))

    found = first(session)

    assert (found["id"], "refused the refresh token" in found["why"]) == ("sign-in-ended", True)
    as_advised(session, {"hint": f"{found['hint']} --non-interactive --no-background"})
    assert report(session)["findings"] == []


def test_a_clock_that_is_wrong_is_measured_against_the_providers(session, monkeypatch):
    true = SystemClock.wall_ms

    def wall_ms(self):
        return true(self) if threading.current_thread().name == "emulation" else 4_000_000_000_000

    monkeypatch.setattr(SystemClock, "wall_ms", wall_ms)

    value = report(session)

    assert "clock-skew" in [each["id"] for each in value["findings"]]
    found = next(each for each in value["findings"] if each["id"] == "clock-skew")
    assert "ahead of the providers' servers" in found["message"]


def test_a_proxy_that_does_not_answer_is_named(session, unused_tcp_port):
    away = {"HTTPS_PROXY": f"http://127.0.0.1:{unused_tcp_port}", "https_proxy": f"http://127.0.0.1:{unused_tcp_port}"}

    found = first(session, env=away)

    assert (found["level"], "cannot be reached" in found["message"]) == ("error", True)
    assert "proxy" in f"{found['message']} {found['why']} {found['hint']}".lower()
    assert report(session)["findings"] == []


@pytest.mark.requirement("E112")
def test_a_malformed_proxy_is_named_by_its_variable_even_when_signed_out(newcomer):
    away = {"HTTPS_PROXY": None, "https_proxy": "http://me:hunter2@proxy.example:notaport"}

    value = report(newcomer, env=away)

    (found,) = [each for each in value["findings"] if each["id"] == "proxy-unusable"]
    assert (found["level"], "https_proxy" in found["message"], "port" in found["why"]) == ("error", True, True)
    assert "hunter2" not in json.dumps(value)


@pytest.mark.requirement("E112")
def test_a_malformed_proxy_is_named_once_when_signed_in(session):
    found = report(session, env={"HTTPS_PROXY": "http://[::1", "https_proxy": None})["findings"]
    assert [each["id"] for each in found].count("proxy-unusable") == 1


def test_a_certificate_that_is_not_trusted_is_named(session, tmp_path):
    (tmp_path / "empty.pem").write_text("")

    found = first(session, env={"SSL_CERT_FILE": str(tmp_path / "empty.pem")})

    assert "certificate" in f"{found['message']} {found['why']}"


def test_a_key_of_the_other_region_is_found_with_both_causes(newcomer):
    session = newcomer
    env = {"MINIMAX_API_KEY": "sk-emulator-cn"}

    found = first(session, env=env)

    assert (found["id"], "other region" in found["hint"]) == ("credential-refused", True)
    assert report(session, env={"MINIMAX_API_KEY": "sk-emulator-global"})["findings"] == []


def test_a_port_that_another_program_has_is_named(session):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        session.ok("config", "set", "gateway.port", str(other.getsockname()[1]))

        found = first(session, env={"PORTICO_GATEWAY_PORT": None})

        assert (found["id"], str(other.getsockname()[1]) in found["message"]) == ("port-taken", True)
    assert report(session)["findings"] == []


def test_an_account_without_a_plan_gets_the_address_to_subscribe(minimax):
    session = minimax(knobs={"quota": "none"})
    session.sign_in(*ACCOUNT)

    found = first(session)

    assert (found["id"], found["level"]) == ("no-plan", "warning")
    assert found["hint"] == "Subscribe: https://platform.minimax.io/console/plan"


def test_a_check_that_hangs_is_cut_off_and_named_and_a_broken_one_stops_no_other(session):
    import threading

    from portico.app import App
    from portico.doctor.examination import CHECKS, Check, examine

    hangs, breaks = (
        Check("hangs", "what hangs", lambda _: threading.Event().wait()),
        Check("breaks", "what breaks", lambda _: 1 / 0),
    )
    env = session.run_portico.environment(session.env)

    results = examine(App("portico", env=env), checks=(hangs, breaks, CHECKS[0]), longest_s=0.3)

    assert [[finding.id for finding in result.findings] for result in results[:3]] == [["check-late"], ["check-failed"], []]
    assert "0.3 s" in results[0].findings[0].message


@pytest.mark.requirement("E48")
def test_a_bundle_is_its_owners_alone_and_holds_no_secret(session, tmp_path):
    session.sign_in("--region", "cn")
    session.ok("config", "set", "env.SOME_KEY", canary("key"))
    exempt(session.paths.config)
    place = tmp_path / "report.tar.gz"

    tmp_path.chmod(0o755)

    session.run("doctor", "--bundle", str(place))
    nowhere = session.run("doctor", "--bundle", str(tmp_path / "no" / "report.tar.gz"))

    assert (tmp_path.stat().st_mode & 0o777, nowhere.returncode) == (0o755, 7)

    assert place.stat().st_mode & 0o777 == 0o600
    with tarfile.open(place) as archive:
        texts = {member.name: archive.extractfile(member).read().decode() for member in archive.getmembers()}
    assert set(texts) == {f"portico-report/{name}" for name in ("findings.json", "versions.json", "sign-ins.json", "gateway.log")}
    assert [each["health"] for each in json.loads(texts["portico-report/sign-ins.json"])] == ["ok", "ok"]
    assert in_text("".join(texts.values())) == []
    assert CN not in texts["portico-report/sign-ins.json"]


@pytest.mark.requirement("E136")
def test_an_account_whose_access_token_has_no_known_end_needs_no_refresh_token(session):
    ProfileIndex(session.paths).update(GLOBAL, lambda profile: replace(profile, has_refresh=False, expires_at=None))

    assert report(session)["findings"] == []


@pytest.mark.requirement("E136")
def test_an_account_without_a_refresh_token_is_a_warning_until_a_sign_in_brings_one(session):
    ProfileIndex(session.paths).update(GLOBAL, lambda profile: replace(profile, has_refresh=False))
    found = first(session)

    assert (found["id"], found["level"]) == ("no-refresh-token", "warning")
    assert found["message"] == f"{GLOBAL}: the provider sent no refresh token."
    assert "offline_access" in found["why"]
    assert found["hint"].endswith(f"--profile {GLOBAL} --replace")
    session.sign_in(*ACCOUNT, "--replace")
    assert report(session)["findings"] == []
