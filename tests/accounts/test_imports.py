"""`auth import` with the emulator: each tool, the region, one owner of the tokens, and no lost tokens."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

import pytest

from portico.accounts import imports
from portico.paths import STATE_ENV, resolve_paths
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.vault import Vault
from portico.testing.canary import canary, in_text
from tests.auth.importers.samples import (
    GLOBAL_API,
    SHARED,
    TOOLS,
    Sample,
    agents_database,
    openclaw_database,
    profiles_in,
    retire,
    stored,
)
from tests.minimax_session import CN, GLOBAL, any_store, events, in_this_process
from tests.minimax_session import SIGN_IN as ONBOARD
from tests.store.helpers import a_profile, some_tokens

FAMILY = {
    "openclaw": ("78257093-7e40-4613-99e0-527b14b39113", "minimax-user-code"),
    "mmx": ("659cf4c1-615c-45f6-a5f6-4bf15eb476e5", "minimax-user-code-8628"),
    "hermes": ("78257093-7e40-4613-99e0-527b14b39113", "minimax-user-code"),
    "opencode": ("d38bdbee-2b8c-4c74-9a9c-5875fabe6317", "minimax-user-code-8628"),
}
OTHER_REGION = {
    "openclaw": {"base": "https://api.minimaxi.com/anthropic"},
    "mmx": {"entry": {"region": "cn", "resource_url": "https://api.minimax.cn"}},
    "hermes": {"entry": {"region": "cn", "portal_base_url": "https://api.minimaxi.com", "inference_base_url": ""}},
}
FOREIGN = {
    "openclaw": {"base": "https://api.evil.example/anthropic"},
    "mmx": {"entry": {"resource_url": "https://api.minimax.io.evil.example"}},
    "hermes": {"entry": {"portal_base_url": "https://evil.example"}},
    "opencode": {"entry": {"enterpriseUrl": "http://api.minimax.io/anthropic"}},
}


class Desk:
    """Commands in one home folder, with a store that works on this machine."""

    def __init__(self, run_portico, home, request) -> None:
        self.run_portico = run_portico
        self.home = home
        self.env, options = any_store(request)
        self.env |= {"HOME": str(home), "XDG_DATA_HOME": None}
        self.options = options

    def run(self, *args, **env):
        return in_this_process(args, self.run_portico.environment({**self.env, **env}))

    def imported(self, *args, **env):
        return self.run("auth", "import", "--yes", *self.options, *args, **env)

    def vault(self):
        paths, store = self.run_portico.paths, self.options[1] if self.options else None
        env = self.run_portico.environment(self.env)
        return Vault(paths, ProfileIndex(paths), store=store, passphrase=PassphraseSource(self.env), env=env)


@pytest.fixture
def desk(run_portico, tmp_path, request):
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return Desk(run_portico, home, request)


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tools_sign_in_becomes_a_profile_of_its_own_client_and_its_file_stays(desk, tool):
    sample = Sample(tool)
    path = sample.write(desk.home)
    before = path.read_bytes()

    result = desk.imported("--json")

    assert result.returncode == 0, result.stderr
    (value,) = json.loads(result.stdout)["imported"]
    assert (value["from"], value["profile"], value["region"], value["source"]) == (tool, GLOBAL, "global", "kept")
    assert (value["apiBase"], value["hasRefresh"]) == (GLOBAL_API, True)
    profile = ProfileIndex(desk.run_portico.paths).get(GLOBAL)
    assert (profile.client_id, profile.dialect) == FAMILY[tool]
    assert profile.issuer == "https://account.minimax.io"
    assert not profile.config_pending
    tokens = desk.vault().read(GLOBAL)
    assert (tokens.access.reveal(), tokens.refresh.reveal()) == (sample.access, sample.refresh)
    assert path.read_bytes() == before
    assert "only one tool can refresh an account" in result.stderr
    assert str(path) in result.stderr
    assert in_text(result.stdout + result.stderr) == []
    assert desk.run("models", "list", "--plain").stdout.split() == [
        "minimax-portal/MiniMax-M2.1",
        "minimax-portal/MiniMax-M2.1-lightning",
    ]


@pytest.mark.parametrize("tool", OTHER_REGION)
def test_the_region_comes_from_the_file(desk, tool):
    Sample(tool).write(desk.home, **OTHER_REGION[tool])

    result = desk.imported("--from", tool)

    assert result.returncode == 0, result.stderr
    profile = ProfileIndex(desk.run_portico.paths).get(CN)
    assert (profile.region, profile.issuer) == ("cn", "https://account.minimaxi.com")
    wrong = desk.imported("--from", tool, "--region", "global", "--profile", "other")
    assert wrong.returncode == 2


@pytest.mark.parametrize("tool", FOREIGN)
def test_a_sign_in_at_another_host_is_refused(desk, tool):
    sample = Sample(tool)
    path = sample.write(desk.home, **FOREIGN[tool])

    result = desk.imported("--remove-source")

    assert result.returncode == 9
    assert "nothing was stored" in result.stderr
    assert ProfileIndex(desk.run_portico.paths).profiles() == ()
    assert sample.refresh in path.read_text(encoding="utf-8")


def test_an_unknown_client_is_refused(desk):
    Sample("hermes").write(desk.home, entry={"client_id": "00000000-0000-0000-0000-000000000000"})

    result = desk.imported()

    assert result.returncode == 9
    assert "client id" in result.stderr


def test_without_a_region_in_the_file_the_option_is_required(desk):
    path = Sample("openclaw").write(desk.home)
    moved = path.rename(desk.home / "auth-profiles.json")
    from portico.testing.canary import exempt

    exempt(moved)
    options = ("--from", "openclaw", "--path", str(moved))

    asked = desk.imported(*options)
    assert asked.returncode == 2
    assert "--region" in asked.stderr
    assert ProfileIndex(desk.run_portico.paths).profiles() == ()
    assert desk.imported(*options, "--region", "cn").returncode == 0
    assert ProfileIndex(desk.run_portico.paths).get(CN).region == "cn"


def test_a_dry_run_changes_nothing(desk):
    path = Sample("mmx").write(desk.home)
    before = path.read_bytes()

    result = desk.run("auth", "import", "--dry-run")
    as_json = json.loads(desk.run("auth", "import", "--dry-run", "--json").stdout)

    assert result.returncode == 0
    assert f"Would import: mmx's account in {path}, as {GLOBAL}" in result.stderr
    assert as_json["dryRun"] is True
    assert as_json["found"][0]["profile"] == GLOBAL
    assert not desk.run_portico.paths.config.exists()
    assert not desk.run_portico.paths.index.exists()
    assert path.read_bytes() == before


def test_without_a_terminal_yes_is_needed_and_removal_is_never_assumed(desk):
    path = Sample("mmx").write(desk.home)
    before = path.read_bytes()

    result = desk.run("auth", "import")

    assert result.returncode == 2
    assert "--yes" in result.stderr
    assert ProfileIndex(desk.run_portico.paths).profiles() == ()
    assert path.read_bytes() == before


@pytest.mark.parametrize("tool", TOOLS)
def test_remove_source_leaves_one_copy(desk, tool):
    sample = Sample(tool)
    path = sample.write(desk.home)

    result = desk.imported("--remove-source", "--json")

    assert json.loads(result.stdout)["imported"][0]["source"] == "removed"
    left = path.read_text(encoding="utf-8")
    assert sample.refresh not in left
    assert sample.access not in left
    assert path.stat().st_mode & 0o777 == 0o600
    assert desk.vault().read(GLOBAL).refresh.reveal() == sample.refresh
    again = desk.imported("--from", tool)
    assert again.returncode == 3
    assert str(path) in again.stderr


def test_the_same_tokens_are_not_imported_twice_and_another_account_is_never_replaced(desk):
    first = Sample("mmx")
    first.write(desk.home)
    assert desk.imported().returncode == 0
    generation = ProfileIndex(desk.run_portico.paths).get(GLOBAL).generation

    again = desk.imported("--json")
    under_another_name = desk.imported("--profile", "second")
    Sample("mmx").write(desk.home)
    another = desk.imported()

    assert json.loads(again.stdout)["imported"][0]["present"] is True
    assert under_another_name.returncode == 2
    assert GLOBAL in under_another_name.stderr
    assert another.returncode == 2
    assert "--profile NAME" in another.stderr
    assert ProfileIndex(desk.run_portico.paths).get(GLOBAL).generation == generation
    assert desk.vault().read(GLOBAL).refresh.reveal() == first.refresh
    assert desk.imported("--profile", "second").returncode == 0
    assert [profile.id for profile in ProfileIndex(desk.run_portico.paths).profiles()] == [GLOBAL, "minimax-portal:second"]


@pytest.mark.requirement("E86")
def test_an_account_stored_after_the_check_is_not_overwritten(desk, monkeypatch):
    Sample("mmx").write(desk.home)
    keep, stored = imports.keep, some_tokens()

    def after_another(*args, **how):
        desk.vault().commit(a_profile(GLOBAL), stored)
        return keep(*args, **how)

    monkeypatch.setattr(imports, "keep", after_another)
    result = desk.imported("--remove-source")

    assert result.returncode == 2
    assert f"{GLOBAL} is already signed in" in result.stderr
    assert desk.vault().read(GLOBAL).access == stored.access
    assert desk.run("auth", "import", "--dry-run", "--profile", "other").returncode == 0  # the tool's copy is unchanged


def test_several_tools_require_a_choice(desk):
    Sample("mmx").write(desk.home)
    Sample("opencode").write(desk.home)

    assert "--from {mmx,opencode}" in desk.imported().stderr
    assert desk.imported("--from", "opencode").returncode == 0


def test_an_expired_access_token_without_a_refresh_token_is_refused(desk):
    Sample("mmx", expires_ms=int(time.time() * 1000) - 1000).write(desk.home, entry={"refresh_token": ""})

    result = desk.imported()

    assert result.returncode == 9
    assert "has ended" in result.stderr


def test_without_a_sign_in_the_searched_places_are_printed_with_exit_code_3(desk):
    result = desk.imported()

    assert result.returncode == 3
    for place in (".openclaw", ".mmx/config.json", ".hermes/auth.json", "opencode/auth.json"):
        assert place in result.stderr


def test_minimax_code_gets_a_warning_and_is_left_alone(desk):
    store = desk.home / ".minimax/auth/prod/cn/mcode-public/auth.json"
    store.parent.mkdir(parents=True)
    store.write_text("{}", encoding="utf-8")
    Sample("mmx").write(desk.home)

    result = desk.imported("--json")

    assert str(store) in json.loads(result.stdout)["warnings"][0]
    assert store.read_text(encoding="utf-8") == "{}"


def test_after_a_store_failure_the_other_tools_copy_stays(desk):
    sample = Sample("mmx")
    path = sample.write(desk.home)

    result = desk.imported("--remove-source", "--store", "keyring", PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")

    assert result.returncode == 7
    assert sample.refresh in path.read_text(encoding="utf-8")


def test_an_imported_account_is_refreshed_with_its_own_client_id(minimax, tmp_path):
    session = minimax(access_ttl_s=1)
    session.env["HOME"] = str(tmp_path / "home")
    theirs = {STATE_ENV: str(tmp_path / "theirs"), "PORTICO_CONFIG": str(tmp_path / "theirs.json5")}
    (tmp_path / "theirs.json5").write_text(session.info.config.read_text(encoding="utf-8"), encoding="utf-8")
    place = "plugins.entries.minimax-portal-auth.config.portals.global.clientId"
    session.ok("config", "set", place, FAMILY["mmx"][0], env=theirs)
    events(session.ok(*ONBOARD, "--json", "--flow", "browser", "--region", "global", *session.store, env=theirs))
    paths = resolve_paths(env=theirs)
    tokens = Vault(
        paths, ProfileIndex(paths), passphrase=PassphraseSource(session.env), env=session.run_portico.environment(session.env)
    ).read(GLOBAL)
    sample = Sample("mmx", tokens.access.reveal(), tokens.refresh.reveal(), tokens.expires_at)
    sample.write(tmp_path / "home")

    session.ok("auth", "import", "--yes", "--remove-source", *session.store)
    first = session.profiles()[0]
    deadline = time.monotonic() + 20
    while session.profiles()[0]["generation"] == first["generation"]:
        assert time.monotonic() < deadline
        session.ok("auth", "token")

    assert session.profiles()[0]["clientId"] == FAMILY["mmx"][0]


def test_several_sign_ins_in_one_file_get_different_stable_names(desk):
    sample = Sample("hermes")
    more = [sample.pooled("manual:minimax_oauth", canary("at"), canary("rt"), id=f"id{number}") for number in range(3)]
    sample.write(desk.home, entry={"access_token": ""}, pool=more)
    names = [GLOBAL, "minimax-portal:hermes-2", "minimax-portal:hermes-3"]

    result = desk.imported("--json")

    assert result.returncode == 0, result.stderr
    assert [each["profile"] for each in json.loads(result.stdout)["imported"]] == names
    assert desk.vault().read(names[2]).access.reveal() == more[2]["access_token"]

    path = sample.write(desk.home, entry={"access_token": ""}, pool=[more[0], more[2]])
    again = desk.imported("--json", "--remove-source")
    assert again.returncode == 0, again.stderr
    seen = [(each["profile"], each["present"], each["source"]) for each in json.loads(again.stdout)["imported"]]
    assert seen == [(names[0], True, "removed"), (names[2], True, "removed")]
    assert [each["source"] for each in json.loads(path.read_text(encoding="utf-8"))["credential_pool"]["minimax-oauth"]] == [
        "oauth"
    ]


def test_a_name_gets_its_provider_and_odd_characters_are_refused(desk):
    Sample("mmx").write(desk.home)
    refused = desk.imported("--profile", "my plan")
    assert refused.returncode == 2
    assert "Invalid account name" in refused.stderr

    result = desk.imported("--json", "--profile", "work")
    assert [each["profile"] for each in json.loads(result.stdout)["imported"]] == ["minimax-portal:work"]


def openclaw_at(desk, profiles, *places):
    """Write OpenClaw's databases with these sign-ins, and its config."""
    Sample("openclaw").write_config(desk.home)
    return [openclaw_database(desk.home / place, profiles) for place in places]


