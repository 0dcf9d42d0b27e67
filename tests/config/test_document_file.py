"""The config file on disk: complete after any failure of a write."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from portico.config.document import ConfigFile
from portico.errors import ConfigError, LockBusy
from portico.util.files import FILE_CRASH_POINTS

SRC = Path(__file__).parents[2] / "src"
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes and signals")
OLD = "// mine\n{\n  gateway: { port: 1 }, // one\n}\n"
NEW = "// mine\n{\n  gateway: { port: 2 }, // one\n}\n"


@pytest.fixture
def file(tmp_path):
    return ConfigFile(tmp_path / "config" / "portico.json5", tmp_path / "locks")


@pytest.fixture
def written(file):
    file.path.parent.mkdir()
    file.path.write_bytes(OLD.encode())
    file.path.chmod(0o600)
    return file


def port(number):
    return lambda document: document.set(("gateway", "port"), number)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(file: ConfigFile) -> list[str]:
    return sorted(path.name for path in file.path.parent.iterdir())


def run_child(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    return subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=60)


def test_a_file_that_does_not_exist_is_empty_and_is_not_made_for_nothing(file):
    assert file.load().value() == {}
    assert not file.edit(lambda document: document)
    assert not file.path.parent.exists()


@posix
@pytest.mark.requirement("E44")
def test_a_new_file_is_private_with_any_umask(file):
    before = os.umask(0)
    try:
        assert file.edit(port(2))
    finally:
        os.umask(before)
    assert mode(file.path) == 0o600
    assert mode(file.path.parent) == 0o700
    assert file.load().value() == {"gateway": {"port": 2}}


@posix
@pytest.mark.requirement("E44")
@pytest.mark.parametrize("original_mode", [0o600, 0o640, 0o644])
def test_an_edit_keeps_the_mode_and_the_temporary_file_is_never_wider(written, original_mode):
    written.path.chmod(original_mode)
    modes = []

    def record_mode(_step: str) -> None:
        modes.extend(mode(path) for path in written.path.parent.iterdir() if path != written.path)

    ConfigFile(written.path, written.path.parents[1] / "locks", crash_point=record_mode).edit(port(2))
    assert mode(written.path) == original_mode
    assert set(modes) <= {0o600, original_mode}
    assert mode(written.path.with_name("portico.json5.bak")) == 0o600


@posix
@pytest.mark.requirement("E44")
def test_an_edit_keeps_the_owner(written):
    owner = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(written.path, owner, -1)
    assert written.edit(port(2))
    assert written.path.stat().st_uid == owner


@pytest.mark.requirement("S6")
def test_an_edit_keeps_every_other_byte_of_the_file(written):
    odd = "\ufeff// caf\u00e9\r\n{\r\n\tgateway: { port: 1 }, /* \u2028 */\r\n}"
    written.path.write_bytes(odd.encode())
    assert written.edit(port(22))
    assert written.path.read_bytes() == odd.replace("port: 1", "port: 22").encode()


@pytest.mark.requirement("S6")
def test_an_edit_that_changes_nothing_does_not_touch_the_file(written):
    before = written.path.stat()
    assert not written.edit(port(1))
    after = written.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(written) == ["portico.json5"]


def test_the_last_five_versions_remain_as_backups(written):
    for number in range(2, 9):
        assert written.edit(port(number))
    backups = [written.path.with_name(f"portico.json5{end}") for end in (".bak", ".bak.1", ".bak.2", ".bak.3", ".bak.4")]
    assert names(written) == ["portico.json5", *(path.name for path in backups)]
    outcome = [path.read_text(encoding="utf-8") for path in backups]
    assert outcome == [OLD.replace("port: 1", f"port: {number}") for number in range(7, 2, -1)]


@posix
@pytest.mark.requirement("E44")
def test_a_linked_file_is_changed_where_it_is_and_the_link_stays(written, tmp_path):
    link = tmp_path / "link.json5"
    link.symlink_to(written.path)
    assert ConfigFile(link, tmp_path / "locks").edit(port(2))
    assert link.is_symlink()
    assert written.path.read_text(encoding="utf-8") == NEW


@posix
@pytest.mark.requirement("E42")
@pytest.mark.requirement("E44")
@pytest.mark.parametrize("kind", ["folder", "fifo", "loop", "dangling"])
def test_what_is_not_a_file_is_refused_and_never_taken_for_an_empty_one(file, kind):
    file.path.parent.mkdir()
    if kind == "folder":
        file.path.mkdir()
    elif kind == "fifo":
        os.mkfifo(file.path)
    else:
        file.path.symlink_to(file.path if kind == "loop" else file.path.with_name("gone"))
    for use in (file.load, lambda: file.edit(port(2))):
        with pytest.raises(ConfigError) as exc_info:
            use()
        assert exc_info.value.id == "config-unreadable"
        assert str(file.path) in exc_info.value.message
    assert names(file) == ["portico.json5"]


@pytest.mark.parametrize("data", [b'{ a: "\xff" }', "{ a: 1 }".encode("utf-16")])
def test_a_file_that_is_not_utf8_is_refused_with_the_place(written, data):
    written.path.write_bytes(data)
    with pytest.raises(ConfigError, match="not UTF-8") as exc_info:
        written.edit(port(2))
    assert exc_info.value.where.startswith(f"{written.path}:1:")
    assert written.path.read_bytes() == data


def test_a_broken_file_is_left_as_it_is(written):
    written.path.write_text("{ gateway: ", encoding="utf-8")
    with pytest.raises(ConfigError) as exc_info:
        written.edit(port(2))
    assert exc_info.value.where == f"{written.path}:1:12"
    assert written.path.read_text(encoding="utf-8") == "{ gateway: "


# --- disks -----------------------------------------------------------------------------------------------------------------

EDIT_WITHOUT_ROOM = """
    import resource, signal, sys
    from pathlib import Path
    from portico.config.document import ConfigFile
    from portico.errors import ConfigError
    file = ConfigFile(Path(sys.argv[1]), Path(sys.argv[2]))
    change = lambda document: document.set(("gateway", "note"), "x" * 100)
    file.edit(lambda document: document)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
    try:
        file.edit(change)
    except ConfigError as error:
        print(error.id, error.exit_code, error)
