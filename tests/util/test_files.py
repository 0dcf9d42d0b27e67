"""Private files: complete or missing, and only this user's."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portico.errors import StoreError
from portico.util.files import read_private, set_aside, write_private

DISK_ERRORS = ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EMFILE", "EIO"]


def failing(code):
    def fail(*_args, **_kwargs):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    return fail


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_what_was_written_is_read_back_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "state" / "file"
    write_private(path, b"one")
    write_private(path, b"two")
    assert read_private(path) == b"two"
    assert names_in(path.parent) == ["file"]
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700


def test_only_an_absent_file_is_read_as_none(tmp_path):
    assert read_private(tmp_path / "absent") is None
    assert read_private(tmp_path / "no folder" / "absent") is None
    (tmp_path / "plain").write_bytes(b"")
    assert read_private(tmp_path / "plain") == b""
    with pytest.raises(StoreError):
        read_private(tmp_path / "plain" / "below")


# A read-only folder and a full disk do not bind root, so these errors are raised where the system call would raise them.
@pytest.mark.requirement("E42")
@pytest.mark.parametrize("code", DISK_ERRORS)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "fchmod"])
def test_a_failing_disk_is_named_and_the_old_content_stays(tmp_path, monkeypatch, call, code):
    path = tmp_path / "file"
    write_private(path, b"old")
    with monkeypatch.context() as patch, pytest.raises(StoreError) as exc_info:
        patch.setattr(os, call, failing(code))
        write_private(path, b"new")
    assert code in str(exc_info.value)
    assert str(path) in exc_info.value.message
    assert exc_info.value.hint
    assert read_private(path) == b"old"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.requirement("E42")
@pytest.mark.parametrize("code", ["EACCES", "EMFILE", "EIO"])
def test_a_file_that_cannot_be_read_is_an_error_and_not_absent(tmp_path, monkeypatch, code):
    path = tmp_path / "file"
    write_private(path, b"old")
    monkeypatch.setattr(os, "open", failing(code))
    with pytest.raises(StoreError) as exc_info:
        read_private(path)
    assert exc_info.value.id == "file-failed"
    assert code in str(exc_info.value)


@pytest.mark.requirement("E42")
def test_a_write_that_hits_a_real_size_limit_leaves_the_old_content(tmp_path):
    path = tmp_path / "file"
    write_private(path, b"old")
    code = (
        "import sys; from pathlib import Path; from portico.util.files import write_private;"
        "from portico.errors import StoreError\n"
        "try: write_private(Path(sys.argv[1]), b'x' * 10_000)\n"
        "except StoreError as error: print(error.id, error)"
    )

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], preexec_fn=limit, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("file-failed")
    assert "EFBIG" in result.stdout
    assert read_private(path) == b"old"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.requirement("E42")
def test_without_free_descriptors_the_error_says_so(tmp_path):
    path = tmp_path / "file"
    write_private(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 1, hard))
    descriptors = []
    try:
        with pytest.raises(OSError):
            while True:
                descriptors.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(StoreError) as exc_info:
            read_private(path)
    finally:
        for fd in descriptors:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "EMFILE" in str(exc_info.value)


@pytest.mark.requirement("E44")
def test_a_umask_of_zero_never_makes_a_file_wider_than_0600(tmp_path):
    path = tmp_path / "state" / "file"
    modes = []

    def record_modes(step):
        modes.extend((step, mode(path_or_mode)) for path_or_mode in path.parent.iterdir())
        modes.append(("folder", mode(path.parent)))

    old = os.umask(0)
    try:
        write_private(path, b"one", crash_point=record_modes)
    finally:
        os.umask(old)
    assert {step for step, _ in modes} >= {"temp-opened", "temp-written", "temp-synced", "renamed", "folder-synced"}
    assert {path_or_mode for step, path_or_mode in modes if step != "folder"} == {0o600}
    assert {path_or_mode for step, path_or_mode in modes if step == "folder"} == {0o700}


@pytest.mark.requirement("E44")
def test_a_umask_of_everything_still_makes_a_file_that_can_be_read(tmp_path):
    path = tmp_path / "file"
    old = os.umask(0o777)
    try:
        write_private(path, b"one")
    finally:
        os.umask(old)
    assert mode(path) == 0o600


@pytest.mark.requirement("E44")
def test_wide_files_and_folders_are_tightened(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    path = folder / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    assert read_private(path) == b"old"
    assert mode(path) == 0o600
    path.chmod(0o666)
    write_private(path, b"new")
    assert mode(path) == 0o600
    assert mode(folder) == 0o700


@pytest.mark.requirement("E44")
@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "folder"])
def test_anything_but_a_plain_file_is_refused_and_not_waited_for(tmp_path, kind):
    path, elsewhere = tmp_path / "file", tmp_path / "elsewhere"
    if kind == "link":
        elsewhere.write_bytes(b"theirs")
    if "link" in kind:
        path.symlink_to(elsewhere)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    for operation in (lambda: read_private(path), lambda: write_private(path, b"ours")):
        with pytest.raises(StoreError) as exc_info:
            operation()
        assert exc_info.value.id == "store-unsafe-file"
    assert elsewhere.exists() == (kind == "link")
    if kind == "link":
        assert elsewhere.read_bytes() == b"theirs"


@pytest.mark.requirement("E44")
def test_writing_a_hard_link_leaves_its_other_name_as_it_was(tmp_path):
    path, other = tmp_path / "file", tmp_path / "other"
    write_private(path, b"old")
    os.link(path, other)
    write_private(path, b"new")
    assert (read_private(path), read_private(other)) == (b"new", b"old")


@pytest.mark.requirement("E44")
def test_what_belongs_to_another_user_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"theirs")
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    another_uid = os.geteuid() + 1  # only root could give the file away; anybody can look at it as another would
    monkeypatch.setattr(os, "geteuid", lambda: another_uid)
    for operation in (
        lambda: read_private(path),
        lambda: write_private(path, b"x"),
        lambda: write_private(folder / "file", b"x"),
    ):
        with pytest.raises(StoreError) as exc_info:
            operation()
        assert "another user" in str(exc_info.value)
    assert names_in(folder) == []


@pytest.mark.requirement("E44")
def test_a_linked_folder_of_our_own_is_allowed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    write_private(tmp_path / "linked" / "file", b"one")
    assert read_private(tmp_path / "real" / "file") == b"one"


def test_a_damaged_file_is_renamed_with_mode_0600(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"damaged")
    path.chmod(0o644)
    corrupt_path = set_aside(path)
    assert corrupt_path.name.startswith("file.corrupt-")
    assert (corrupt_path.read_bytes(), mode(corrupt_path), path.exists()) == (b"damaged", 0o600, False)