@pytest.mark.requirement("E106")
@pytest.mark.parametrize("place", [SHARED, agents_database("main"), agents_database("work")])
def test_openclaws_sign_in_is_found_in_and_removed_from_each_database(desk, place):
    sample = Sample("openclaw")
    (path,) = openclaw_at(desk, sample.profiles(), place)

    result = desk.imported("--remove-source", "--json")

    assert result.returncode == 0, result.stderr
    (value,) = json.loads(result.stdout)["imported"]
    assert (value["file"], value["profile"], value["source"], value["copies"]) == (str(path), GLOBAL, "removed", [])
    assert desk.vault().read(GLOBAL).refresh.reveal() == sample.refresh
    assert list(profiles_in(path)) == ["anthropic:default"]
    assert in_text(result.stdout + result.stderr) == []


@pytest.mark.requirement("E106")
def test_copies_in_several_databases_count_as_one_and_all_are_removed(desk):
    old, sample, other = Sample("openclaw"), Sample("openclaw"), Sample("openclaw")
    places = openclaw_at(desk, sample.profiles(), SHARED, agents_database("main"))
    before_its_refresh = {"minimax-portal:default": old.profile(refresh=sample.refresh, expires=sample.expires_ms - 1000)}
    places += openclaw_at(desk, before_its_refresh, agents_database("a"))
    (apart,) = openclaw_at(desk, {"minimax-portal:default": other.profile()}, agents_database("work"))

    dry = desk.run("auth", "import", "--dry-run")
    result = desk.imported("--remove-source", "--json")

    assert all(str(place) in dry.stderr for place in places)
    first, second = json.loads(result.stdout)["imported"]
    assert [first["file"], *first["copies"]] == [str(place) for place in places]
    assert (second["file"], second["copies"]) == (str(apart), [])
    assert desk.vault().read(first["profile"]).access.reveal() == sample.access
    assert desk.vault().read(second["profile"]).access.reveal() == other.access
    for place in (*places, apart):
        assert "minimax-portal:default" not in profiles_in(place)


