from __future__ import annotations

import ast
import json
import os
import stat
import sys

import pytest

from portico.accounts.wizard import openclaw_file
from portico.cli.main import main
from portico.config.document import ConfigFile
from portico.errors import StoreError
from portico.gateway.port import PORT_ENV
from portico.paths import make_private_folder, resolve_paths
from portico.secret import Secret
from portico.services.service import write_file
from portico.store.encrypted_file import PassphraseSource
from tests.source_tree import HOST, PLUGINS, ROOT, modules


def test_the_config_flag_wins_over_the_environment(tmp_path):
    env = {"PORTICO_CONFIG": str(tmp_path / "env.json5"), "PORTICO_STATE_DIR": str(tmp_path / "state")}

    assert resolve_paths(str(tmp_path / "flag.json5"), env).config == tmp_path / "flag.json5"
    assert resolve_paths(None, env).config == tmp_path / "env.json5"


def test_a_state_folder_of_its_own_has_an_id_of_its_own(tmp_path):
    one = resolve_paths(None, {"PORTICO_STATE_DIR": str(tmp_path / "one")})
    two = resolve_paths(None, {"PORTICO_STATE_DIR": str(tmp_path / "two")})

    assert one.state_id
    assert one.state_id != two.state_id


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with nothing in it, and no variable that moves what belongs into it."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return tmp_path


def test_the_default_state_folder_has_no_id_even_when_it_is_named(home, monkeypatch):
    default = resolve_paths(None, {})

    assert default.state_id == ""
    assert resolve_paths(None, {"PORTICO_STATE_DIR": str(default.state)}).state_id == ""
    monkeypatch.setenv("XDG_STATE_HOME", str(default.state.parent))
    assert resolve_paths(None, {}).state_id == ""


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_state_folder_has_one_id_however_it_is_spelled(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)

    spellings = (real, tmp_path / "link", real / ".." / "real")
    ids = {resolve_paths(None, {"PORTICO_STATE_DIR": str(spelling)}).state_id for spelling in spellings}
    assert len(ids) == 1
    assert ids != {""}


@pytest.mark.linux
def test_default_state_folders_that_xdg_state_home_has_moved_share_no_records(home, monkeypatch):
    ids = {resolve_paths(None, {}).state_id}
    for name in ("one", "two"):
        monkeypatch.setenv("XDG_STATE_HOME", str(home / name))
        moved = resolve_paths(None, {})
        ids.add(moved.state_id)
        assert resolve_paths(None, {"PORTICO_STATE_DIR": str(moved.state)}) == moved
    assert len(ids) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
@pytest.mark.requirement("E44")
def test_a_private_folder_that_was_wide_is_tightened(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o777)
    before = os.umask(0)
    try:
        make_private_folder(folder)
        make_private_folder(tmp_path / "new" / "deep")
    finally:
        os.umask(before)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "deep").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="modes are as POSIX has them")
def test_a_folder_that_is_there_for_everybody_keeps_its_mode(tmp_path):
    shared, own = tmp_path / "shared", tmp_path / "own"
    for folder, mode in ((shared, 0o1777), (own, 0o755)):
        folder.mkdir()
        folder.chmod(mode)
        make_private_folder(folder)

    assert (shared.stat().st_mode & 0o7777, own.stat().st_mode & 0o7777) == (0o1777, 0o700)


NEW_HOME = {
    "config set": ("config", "set", "history", "off"),
    "plugins enable": ("plugins", "enable", "minimax-portal-auth"),
    "doctor": ("doctor", "--fix"),
    "models list": ("models", "list"),
}


