"""A FIFO, a device, or a file of 3 GB where a file is read: refused or left out at once, never waited for, never read to its end."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final

import pytest

from portico.auth.freshness import LastUses
from portico.auth.importers.openclaw import _configured_agent_folders
from portico.auth.importers.sidecar import _owner_pid
from portico.cli.doctor import _end_of_log
from portico.cli.main import main
from portico.config.sources import read_dotenv
from portico.errors import PorticoError, StoreError
from portico.gateway.metrics import open_log
from portico.net.proxy import _file as proxy_file
from portico.services.managers import Launchd, Systemd
from portico.services.service import Service
from portico.store.encrypted_file import FILE_ENV, PassphraseSource
from portico.util.clock import SystemClock
from portico.util.files import read_end, read_file, read_private, read_start
from portico.util.lock import FileLock
from tests.plugins.helpers import write_plugin
from tests.source_tree import HOST, PLUGINS, modules

resource = pytest.importorskip("resource")
pytestmark = [pytest.mark.requirement("E133"), pytest.mark.linux]

_HUGE: Final = 3 << 30
_MEMORY: Final = 768 << 20  # bytes of address space that a test may take beyond what the run has already
_LONGEST_S: Final = 8.0


class TooLong(BaseException):
    """Whatever was called is still at it."""


@pytest.fixture(autouse=True)
def _bounded():
    """Ends a test that waits for a FIFO, or that takes the memory of a whole device."""

    def too_long(*_):
        raise TooLong

    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, hard))
    signal.setitimer(signal.ITIMER_REAL, _LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    path.touch(0o600)
    os.truncate(path, _HUGE)


KINDS: Final = {"fifo": _fifo, "device": _device, "3 GB": _huge}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def make_endless(request):
    """Puts something without an end in the place of a file, and takes it away again: the search for secrets reads every file."""
    made = []

    def make(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        request.param(path)
        made.append(path)
        return path

    yield make
    for path in made:
        path.unlink(missing_ok=True)


@pytest.fixture
def portico(paths, capsys):
    def run(*words: str, config: object = None) -> tuple[int, str]:
        if config is not None:
            paths.config.write_text(json.dumps(config), encoding="utf-8")
            paths.config.chmod(0o600)
        code = main([*words], program="portico")
        output = capsys.readouterr()
        return code, output.out + output.err

    return run


def test_the_config_its_base_and_an_include(make_endless, portico, paths, tmp_path):
    make_endless(tmp_path / "other")
    make_endless(paths.config)
    code, output = portico("models", "list")
    assert (code, "config-unreadable" in output) == (9, True)
    paths.config.unlink()
    for key in ("base", "$include"):
        code, output = portico("models", "list", config={key: str(tmp_path / "other")})
        assert code == 9, output
        assert "other" in output


def test_models_json_and_dotenv_beside_the_config(make_endless, portico, paths, tmp_path):
    make_endless(paths.config.with_name("models.json"))
    assert portico("models", "list", config={})[0] == 9
    (warning,) = read_dotenv(make_endless(tmp_path / "there" / ".env").parent)[1]
    assert "could not read this file" in warning.message


def test_a_plugin_manifest_is_a_plugin_that_failed_and_the_others_go_on(make_endless, portico, tmp_path):
    folder = write_plugin(tmp_path / "plugins", "acme-auth")
    (folder / "portico.plugin.json").unlink()
    make_endless(folder / "portico.plugin.json")
    code, output = portico("plugins", "list", "--json", config={"plugins": {"load": {"paths": [str(folder)]}}})
    listed = json.loads(output)["plugins"]
    assert code == 0
    assert [each["status"] for each in listed if each["id"] == folder.name] == ["error"]
    assert "minimax-portal-auth" in {each["id"] for each in listed}


def test_the_entry_points_and_the_metadata_of_an_installed_package(make_endless, portico, tmp_path, monkeypatch):
    site = tmp_path / "site"
    make_endless(site / "odd-1.0.dist-info" / "entry_points.txt")
    make_endless(site / "even-1.0.dist-info" / "METADATA")
    (site / "even-1.0.dist-info" / "entry_points.txt").write_text("[portico.plugins]\neven = even.plugin\n", encoding="utf-8")
    package = write_plugin(site, "good-auth")
    info = site / "good-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: good\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[portico.plugins]\ngood-auth = {package.name}.plugin\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(make_endless(tmp_path / "archive.zip")))
    code, output = portico("plugins", "list", "--json", config={})
    assert code == 0
    assert "good-auth" in {each["id"] for each in json.loads(output)["plugins"]}


def test_a_picture_to_ask_about(make_endless, portico, tmp_path):
    code, output = portico("ask", "--image", str(make_endless(tmp_path / "picture.png")), "What is it?", config={})
    assert (code, "Could not read" in output and "picture.png." in output) == (2, True), output


def test_the_passphrase_file(make_endless, tmp_path):
    with pytest.raises(StoreError) as exc_info:
        PassphraseSource({FILE_ENV: str(make_endless(tmp_path / "passphrase"))}).get()
    assert exc_info.value.id == "passphrase-needed"


@pytest.mark.parametrize("tool", ["openclaw", "mmx", "hermes", "opencode"])
def test_another_tools_file(tool, make_endless, portico, tmp_path):
    path = make_endless(tmp_path / ("openclaw.sqlite" if tool == "openclaw" else "auth.json"))
    code, output = portico("auth", "import", "--from", tool, "--path", str(path), "--yes", config={})
    assert (code, "import-unreadable" in output) == (9, True), output


def test_what_an_importer_reads_besides(make_endless, tmp_path):
    make_endless(tmp_path / "openclaw.json")
    assert _configured_agent_folders(tmp_path) == []
    lock = make_endless(tmp_path / "auth.lock")
    with contextlib.suppress(OSError):
        assert _owner_pid(lock) is None


def test_the_note_the_keys_the_index_and_the_log_of_the_state_folder(make_endless, portico, paths):
    for name in ("gateway.json", "gateway-keys.json", "auth-profiles.json"):
        make_endless(paths.state / name)
    for words in (("gateway", "status"), ("gateway", "key", "list"), ("auth", "status")):
        code, output = portico(*words, config={})
        assert (code, "store-unsafe-file" in output) == (7, True), (words, output)
    log = make_endless(paths.gateway_log)
    assert portico("gateway", "logs")[0] in {0, 7}
    with contextlib.suppress(StoreError):
        _end_of_log(log)


def test_a_fifo_where_a_mark_or_the_log_is_written_is_not_waited_for(paths):
    uses = LastUses(paths, SystemClock())
    uses.record("minimax-portal:default")
    (mark,) = paths.uses.iterdir()
    mark.unlink()
    for path in (mark, paths.gateway_log):
        os.mkfifo(path)
    uses.record("minimax-portal:default")
    with pytest.raises(StoreError):
        open_log(paths.gateway_log)


def test_a_services_unit_its_proxy_file_and_a_lock(make_endless, tmp_path):
    service = Service("portico-gateway", "", None, (), {}, tmp_path / "log")
    for manager in (Systemd({"HOME": str(tmp_path)}), Launchd({"HOME": str(tmp_path)})):
        make_endless(manager.path(service))
        with pytest.raises(StoreError) as exc_info:
            manager.environment(service)
        assert exc_info.value.id == "file-failed"
    with pytest.raises(PorticoError) as refused:
        proxy_file(make_endless(tmp_path / "proxy.env"))
    assert refused.value.id == "proxy-unusable"
    assert FileLock(make_endless(tmp_path / "lock"), what="a lock").owner_pid() is None


def test_a_certificate_file_is_an_error_that_names_it_and_not_a_request_that_never_ends(
    make_endless, portico, tmp_path, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(make_endless(tmp_path / "ca.pem")))
    monkeypatch.setenv("MINIMAX_API_KEY", "sk-any")
    code, output = portico("ask", "--model", "minimax/MiniMax-M2.1", "Hello", config={})
    assert code == 8, output
    assert "SSL_CERT_FILE" in output


@pytest.mark.parametrize(
    "words", [("ask", "-"), ("config", "set", "env.KEY", "-"), ("onboard", "--auth-choice", "minimax-api", "--api-key-stdin")]
)
def test_standard_input_without_an_end(words, portico, monkeypatch):
    with Path("/dev/zero").open(encoding="utf-8") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        code, output = portico(*words, config={})
    assert (code, " is too long." in output) == (2, True), output


def test_an_include_of_the_kernels_log_is_an_error_of_the_config(portico, tmp_path):
    for special in ("/proc/kmsg", "/proc/self/mem", "/dev/stdin", "/proc/self/fd/0", "/"):
        code, output = portico("models", "list", config={"$include": special})
        assert code == 9, (special, output)
        assert "Traceback" not in output


def test_the_shared_readers_say_what_is_wrong_and_take_no_more_than_they_are_told(make_endless, tmp_path):
    path = make_endless(tmp_path / "any")
    with pytest.raises(OSError, match=r"not a regular file|larger than"):
        read_file(path, 1024)
    with contextlib.suppress(OSError):
        assert len(read_start(path, 10)) == 10
        assert len(read_end(path, 10)) == 10
    with pytest.raises(StoreError):
        read_private(path)


def test_a_regular_file_is_read_whole_from_its_start_and_from_its_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_file(path, 10) == b"0123456789"
    assert (read_start(path, 4), read_start(path, 4, offset=8), read_end(path, 3), read_end(path, 99)) == (
        b"0123",
        b"89",
        b"789",
        b"0123456789",
    )
    with pytest.raises(OSError, match="larger than 9 bytes"):
        read_file(path, 9)
    (tmp_path / "link").symlink_to(path)
    assert read_file(tmp_path / "link", 10) == b"0123456789"
    with pytest.raises(OSError, match="Too many levels"):
        read_file(tmp_path / "link", 10, follow=False)


# --- no other reader ------------------------------------------------------------------------------------------------------

# Module and call, and why it may read without `portico.util.files`.
EXCEPTIONS: Final = {
    "portico.util.files: os.open": "it is the place",
    "portico.util.clock: open": "a file of the kernel's, at a path that is fixed",
    "portico.net.peer: path.read_text": "a file of the kernel's, at a path that is fixed",
    "portico.net.peer: (_SELF / 'uid_map').read_text": "a file of the kernel's, at a path that is fixed",
    "portico.net.peer: (TABLES / table).open": "a file of the kernel's, at a path that is fixed",
    "portico.util.files: mounts.read_text": "a file of the kernel's, at a path that is fixed",
    "portico.store.secret_service: Path(f'/proc/{self._pid()}/cmdline').read_bytes": "a file of the kernel's",
    "portico.cli.explain: page.read_text": "a page of Portico's own package",
    "portico.cli.explain: (_folder() / f'{INDEX}.md').read_text": "the index of these pages",
    "portico.cli.main: open": "/dev/null",
    "portico.cli.main: os.open": "/dev/null",
    "portico.terminal.read_line: os.open": "the terminal itself, by the name that the system gives it",
    "portico.util.lock: os.open": "opened for writing, and locked; its few bytes are read by `read_start`",
    "portico.auth.freshness: os.open": "opened for writing: an empty mark",
    "portico.auth.importers.sidecar: os.open": "a new file (O_EXCL)",
    "portico.emulation.connect_proxy: os.open": "a new file (O_EXCL)",
    "portico.gateway.metrics: os.open": "opened for writing",
    "portico.usage.history_file: os.open": "checked by itself before SQLite opens it",
    "portico.usage.history_file: self.open": "a database, through SQLite",
    "portico.usage.history_file: self._file.open": "a database, through SQLite",
    "portico.oauth.flow: self.opener.open": "a browser",
    "portico.cli.doctor: tarfile.open": "an archive in memory that is written",
}


def _reads(tree: ast.AST):
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            yield "open"
        elif isinstance(called, ast.Attribute) and called.attr in {"open", "read_text", "read_bytes"}:
            yield ast.unparse(called)


def test_every_file_is_read_through_the_shared_readers():
    found = {
        f"{module.name}: {call}"
        for source in (HOST, *PLUGINS)
        for module in modules(source)
        if not module.name.startswith("portico.testing.")  # test code; it reads what it has written
        for call in _reads(ast.parse(module.path.read_bytes()))
    }
    assert found == set(EXCEPTIONS)