@pytest.mark.requirement("E106")
def test_a_possibly_spent_older_copy_is_named_and_skipped_unless_requested(desk):
    hour = 3_600_000
    now = int(time.time() * 1000)
    main, copy, apart = Sample("openclaw", expires_ms=now + hour), Sample("openclaw", expires_ms=now - hour), Sample("openclaw")
    openclaw_at(desk, main.profiles(), SHARED)
    (path,) = openclaw_at(desk, copy.profiles(), agents_database("work"))
    openclaw_at(desk, {"minimax-portal:other": apart.profile(expires=now - hour)}, agents_database("other"))

    result = desk.imported("--json", "--remove-source")

    answer = json.loads(result.stdout)
    assert answer["older"] == [{"from": "openclaw", "file": str(path), "expiresAt": now - hour}]
    assert [desk.vault().read(each["profile"]).access.reveal() for each in answer["imported"]] == [main.access, apart.access]
    assert f"Older: {path} (its access token expired 1h ago" in result.stderr
    assert "minimax-portal:default" in profiles_in(path)
    asked = desk.imported("--from", "openclaw", "--path", str(path), "--profile", "work", "--json")
    assert asked.returncode == 0, asked.stderr
    assert desk.vault().read("minimax-portal:work").access.reveal() == copy.access


