from __future__ import annotations

import os
import stat
import sys

import pytest

from portico.paths import make_private_folder, resolve_paths


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
