"""Another program's folder and files: an import changes the one file that it has to, and nothing else about them."""

from __future__ import annotations

import os
import stat
from dataclasses import replace

import pytest

from portico.auth.importers.source import read_source, remove_from_source
from portico.secret import Secret
from portico.testing.canary import canary
from portico.util.lock import FileLock
from tests.auth.importers.samples import TOOLS, Sample
from tests.auth.importers.test_readers import BY_NAME

fcntl = pytest.importorskip("fcntl", reason="needs POSIX modes, owners and locks")
pytestmark = pytest.mark.requirement("E89")
MODES = (0o755, 0o775, 0o2775)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another group")


def mode_and_owner(path):
    """What another program can see of a folder or a file, but for its times."""
    info = path.stat()
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid


def times(path):
    info = path.stat()
    return info.st_mtime_ns, info.st_ctime_ns


@pytest.fixture
def written(tmp_path):
    """Writes a tool's file into folders of a mode."""

    def write(tool, mode):
        path = Sample(tool).write(tmp_path)
        for folder in (path.parent, tmp_path):
            folder.chmod(mode)
        assert stat.S_IMODE(path.parent.stat().st_mode) == mode
        return path

    return write


@pytest.mark.parametrize("mode", MODES, ids=oct)
@pytest.mark.parametrize("tool", TOOLS)
def test_the_folder_keeps_its_mode_and_owner_and_gets_no_new_file_but_the_tools_own_lock(written, tmp_path, tool, mode):
    path = written(tool, mode)
    folders = {folder: mode_and_owner(folder) for folder in (path.parent, tmp_path)}
    before = {each.name for each in path.parent.iterdir()}
    (credential,) = read_source(BY_NAME[tool], path)

    assert remove_from_source(BY_NAME[tool], path, credential) == "removed"

    assert {folder: mode_and_owner(folder) for folder in folders} == folders
    own_lock = {f"{path.stem}.lock"} if BY_NAME[tool].lock == "flock" else set()
    assert {each.name for each in path.parent.iterdir()} - before <= own_lock


@pytest.mark.parametrize("mode", MODES, ids=oct)
@pytest.mark.parametrize("tool", TOOLS)
def test_reading_leaves_no_trace_at_all(written, tool, mode):
    path = written(tool, mode)
    before = [(mode_and_owner(each), times(each)) for each in (path.parent, path)]

    assert read_source(BY_NAME[tool], path)

    assert [(mode_and_owner(each), times(each)) for each in (path.parent, path)] == before


def test_a_lock_file_of_the_tool_is_locked_and_neither_written_to_nor_changed(written):
    path = written("hermes", 0o755)
    lock = path.with_suffix(".lock")
    lock.write_text("Hermes's own words")
    lock.chmod(0o644)
    (credential,) = read_source(BY_NAME["hermes"], path)
    before = [(mode_and_owner(each), times(each)) for each in (path.parent, lock)]

    other = replace(credential, refresh=Secret(canary("rt")))
    assert remove_from_source(BY_NAME["hermes"], path, other) == "changed"

    assert [(mode_and_owner(each), times(each)) for each in (path.parent, lock)] == before
    assert lock.read_text() == "Hermes's own words"


def test_a_lock_file_that_the_tool_has_not_made_yet_is_as_the_tool_would_make_it(written):
    path = written("hermes", 0o755)
    (credential,) = read_source(BY_NAME["hermes"], path)
    before = os.umask(0o022)
    try:
        remove_from_source(BY_NAME["hermes"], path, credential)
    finally:
        os.umask(before)

    lock = path.with_suffix(".lock")
    assert (stat.S_IMODE(lock.stat().st_mode), lock.read_bytes()) == (0o644, b"")
    with lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_foreign_lock_excludes_the_tool_and_waits_for_it(tmp_path):
    path = tmp_path / "auth.lock"
    ours = FileLock(path, foreign=True)
    with path.open("a+b") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        assert not ours.try_acquire()
        fcntl.flock(theirs, fcntl.LOCK_UN)
        assert ours.try_acquire()
        with pytest.raises(BlockingIOError):
            fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours.release()
        fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_is_gone_is_not_made_again(written):
    path = written("hermes", 0o755)
    (credential,) = read_source(BY_NAME["hermes"], path)
    for each in path.parent.iterdir():
        each.unlink()
    path.parent.rmdir()

    assert remove_from_source(BY_NAME["hermes"], path, credential) == "gone"
    assert not path.parent.exists()


@as_root
@pytest.mark.parametrize("mode", MODES, ids=oct)
@pytest.mark.parametrize("tool", TOOLS)
def test_the_file_keeps_its_group_whatever_group_its_folder_gives(written, tool, mode):
    path = written(tool, mode)
    os.chown(path.parent, -1, 4711)
    path.parent.chmod(mode)
    os.chown(path, -1, 4712)
    path.chmod(0o640)
    before = mode_and_owner(path)
    (credential,) = read_source(BY_NAME[tool], path)

    assert remove_from_source(BY_NAME[tool], path, credential) == "removed"
    assert mode_and_owner(path) == before