HOUR_MS = 3_600_000


@pytest.mark.requirement("E106")
@pytest.mark.parametrize(
    ("ends", "newer_ends", "words"),
    [
        (240_000, 24 * HOUR_MS, "expires in "),
        (None, HOUR_MS, "has no known expiry"),
        (None, None, "has no known expiry"),
    ],
    ids=["ends earlier", "end unknown", "both unknown"],
)
def test_an_older_copy_with_a_valid_access_token_is_skipped_too(desk, ends, newer_ends, words):
    now = int(time.time() * 1000)
    main, copy = Sample("openclaw"), Sample("openclaw")
    entry = main.profile(expires=now + newer_ends if newer_ends else "soon")
    openclaw_at(desk, {"minimax-portal:global": entry}, agents_database("main"))
    entry = copy.profile(expires=now + ends if ends else "soon")
    (path,) = openclaw_at(desk, {"minimax-portal:global": entry}, agents_database("work"))

    result = desk.imported("--json", "--remove-source")

    answer = json.loads(result.stdout)
    assert [desk.vault().read(each["profile"]).access.reveal() for each in answer["imported"]] == [main.access]
    assert [each["file"] for each in answer["older"]] == [str(path)]
    assert f"Older: {path} (its access token {words}" in result.stderr
    assert profiles_in(path)["minimax-portal:global"]["refresh"] == copy.refresh
    asked = desk.imported("--from", "openclaw", "--path", str(path), "--profile", "work", "--json")
    assert asked.returncode == 0, asked.stderr
    assert desk.vault().read("minimax-portal:work").access.reveal() == copy.access


