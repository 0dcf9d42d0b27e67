"""Taking over a sign-in that another tool keeps."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

from portico.auth.importers import source
from portico.plugins import discovery
from portico.testing.canary import canary, exempt
from tests.auth.importers.samples import SHARED, Sample, agents_database, openclaw_database, profiles_in, retire
from tests.minimax_session import GLOBAL
from tests.remedies.in_sign_in import BY_BROWSER
from tests.remedies.scenario import command_of, scenario

HOUR_MS = 3_600_000


class Home:
    """A home folder with other tools' files, and the commands that are typed there."""

    def __init__(self, desk):
        self.desk = desk
        self.session = desk.emulator()
        self.folder = self.session.paths.config.parent / "home"
        self.folder.mkdir(exist_ok=True)
        self.session.env |= {"HOME": str(self.folder), "XDG_DATA_HOME": None}
        self.words = ("auth", "import", "--yes", *self.session.store)

    def refused(self, *options):
        return self.desk.refused(*self.words, *options)

    def taken(self, *options):
        return self.desk.ok(*self.words, *options)

    def sign_in(self, hint):
        """Follow the hint's command to sign in."""
        command = hint[hint.index("portico onboard") :]
        self.desk.ok(*command_of(command), "--region", "global", *BY_BROWSER, *self.session.store)
        self.desk.ok("auth", "token")

    def openclaw(self, profiles, place=SHARED):
        Sample("openclaw").write_config(self.folder)
        return openclaw_database(self.folder / place, profiles)


@scenario("{}specify the file: --from {} --path FILE; or sign in instead: {prog} onboard --auth-choice minimax-portal")
def there_is_nothing_to_import(desk):
    home = Home(desk)
    hint = home.refused()["hint"]
    tools = hint.split("--from ")[1].split()[0].split("|")
    away = Sample("mmx").write(home.folder).rename(exempt(home.folder / "backup.json"))
    assert "mmx" in tools
    home.taken("--from", "mmx", "--path", str(away))
    desk.ok("auth", "logout", "--all", "--yes")
    home.sign_in(hint)


@scenario("{}specify the file: --from {} --path FILE; or sign in instead: {prog} onboard --auth-choice minimax-portal")
def there_is_only_a_file_that_the_tool_does_not_read_any_more(desk):
    home = Home(desk)
    sample = Sample("openclaw")
    retire(sample.write(home.folder))
    database = home.openclaw({})
    assert home.refused()["hint"].startswith(
        "let the tool migrate its old file (openclaw doctor --fix), then run this again; or "
    )
    database.unlink()
    home.openclaw(sample.profiles())  # what that command does
    home.taken()


@scenario("Nothing was changed. Sign in instead: {prog} onboard --auth-choice minimax-portal")
def a_file_that_cannot_be_read(desk):
    home = Home(desk)
    Sample("mmx").write(home.folder).write_text("{not json", encoding="utf-8")
    home.sign_in(home.refused()["hint"])


@scenario("sign in instead: {prog} onboard --auth-choice minimax-portal")
def a_sign_in_that_has_ended(desk):
    home = Home(desk)
    Sample("mmx", expires_ms=int(time.time() * 1000) - HOUR_MS).write(home.folder, entry={"refresh_token": ""})
    home.sign_in(home.refused()["hint"])


@scenario("sign in instead: {prog} onboard --auth-choice minimax-portal")
def a_sign_in_at_a_portal_of_somebody_elses(desk):
    home = Home(desk)
    Sample("hermes").write(home.folder, entry={"portal_base_url": "https://portal.example"})
    home.sign_in(home.refused()["hint"])


@scenario("take over what {} uses now: {prog} auth import --from {}")
def a_file_is_named_that_the_tool_does_not_read_any_more(desk):
    home = Home(desk)
    path = retire(Sample("openclaw").write(home.folder))
    home.openclaw(Sample("openclaw").profiles())
    hint = home.refused("--from", "openclaw", "--path", str(path))["hint"]
    desk.follow(hint, "--yes", *home.session.store)
    desk.ok("auth", "token")


@scenario(
    "if it is a separate account: {prog} auth import --from {} --path {}; or sign in instead: "
    "{prog} onboard --auth-choice minimax-portal"
)
def a_sign_in_has_ended_beside_a_database_that_cannot_be_read(desk):
    home = Home(desk)
    bad = home.openclaw(Sample("openclaw").profiles(), agents_database("main"))
    bad.write_bytes(bad.read_bytes()[:100] + b"\xff" * 5000)
    ended = Sample("openclaw").profile(expires=int(time.time() * 1000) - HOUR_MS)
    home.openclaw({"minimax-portal:default": ended}, agents_database("work"))
    hint = home.refused()["hint"]
    desk.follow(hint, "--yes", *home.session.store)
    desk.ok("auth", "logout", "--all", "--yes")
    home.sign_in(hint)


@scenario("Leave --profile out.")
def a_name_for_several_sign_ins(desk):
    home = Home(desk)
    sample = Sample("hermes")
    more = [sample.pooled("manual:minimax_oauth", canary("at"), canary("rt"), id=f"id{number}") for number in range(2)]
    sample.write(home.folder, entry={"access_token": ""}, pool=more)
    home.refused("--profile", "work")
    home.taken()


@scenario("Leave --profile out.")
def another_name_for_a_sign_in_that_is_stored_already(desk):
    home = Home(desk)
    Sample("mmx").write(home.folder)
    home.taken()
    home.refused("--profile", "work")
    home.taken()


@scenario("Keep both: --profile NAME; or sign out first: {prog} auth logout {}")
def an_import_under_the_name_of_another_account(desk):
    home = Home(desk)
    Sample("mmx").write(home.folder)
    home.taken()
    Sample("mmx").write(home.folder)
    hint = home.refused()["hint"]
    assert command_of(hint)[-1] == GLOBAL
    home.taken("--profile", "work")
    Sample("mmx").write(home.folder)
    desk.follow(home.refused()["hint"], "--yes")
    home.taken()


@scenario("End {} and run the command again.", "If it is not running, delete {}.")
def a_tool_that_holds_its_file_or_its_database(desk):
    home = Home(desk)
    path = Sample("openclaw").write(home.folder)
    lock = path.with_name("auth-profiles.json.lock")
    lock.mkdir()  # of a process that was killed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
        hint = home.refused("--remove-source")["hint"]
        assert hint.endswith(f" If it is not running, delete {lock}.")
        lock.rmdir()
        home.taken("--remove-source")
        assert "minimax-portal" not in path.read_text(encoding="utf-8")

        database = home.openclaw(Sample("openclaw").profiles())
        with closing(sqlite3.connect(database, isolation_level=None)) as tool:
            tool.execute("BEGIN IMMEDIATE")
            assert "delete" not in home.refused("--profile", "work", "--remove-source")["hint"]
        home.taken("--profile", "work", "--remove-source")
        assert list(profiles_in(database)) == ["anthropic:default"]


@scenario("Correct that and run the command again, or sign out in {}.")
def a_file_that_cannot_be_written(desk):
    home = Home(desk)
    path = Sample("mmx").write(home.folder)

    def full(*_args):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "write_temporary", full)
        home.refused("--remove-source")
    assert "oauth" in path.read_text(encoding="utf-8")
    home.taken("--remove-source")
    assert "oauth" not in path.read_text(encoding="utf-8")
    desk.ok("auth", "token")


@scenario("Reinstall Portico: its MiniMax plugin is missing.")
def an_installation_without_the_plugin(desk):
    home = Home(desk)
    Sample("mmx").write(home.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "bundled_folders", list)
        home.refused()
    home.taken()
