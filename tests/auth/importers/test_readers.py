"""Each tool's format, read: the documented file gives its sign-in, and everything else an error that names file and field."""

from __future__ import annotations

import json

import pytest

from portico.auth.importers.source import read_source
from portico.auth.importers.tools import IMPORTERS, minimax_code_stores
from portico.errors import ConfigError
from portico.testing.canary import canary, in_text
from tests.auth.importers.samples import EXPIRES_MS, TOOLS, Sample

BY_NAME = {importer.name: importer for importer in IMPORTERS}
CLIENTS = {
    "openclaw": "78257093-7e40-4613-99e0-527b14b39113",
    "mmx": "659cf4c1-615c-45f6-a5f6-4bf15eb476e5",
    "hermes": "78257093-7e40-4613-99e0-527b14b39113",
    "opencode": "d38bdbee-2b8c-4c74-9a9c-5875fabe6317",
}
# What OpenClaw 2026.2.6-3 itself wrote after a sign-in at its portal.
OF_OPENCLAW = """{
  "version": 1,
  "profiles": {
    "minimax-portal:default": {
      "type": "oauth",
      "provider": "minimax-portal",
      "access": "sample-access-token",
      "refresh": "sample-refresh-token",
      "expires": 1795416295019
    }
  }
}
"""


@pytest.mark.parametrize("tool", TOOLS)
def test_the_tools_own_file_gives_its_sign_in(tool, tmp_path):
    sample = Sample(tool)
    path = sample.write(tmp_path)
    assert path in BY_NAME[tool].default_paths({}, tmp_path)

    (credential,) = read_source(BY_NAME[tool], path)

    assert credential.access.reveal() == sample.access
    assert credential.refresh is not None
    assert credential.refresh.reveal() == sample.refresh
    assert credential.expires_at == EXPIRES_MS
    assert credential.client_id == CLIENTS[tool]
    assert credential.api_url is not None
    assert in_text(repr(credential)) == []


def test_what_openclaw_itself_wrote_is_read(tmp_path):
    path = tmp_path / "auth-profiles.json"
    path.write_text(OF_OPENCLAW, encoding="utf-8")

    (credential,) = read_source(BY_NAME["openclaw"], path)

    assert credential.access.reveal() == "sample-access-token"
    assert credential.expires_at == 1795416295019
    assert credential.region is None


@pytest.mark.parametrize("tool", TOOLS)
def test_a_file_without_a_sign_in_at_minimax_gives_none(tool, tmp_path):
    path = Sample(tool).write(tmp_path)
    path.write_text("{}", encoding="utf-8")

    assert read_source(BY_NAME[tool], path) == ()
    assert read_source(BY_NAME[tool], tmp_path / "nowhere.json") == ()


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'"x"', b"\xff\xfe{}", b'{"profiles":3,"oauth":[],"providers":"x","minimax-coding-plan":1}', b"[" * 9000],
)
def test_a_damaged_file_is_named_with_what_was_expected(tool, damage, tmp_path):
    path = Sample(tool).write(tmp_path)
    path.write_bytes(damage)

    with pytest.raises(ConfigError) as raised:
        read_source(BY_NAME[tool], path)

    assert raised.value.id == "import-unreadable"
    assert str(path) in raised.value.message
    assert "expected `" in str(raised.value.why)
    assert path.read_bytes() == damage


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("value", [3, True, ["x"], {"a": 1}, "has a space", "line\nbreak", "x" * 70_000])
def test_what_is_no_token_is_refused_and_never_shown(tool, value, tmp_path):
    name = "access_token" if tool in {"mmx", "hermes"} else "access"
    path = Sample(tool).write(tmp_path, entry={name: value})

    with pytest.raises(ConfigError) as raised:
        read_source(BY_NAME[tool], path)

    assert name in str(raised.value.why)
    assert "has a space" not in str(raised.value)
    assert in_text(str(raised.value)) == []


ODD_TIMES = (
    True,
    0,
    -1,
    0.5,
    3600,
    1e300,
    "0",
    "-1",
    "soon",
    "1.5e3",
    "2026-01-01T00:00:00",
    "9999-12-31T23:59:59-23:00",
    [],
    {"a": 1},
)


@pytest.mark.requirement("E94")
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("value", ODD_TIMES, ids=repr)
def test_what_is_no_time_leaves_the_end_unknown_and_the_tokens_good(tool, value, tmp_path):
    sample = Sample(tool)
    path = sample.write(tmp_path, entry={"expires_at" if tool in {"mmx", "hermes"} else "expires": value})

    (credential,) = read_source(BY_NAME[tool], path)

    assert (credential.access.reveal(), credential.refresh.reveal()) == (sample.access, sample.refresh)
    assert credential.expires_at is None