@pytest.mark.requirement("E106")
@pytest.mark.parametrize("same_refresh", [False, True], ids=["another sign-in", "a copy"])
def test_an_unknown_expiry_is_newer_than_an_expired_token(same_refresh, desk):
    now = int(time.time() * 1000)
    main, ended = Sample("openclaw"), Sample("openclaw")
    (taken,) = openclaw_at(desk, {"minimax-portal:default": main.profile(expires="soon")}, SHARED)
    refresh = {"refresh": main.refresh} if same_refresh else {}
    entry = ended.profile(expires=now - 400 * 24 * HOUR_MS, **refresh)
    (path,) = openclaw_at(desk, {"minimax-portal:default": entry}, agents_database("work"))

    result = desk.imported("--json")

    answer = json.loads(result.stdout)
    assert [(each["file"], each["copies"]) for each in answer["imported"]] == [(str(taken), [str(path)] if same_refresh else [])]
    assert [each["file"] for each in answer["older"]] == ([] if same_refresh else [str(path)])
    assert desk.vault().read(GLOBAL).access.reveal() == main.access


@pytest.mark.requirement("E106")
def test_an_older_copy_in_another_table_is_skipped_too(desk):
    now = int(time.time() * 1000)
    main, copy = Sample("openclaw", expires_ms=now + 2 * HOUR_MS), Sample("openclaw", expires_ms=now + HOUR_MS)
    (path,) = openclaw_at(desk, main.profiles(), SHARED)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE auth_profile_stores (store_key TEXT PRIMARY KEY, store_json TEXT, updated_at INTEGER)")
        connection.execute("INSERT INTO auth_profile_stores VALUES ('shared', ?, 1)", (stored(copy.profiles()),))

    result = desk.imported("--json")

    answer = json.loads(result.stdout)
    assert [desk.vault().read(each["profile"]).access.reveal() for each in answer["imported"]] == [main.access]
    assert [each["file"] for each in answer["older"]] == [str(path)]
    assert "; a newer account of the same name was found, so this may be a copy whose refresh" in result.stderr
    assert "longer works). This copy is not imported.\n" in result.stderr
    assert "another file" not in result.stderr
    assert "--path" not in result.stderr