@pytest.mark.linux
@pytest.mark.requirement("E130")
@pytest.mark.parametrize("umask", [0o022, 0])
@pytest.mark.parametrize("words", NEW_HOME.values(), ids=NEW_HOME)
def test_every_folder_that_a_command_makes_in_a_new_home_is_its_users_alone(words, umask, home, monkeypatch, capsys):
    for name in ("PORTICO_CONFIG", "PORTICO_STATE_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(PORT_ENV, "0")
    before = {folder: folder.stat().st_mode for folder in (home, *home.rglob("*")) if folder.is_dir()}
    old = os.umask(umask)
    try:
        main([*words], program="portico")
    finally:
        os.umask(old)

    made = [folder for folder in home.rglob("*") if folder.is_dir() and folder not in before]
    assert {str(folder): oct(folder.stat().st_mode & 0o777) for folder in made if folder.stat().st_mode & 0o077} == {}
    assert {folder: folder.stat().st_mode for folder in before} == before


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.requirement("E130")
def test_new_folders_above_a_config_or_a_service_file_are_private_and_others_keep_their_mode(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o755)
    config = tmp_path / "there" / "a" / "b" / "portico.json5"
    unit = tmp_path / "there" / "c" / "systemd" / "user" / "portico.service"
    before = os.umask(0o022)
    try:
        ConfigFile(config, tmp_path / "state" / "locks").edit(lambda document: document.set(("history",), "off"))
        write_file(unit, b"[Unit]\n")
    finally:
        os.umask(before)

    modes = {folder.name: stat.S_IMODE(folder.stat().st_mode) for folder in tmp_path.rglob("*") if folder.is_dir()}
    assert modes.pop("there") == 0o755
    assert set(modes) == {"a", "b", "c", "systemd", "user", "state", "locks"}
    assert set(modes.values()) == {0o700}


@pytest.mark.requirement("E130")
def test_no_other_part_of_the_program_makes_parents_with_the_modes_of_the_umask():
    paths = [
        f"{module.path.relative_to(ROOT)}:{number}"
        for source in (HOST, *PLUGINS)
        for module in modules(source)
        if not module.name.startswith("portico.testing")
        for number, line in enumerate(module.path.read_text(encoding="utf-8").splitlines(), 1)
        if "parents=True" in line.partition("#")[0] or "makedirs(" in line
    ]
    assert paths == []


# --- `~` at the start of a path -----------------------------------------------------------------------------------------------

NOBODY = "~nosuchuser/portico"


def refused(capsys, *words):
    """The exit code and the error of a command with `--json`."""
    code = main([*words, "--json"], program="portico")
    return code, json.loads(capsys.readouterr().out)["error"]


@pytest.mark.requirement("E160")
@pytest.mark.parametrize("name", ["PORTICO_CONFIG", "PORTICO_STATE_DIR"])
def test_a_variable_with_the_home_of_an_unknown_user_is_an_error_that_names_both(name, paths, monkeypatch, capsys):
    monkeypatch.setenv(name, NOBODY)

    code, error = refused(capsys, "config", "get", "history")

    assert (code, error["id"]) == (9, "no-home")
    assert {name, "nosuchuser"} <= {*error["message"].replace(":", " ").split()}


@pytest.mark.requirement("E160")
def test_so_is_an_option_with_one(paths, capsys):
    code, error = refused(capsys, "--config", f"{NOBODY}.json5", "config", "get", "history")

    assert (code, error["id"], "--config" in error["message"]) == (9, "no-home", True)


@pytest.mark.requirement("E160")
@pytest.mark.parametrize(
    ("config", "column"),
    [
        (f'{{ base: "{NOBODY}.json" }}', 9),
        (f'{{ $include: "{NOBODY}.json5" }}', 13),
        (f'{{ gateway: {{ $include: ["{NOBODY}.json5"] }} }}', 25),
        (f'{{ plugins: {{ load: {{ paths: ["/x", "{NOBODY}"] }} }} }}', 36),
    ],
)
def test_a_config_that_names_one_says_at_which_character(config, column, paths, capsys):
    paths.config.parent.mkdir(parents=True, exist_ok=True)
    paths.config.write_text(config, encoding="utf-8")

    code = main(["config", "validate", "--json"], program="portico")
    (problem,) = json.loads(capsys.readouterr().out)["problems"]

    assert problem["where"] == f"{paths.config}:1:{column}"
    assert "no user nosuchuser" in problem["message"]
    assert code == (9 if problem["level"] == "error" else 0)
    assert main(["doctor", "--json"], program="portico") != 1
    assert main(["plugins", "list"], program="portico") != 1


@pytest.mark.requirement("E160")
def test_a_passphrase_file_may_begin_with_the_home_folder_and_not_with_an_unknown_users(home, monkeypatch):
    (home / "words").write_text("open sesame\n", encoding="utf-8")
    (home / "words").chmod(0o600)

    assert PassphraseSource({"PORTICO_PASSPHRASE_FILE": "~/words"}).get() == Secret("open sesame")
    with pytest.raises(StoreError, match="PORTICO_PASSPHRASE_FILE") as error:
        PassphraseSource({"PORTICO_PASSPHRASE_FILE": NOBODY}).get()
    assert (error.value.id, "no user nosuchuser" in error.value.why) == ("passphrase-needed", True)


@pytest.mark.requirement("E160")
@pytest.mark.parametrize("name", ["OPENCLAW_CONFIG_PATH", "OPENCLAW_STATE_DIR"])
def test_another_tools_variable_with_one_means_that_it_has_no_config(name, home):
    assert openclaw_file({"HOME": str(home), name: NOBODY}) is None


@pytest.mark.requirement("E160")
def test_a_home_folder_is_put_in_at_one_place():
    found = {
        module.name
        for source in (HOST, *PLUGINS)
        for module in modules(source)
        for node in ast.walk(ast.parse(module.path.read_bytes()))
        if isinstance(node, ast.Attribute) and node.attr == "expanduser"
    }
    assert found == {"portico.paths"}