@pytest.mark.requirement("E94")
@pytest.mark.parametrize("value", [3, True, ["x"], {"a": 1}, "line\nbreak", None])
@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ("mmx", "region"),
        ("mmx", "resource_url"),
        ("hermes", "region"),
        ("hermes", "scope"),
        ("hermes", "expires_in"),
        ("hermes", "portal_base_url"),
        ("hermes", "resource_url"),
        ("opencode", "enterpriseUrl"),
        ("openclaw", "scope"),
    ],
)
def test_an_odd_side_field_is_as_one_that_is_missing(tool, name, value, tmp_path):
    sample = Sample(tool)
    path = sample.write(tmp_path, entry={name: value})

    (credential,) = read_source(BY_NAME[tool], path)

    assert (credential.access.reveal(), credential.expires_at) == (sample.access, EXPIRES_MS)


def test_times_are_read_in_every_form_that_these_tools_have_written(tmp_path):
    for value in (
        EXPIRES_MS,
        EXPIRES_MS // 1000,
        EXPIRES_MS + 0.5,
        f"{EXPIRES_MS}",
        f"{EXPIRES_MS // 1000}.25",
        "2100-01-01T00:00:00+00:00",
        "2100-01-01T00:00:00.000Z",
    ):
        path = Sample("mmx").write(tmp_path, entry={"expires_at": value})
        assert read_source(BY_NAME["mmx"], path)[0].expires_at // 1000 == EXPIRES_MS // 1000


def a_pool(sample):
    return [
        sample.pooled("manual:minimax_oauth", canary("at"), canary("rt"), expires_at_ms=None, expires_at="2100-01-01T00:00:00Z"),
        sample.pooled("manual:minimax_oauth", canary("at"), canary("rt"), last_status="dead"),
        sample.pooled("manual:minimax_oauth", sample.access, canary("rt")),
        sample.pooled("env:MINIMAX_API_KEY", canary("at"), "", auth_type="api_key"),
        3,
    ]


def test_beside_hermes_own_sign_in_its_pool_holds_copies_and_what_may_be_spent(tmp_path):
    sample = Sample("hermes")
    path = sample.write(tmp_path, pool=a_pool(sample))

    (credential,) = read_source(BY_NAME["hermes"], path)

    location = ("credential_pool", "minimax-oauth")
    assert (credential.location, credential.copy_locations) == (("providers", "minimax-oauth"), ((*location, 0), (*location, 3)))


def test_without_a_sign_in_of_its_own_the_living_ones_of_hermes_pool_are_read(tmp_path):
    sample = Sample("hermes")
    pool = a_pool(sample)[:-1]
    path = sample.write(tmp_path, entry={"access_token": ""}, pool=pool)

    credentials = read_source(BY_NAME["hermes"], path)

    assert [each.access.reveal() for each in credentials] == [pool[0]["access_token"], sample.access]
    assert (credentials[0].client_id, credentials[0].expires_at, credentials[0].region) == (CLIENTS["hermes"], EXPIRES_MS, None)


@pytest.mark.parametrize("pool", [3, {"minimax-oauth": 3}, {"minimax-oauth": [3]}])
def test_a_pool_of_another_shape_is_refused(pool, tmp_path):
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"credential_pool": pool}), encoding="utf-8")
    with pytest.raises(ConfigError, match="credential_pool"):
        read_source(BY_NAME["hermes"], path)


def test_an_empty_refresh_token_is_none(tmp_path):
    path = Sample("mmx").write(tmp_path, entry={"refresh_token": ""})
    assert read_source(BY_NAME["mmx"], path)[0].refresh is None


def test_a_copy_that_openclaw_made_of_another_tools_sign_in_is_not_its_own(tmp_path):
    path = Sample("openclaw").write(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    profiles = content["profiles"]
    profiles["minimax-portal:minimax-cli"] = profiles.pop("minimax-portal:default")
    path.write_text(json.dumps(content), encoding="utf-8")

    assert read_source(BY_NAME["openclaw"], path) == ()


def test_a_folder_or_a_pipe_in_the_files_place_is_refused_and_does_not_hang(tmp_path):
    import os

    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(ConfigError, match=name):
            read_source(BY_NAME["mmx"], tmp_path / name)


def test_minimax_codes_own_store_is_noticed(tmp_path):
    store = tmp_path / ".minimax/auth/prod/en/mcode-public/auth.json"
    assert minimax_code_stores(tmp_path) == ()
    store.parent.mkdir(parents=True)
    store.write_text("not even read", encoding="utf-8")
    assert minimax_code_stores(tmp_path) == (store,)