@pytest.mark.requirement("E106")
def test_an_unreadable_database_is_named_and_the_others_are_used(desk):
    sample = Sample("openclaw")
    (bad, good) = openclaw_at(desk, sample.profiles(), SHARED, agents_database("work"))
    bad.write_bytes(bad.read_bytes()[:100] + b"\xff" * 5000)
    config = desk.home / ".openclaw/openclaw.json"
    settings = json.loads(config.read_text(encoding="utf-8")) | {"agents": {"list": [{"id": "a", "agentDir": "x" * 300}]}}
    config.write_text(json.dumps(settings), encoding="utf-8")

    result = desk.imported("--json")
    dry = desk.run("auth", "import", "--dry-run", "--json")
    named = desk.imported("--from", "openclaw", "--path", str(bad))

    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert [each["file"] for each in answer["imported"]] == [str(good)]
    first = answer["unreadable"][0]
    assert (first["from"], first["file"]) == ("openclaw", str(bad))
    assert "it is damaged" in first["why"]
    assert json.loads(dry.stdout)["unreadable"] == answer["unreadable"]
    assert f"Could not read {bad} (SQLite cannot use openclaw.sqlite" in result.stderr
    assert result.stderr.count("may have a newer account of the same name") == len(answer["unreadable"])
    assert (named.returncode, "import-unreadable" in named.stderr) == (9, True)


def damage(path):
    """Damage a database so that SQLite refuses it."""
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 5000)


@pytest.mark.requirement("E106")
def test_beside_an_unreadable_database_an_expired_token_is_skipped(desk):
    now = int(time.time() * 1000)
    main, copy = Sample("openclaw"), Sample("openclaw")
    (bad,) = openclaw_at(desk, main.profiles(), agents_database("main"))
    (path,) = openclaw_at(desk, {"minimax-portal:default": copy.profile(expires=now - HOUR_MS)}, agents_database("work"))
    damage(bad)

    result = desk.imported("--from", "openclaw")

    assert (result.returncode, "import-unreadable" in result.stderr, str(bad) in result.stderr) == (9, True, True)
    assert f"the access token in {path} has expired, and the unreadable file may have a newer sign-in" in result.stderr
    assert ProfileIndex(desk.run_portico.paths).profiles() == ()
    command = f"auth import --from openclaw --path {path}"
    assert command in result.stderr
    asked = desk.imported(*command.split()[2:])
    assert asked.returncode == 0, asked.stderr
    assert desk.vault().read(GLOBAL).access.reveal() == copy.access