"""


@posix
@pytest.mark.requirement("E42")
def test_a_disk_without_room_leaves_the_old_file_whole(written, tmp_path):
    outcome = run_child(EDIT_WITHOUT_ROOM, written.path, tmp_path / "locks")
    assert outcome.stdout.startswith(f"config-unreadable 9 Could not write {written.path}; it is unchanged"), outcome.stderr
    assert "EFBIG" in outcome.stdout
    assert written.path.read_text(encoding="utf-8") == OLD
    assert names(written) == ["portico.json5"]


EDIT_AS_ANOTHER_USER = """
    import os, sys
    from pathlib import Path
    import hashlib, portico.config.json5_edit  # imported now: the other user cannot read their folders
    from portico.config.document import ConfigFile
    from portico.errors import ConfigError
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    file = ConfigFile(Path(sys.argv[1]), Path(sys.argv[2]))
    try:
        file.edit(lambda document: document.set(("gateway", "port"), 2))
    except ConfigError as error:
        print(error.id, error.why)
"""


@posix
@pytest.mark.requirement("E42")
@pytest.mark.parametrize(
    ("of_folder", "of_file", "outcome"),
    [
        (0o500, 0o600, "config-unreadable Permission denied [EACCES]"),
        (0o700, 0o400, "config-unreadable the file is read-only [EACCES]"),
        (0o700, 0o000, "config-unreadable Permission denied [EACCES]"),
        (0o000, 0o600, "config-unreadable Permission denied [EACCES]"),
    ],
)
def test_a_place_that_may_not_be_written_or_read_is_named_and_left_as_it_is(of_folder, of_file, outcome):
    top = Path(tempfile.mkdtemp(dir="/tmp"))  # a place that another user can reach
    folder, path = top / "config", top / "config" / "portico.json5"
    try:
        folder.mkdir()
        path.write_text(OLD, encoding="utf-8")
        path.chmod(of_file)
        folder.chmod(of_folder)
        if os.geteuid() == 0:
            for location in (top, folder, path):
                os.chown(location, 65534, 65534)
        child = run_child(EDIT_AS_ANOTHER_USER, path, top / "locks")
        assert child.stdout.strip() == outcome, child.stderr
        folder.chmod(0o700)
        path.chmod(0o600)
        assert path.read_text(encoding="utf-8") == OLD
        assert list(folder.iterdir()) == [path]
    finally:
        shutil.rmtree(top)


EDIT_AND_DIE = """
    import os, signal, sys
    from pathlib import Path
    from portico.config.document import ConfigFile
    def die(step):
        if step == sys.argv[3]:
            os.kill(os.getpid(), signal.SIGKILL)
    file = ConfigFile(Path(sys.argv[1]), Path(sys.argv[2]), crash_point=die)
    file.edit(lambda document: document.set(("gateway", "port"), 2))
"""


@posix
@pytest.mark.requirement("E42")
@pytest.mark.parametrize("step", [*(step for step in FILE_CRASH_POINTS if step != "folder-synced"), "backed-up"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_file_whole_and_the_next_edit_cleans_up(written, tmp_path, step):
    child = run_child(EDIT_AND_DIE, written.path, tmp_path / "locks", step)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert written.path.read_text(encoding="utf-8") == (NEW if step == "renamed" else OLD)
    assert written.edit(port(3))
    assert not [name for name in names(written) if name.endswith(".tmp")]


# --- others at the same file -----------------------------------------------------------------------------------------------

EDIT_OFTEN = """
    import sys
    from pathlib import Path
    from portico.config.document import ConfigFile
    file = ConfigFile(Path(sys.argv[1]), Path(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(50):
        file.edit(lambda document: document.set((sys.argv[3], f"k{number}"), number))
"""


def test_two_processes_that_edit_at_once_lose_nothing(written, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(EDIT_OFTEN), str(written.path), str(tmp_path / "locks")]
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    children = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)
        for name in ("a", "b")
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=50)
        assert child.returncode == 0
    everything = {f"k{number}": number for number in range(50)}
    assert written.load().value() == {"gateway": {"port": 1}, "a": everything, "b": everything}
    assert written.load().text.startswith("// mine\n{\n  gateway: { port: 1 }, // one\n")


def test_what_an_editor_saved_meanwhile_is_not_lost(written):
    calls = []

    def change(document):
        if not calls:
            written.path.write_text("{ theirs: 1 }", encoding="utf-8")
        calls.append(document.value())
        return document.set(("ours",), 2)

    assert written.edit(change)
    assert calls == [{"gateway": {"port": 1}}, {"theirs": 1}]
    assert written.path.read_text(encoding="utf-8") == "{ theirs: 1, ours: 2 }"


def test_an_edit_of_a_file_that_never_stops_changing_fails(written):
    numbers = iter(range(100, 200))

    def change(document):
        written.path.write_text(f"{{ theirs: {next(numbers)} }}", encoding="utf-8")
        return document.set(("ours",), 2)

    with pytest.raises(LockBusy) as exc_info:
        written.edit(change)
    assert exc_info.value.id == "lock-busy"
    assert names(written) == ["portico.json5"]
