"""Files in folders that are not Portico's: the config file, a file of a service manager, an archive of `doctor --bundle`."""

from __future__ import annotations

import os
import stat
from types import SimpleNamespace

import pytest

from portico.config.document import ConfigFile
from portico.services.service import write_file
from portico.util import files
from portico.util.files import copy_permissions, temporaries, write_in_place, write_temporary

pytest.importorskip("fcntl", reason="needs POSIX modes and owners")
pytestmark = pytest.mark.requirement("E89")
MODES = (0o755, 0o775, 0o2775)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user")


def edit(path, data):
    file = ConfigFile(path, path.parents[1] / "locks")
    assert file.edit(lambda document: document.set(("gateway", "port"), len(data)))


WRITERS = {"in place": write_in_place, "a service's file": write_file, "the config": edit}


def mode_and_owner(path):
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


@pytest.fixture(params=MODES, ids=oct)
def folder(request, tmp_path):
    """A folder of another program, with a file in it."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(request.param)
    (folder / "file").write_text("{}\n")
    (folder / "file").chmod(0o644)
    assert stat.S_IMODE(folder.stat().st_mode) == request.param
    return folder


@pytest.mark.parametrize("writer", WRITERS)
def test_the_folder_stays_as_it_is_and_a_file_that_was_there_keeps_its_mode(folder, writer):
    before = mode_and_owner(folder), mode_and_owner(folder / "file")
    WRITERS[writer](folder / "file", b"xyz")

    assert (mode_and_owner(folder), mode_and_owner(folder / "file")) == before
    assert {each.name for each in folder.iterdir()} <= {"file", "file.bak"}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_new_file_is_its_owners_alone(folder, writer):
    before = mode_and_owner(folder)
    WRITERS[writer](folder / "new", b"xyz")

    assert mode_and_owner(folder) == before
    assert mode_and_owner(folder / "new")[0] == 0o600


@as_root
@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_of_another_user_and_group_stays_theirs_with_all_that_is_made_beside_it(folder, writer):
    mode = mode_and_owner(folder)[0]
    os.chown(folder, 4710, 4711)
    folder.chmod(mode)
    os.chown(folder / "file", 4712, 4713)
    before = mode_and_owner(folder), mode_and_owner(folder / "file")
    WRITERS[writer](folder / "file", b"xyz")

    assert (mode_and_owner(folder), mode_and_owner(folder / "file")) == before
    assert {mode_and_owner(each)[1:] for each in folder.iterdir()} == {(4712, 4713)}


@as_root
def test_a_file_keeps_its_group_though_its_owner_is_who_writes_it(folder):
    os.chown(folder / "file", -1, 4713)
    before = mode_and_owner(folder / "file")
    write_in_place(folder / "file", b"xyz")

    assert mode_and_owner(folder / "file") == before


def test_if_the_group_cannot_be_set_no_other_group_gets_its_permissions(folder, monkeypatch):
    def refused(*_args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.os, "chown", refused)
    temporary = write_temporary(folder / "file", b"xyz")
    status = temporary.stat()
    copy_permissions(temporary, SimpleNamespace(st_uid=status.st_uid, st_gid=status.st_gid + 1, st_mode=0o100664))

    assert mode_and_owner(temporary)[0] == 0o604


@pytest.mark.parametrize("writer", ["in place", "a service's file"])
def test_a_write_that_fails_leaves_nothing_behind(folder, writer):
    (folder / "taken").mkdir()
    with pytest.raises(Exception, match=r"Is a directory|cannot write"):
        WRITERS[writer](folder / "taken", b"xyz")

    assert {each.name for each in folder.iterdir()} == {"file", "taken"}


def test_at_most_the_requested_mode_remains(folder):
    write_in_place(folder / "file", b"xyz", mode=0o600)

    assert mode_and_owner(folder / "file")[0] == 0o600


def test_no_other_programs_temporary_file_is_taken_for_ours(folder):
    theirs = [
        folder / name for name in (".file.4711.tmp", ".file.swp.tmp", ".file.0123456789ab.tmp.tmp", ".filex0123456789ab.tmp")
    ]
    for each in theirs:
        each.touch()
    ours = write_temporary(folder / "file", b"")

    assert [*temporaries(folder / "file")] == [ours]
    ours.unlink()
    edit(folder / "file", b"xyz")
    assert all(each.exists() for each in theirs)