@pytest.mark.requirement("E106")
def test_beside_an_unreadable_database_a_valid_token_is_imported(desk):
    now = int(time.time() * 1000)
    good, ended = Sample("openclaw"), Sample("openclaw")
    (bad,) = openclaw_at(desk, good.profiles(), agents_database("main"))
    (taken,) = openclaw_at(desk, good.profiles(), SHARED)
    (path,) = openclaw_at(desk, {"minimax-portal:cn": ended.profile(expires=now - HOUR_MS)}, agents_database("work"))
    damage(bad)
    Sample("mmx").write(desk.home)

    result = desk.imported("--json", "--from", "openclaw")

    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert [each["file"] for each in answer["imported"]] == [str(taken)]
    assert answer["ended"] == [{"from": "openclaw", "file": str(path), "expiresAt": now - HOUR_MS}]
    assert (
        f"Ended: {path} (its access token expired 1h ago; a file that could not be read may have a newer account). "
        "This account is not imported. "
    ) in result.stderr


@pytest.mark.requirement("E106")
def test_another_tools_unreadable_file_is_named_and_does_not_affect_this_tool(desk):
    ended = Sample("openclaw", expires_ms=int(time.time() * 1000) - HOUR_MS)
    (path,) = openclaw_at(desk, ended.profiles(), SHARED)
    other = Sample("mmx").write(desk.home)
    other.write_text("{not json", encoding="utf-8")

    result = desk.imported("--json")

    assert result.returncode == 0, result.stderr
    assert f"Could not read {other} (it is not JSON" in result.stderr
    assert "It may have an account of" in result.stderr
    assert "newer account" not in result.stderr
    assert [each["file"] for each in json.loads(result.stdout)["imported"]] == [str(path)]


@pytest.mark.requirement("E106")
def test_a_file_beside_an_unreadable_database_may_be_retired_and_is_skipped(desk):
    path = retire(Sample("openclaw").write(desk.home))
    (bad,) = openclaw_at(desk, Sample("openclaw").profiles(), agents_database("main"))
    bad.write_bytes(bad.read_bytes()[:100] + b"\xff" * 5000)
    Sample("mmx").write(desk.home)

    alone = desk.imported("--from", "openclaw")
    result = desk.imported("--json")

    assert (alone.returncode, "import-unreadable" in alone.stderr) == (9, True)
    answer = json.loads(result.stdout)
    assert [each["from"] for each in answer["imported"]] == ["mmx"]
    assert [each["file"] for each in answer["unreadable"]] == [str(bad)]
    assert str(path) not in json.dumps(answer["imported"])


@pytest.mark.requirement("E106")
def test_a_tool_with_its_database_open_must_be_closed(desk, monkeypatch):
    from portico.auth.importers import source

    monkeypatch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
    (path,) = openclaw_at(desk, Sample("openclaw").profiles(), SHARED)
    with closing(sqlite3.connect(path, isolation_level=None)) as tool:
        tool.execute("BEGIN")
        tool.execute("SELECT * FROM config_machine_state").fetchall()

        result = desk.imported("--json", "--remove-source")

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["imported"][0]["source"] == "not-erased"
    assert "The old tokens stay readable in it until you quit OpenClaw." in result.stderr


@pytest.mark.parametrize("path", ["~no-such-user-here/auth.json", "x" * 300, "a/\ud800"], ids=["no home", "long", "no name"])
def test_an_impossible_path_is_named_without_a_traceback(desk, path):
    result = desk.imported("--from", "mmx", "--path", path)
    assert result.returncode == 9
    assert "File not found" in result.stderr


def test_an_unknown_region_text_is_not_shown(desk):
    Sample("mmx").write(desk.home, entry={"region": "rt_secret12"})

    result = desk.imported()

    assert result.returncode == 9
    assert "its region is none of" in result.stderr
    assert "rt_secret12" not in result.stderr


@pytest.mark.requirement("E106")
def test_an_older_copy_in_the_files_of_an_earlier_openclaw_is_skipped_too(desk):
    now = int(time.time() * 1000)
    main, copy = Sample("openclaw", expires_ms=now + 3_600_000), Sample("openclaw", expires_ms=now - 3_600_000)
    path = copy.write(desk.home)
    other = path.parents[2] / "work/agent/auth-profiles.json"
    other.parent.mkdir(parents=True)
    from portico.testing.canary import exempt

    path.rename(exempt(other))
    main.write(desk.home)

    answer = json.loads(desk.imported("--json").stdout)

    assert [each["file"] for each in answer["imported"]] == [str(path)]
    assert [each["file"] for each in answer["older"]] == [str(other)]


@pytest.mark.requirement("E106")
def test_beside_a_database_an_old_file_is_named_as_retired_and_skipped(desk):
    old, sample = Sample("openclaw"), Sample("openclaw")
    path = retire(old.write(desk.home), days=90)
    (database,) = openclaw_at(desk, sample.profiles(), SHARED)
    before = path.read_bytes()

    result = desk.imported("--json")
    dry = desk.run("auth", "import", "--dry-run", "--json")

    answer = json.loads(result.stdout)
    assert [each["file"] for each in answer["imported"]] == [str(database)]
    (named,) = answer["retired"]
    assert (named["from"], named["file"], named["database"]) == ("openclaw", str(path), str(database))
    assert named["writtenAt"].endswith("Z")
    assert json.loads(dry.stdout)["retired"] == answer["retired"]
    assert f"Retired: {path} (OpenClaw reads {database} instead; last written 90d ago)" in result.stderr
    assert desk.vault().read(GLOBAL).access.reveal() == sample.access
    assert path.read_bytes() == before


@pytest.mark.requirement("E106")
@pytest.mark.parametrize("place", [SHARED, agents_database("main"), agents_database("work")])
@pytest.mark.parametrize("profiles", [None, {}], ids=["no row", "no sign-in"])
def test_a_retired_file_is_skipped_even_if_the_database_is_empty(desk, place, profiles):
    path = retire(Sample("openclaw").write(desk.home))
    openclaw_at(desk, profiles, place)

    result = desk.imported()

    assert result.returncode == 3
    assert f"{path} (retired: OpenClaw reads" in result.stderr
    assert "openclaw doctor --fix" in result.stderr
    assert ProfileIndex(desk.run_portico.paths).profiles() == ()


@pytest.mark.requirement("E106")
def test_a_retired_file_is_refused_even_if_it_is_named(desk):
    path = retire(Sample("openclaw").write(desk.home))
    openclaw_at(desk, {}, SHARED)
    archive = path.with_name("auth-profiles.json.migrated-2026-11-28T19-48-15.277Z")
    from portico.testing.canary import exempt

    exempt(archive).write_bytes(path.read_bytes())

    for named in (path, archive):
        result = desk.imported("--from", "openclaw", "--path", str(named))
        assert result.returncode == 9
        assert f"OpenClaw no longer uses {named}" in result.stderr
    assert ProfileIndex(desk.run_portico.paths).profiles() == ()


@pytest.mark.requirement("E106")
def test_a_database_at_another_path_can_be_named(desk):
    sample = Sample("openclaw")
    backup = openclaw_database(desk.home / "backup/openclaw.sqlite", sample.profiles())

    result = desk.imported("--from", "openclaw", "--path", str(backup), "--region", "cn")

    assert result.returncode == 0, result.stderr
    assert desk.vault().read(CN).access.reveal() == sample.access


@pytest.mark.requirement("E94")
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("value", [0, -1, "0.5", 1e300, True, "soon"], ids=repr)
def test_an_unusable_expiry_is_stored_as_none(desk, tool, value):
    sample = Sample(tool)
    sample.write(desk.home, entry={"expires_at" if tool in {"mmx", "hermes"} else "expires": value, "scope": {"odd": True}})

    result = desk.imported("--json")

    assert result.returncode == 0, result.stderr
    (stored,) = json.loads(result.stdout)["imported"]
    assert stored["expiresAt"] is None
    tokens = desk.vault().read(GLOBAL)
    assert (tokens.access.reveal(), tokens.refresh.reveal(), tokens.expires_at) == (sample.access, sample.refresh, None)
