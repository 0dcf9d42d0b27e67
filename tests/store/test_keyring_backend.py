"""Which keyring is used, and which is not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from portico.errors import StoreError
from portico.store.keyring import BACKEND_ENV, NoKeyring, choose_backend, class_name, load_backend, max_record_length
from tests.store.helpers import HELPERS

SECRET_SERVICE = "keyring.backends.SecretService.Keyring"

CHAIN = """
import sys
import keyring.backend
from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend
from portico.store.keyring import choose_backend, class_name

keyring.backend._load_plugins = lambda: None

class Base(KeyringBackend):
    def get_password(self, service, username): pass
    def set_password(self, service, username, password): pass

class PlaintextKeyring(Base):
    priority = 9

if sys.argv[1] == "with an allowed member":
    class Second(Base):
        priority = 2
    class First(Base):
        priority = 3
    Base.priority = 1
else:
    Base.priority = 0
    class OtherPlaintextKeyring(Base):
        priority = 8

print([type(ring).__name__ for ring in ChainerBackend.backends])
try:
    print(class_name(choose_backend({"PYTHON_KEYRING_BACKEND": "keyring.backends.chainer.ChainerBackend"})))
except Exception as error:
    print(error.id, error)
"""


WATCHED = """
import sys
started = []
sys.addaudithook(lambda event, args: started.append(event) if event in {"subprocess.Popen", "os.system", "os.posix_spawn"} else None)
from portico.store.keyring import choose_backend
try:
    choose_backend({})
except Exception as error:
    print(error.id)
print(started, [name for name in ("macOS", "Windows") if f"keyring.backends.{name}" in sys.modules])
"""


def in_a_new_process(code, *words):
    environment = {name: value for name, value in os.environ.items() if name != "DBUS_SESSION_BUS_ADDRESS"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    result = subprocess.run([sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


@pytest.fixture
def no_bus(monkeypatch, paths):
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(paths.state))


def test_the_secret_service_is_chosen_where_it_runs(secret_service):
    assert class_name(choose_backend(os.environ)) == SECRET_SERVICE


@pytest.mark.requirement("E36")
def test_without_any_keyring_one_plain_line_says_so_and_the_error_has_each_kinds_reason(no_bus):
    with pytest.raises(NoKeyring) as exc_info:
        choose_backend({})
    assert exc_info.value.id == "keyring-unavailable"
    assert exc_info.value.why == "no Secret Service (gnome-keyring, KeePassXC) and no KWallet answers in this session"
    assert any(
        reason.startswith(f"{SECRET_SERVICE}: could not reach the session bus: DBUS_SESSION_BUS_ADDRESS is")
        for reason in exc_info.value.reasons
    )
    assert "{prog} onboard --store file" in exc_info.value.hint


@pytest.mark.linux
def test_choosing_a_keyring_runs_no_program_and_looks_at_none_of_another_system():
    assert in_a_new_process(WATCHED) == ["keyring-unavailable", "[] []"]


@pytest.mark.requirement("E36")
@pytest.mark.requirement("E38")
@pytest.mark.parametrize(
    "name",
    ["keyring.backends.null.Keyring", "keyring.backends.fail.Keyring", f"{HELPERS}.PlaintextKeyring", "keyrings.alt.file.Any"],
)
def test_keyrings_that_forget_fail_or_keep_plain_text_are_refused(name, tmp_path, monkeypatch):
    package = tmp_path / "keyrings" / "alt"
    package.mkdir(parents=True)
    (package / "file.py").write_text("from tests.store.helpers import InMemory\nclass Any(InMemory): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for operation in (lambda: choose_backend({BACKEND_ENV: name}), lambda: load_backend(name)):
        with pytest.raises(StoreError) as exc_info:
            operation()
        assert exc_info.value.id == "keyring-unavailable"
        assert name in exc_info.value.message
        assert exc_info.value.hint


@pytest.mark.requirement("E36")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no.such.Thing", "ModuleNotFoundError"),
        ("nodots", "ValueError"),
        (f"{HELPERS}.NoSuchClass", "AttributeError"),
        (f"{HELPERS}.Broken", "RuntimeError: no such device"),
        ("keyring.backends.macOS.Keyring", "RuntimeError: macOS required"),
    ],
)
def test_a_backend_that_cannot_be_used_is_named_with_its_reason(name, reason):
    with pytest.raises(StoreError) as exc_info:
        choose_backend({BACKEND_ENV: name})
    assert exc_info.value.id == "keyring-unavailable"
    assert name in exc_info.value.message
    assert reason in exc_info.value.why
    assert BACKEND_ENV in exc_info.value.hint


@pytest.mark.requirement("E36")
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_named(value):
    with pytest.raises(StoreError) as exc_info:
        choose_backend({BACKEND_ENV: value})
    assert BACKEND_ENV in exc_info.value.message
    assert "empty" in exc_info.value.message


@pytest.mark.requirement("E36")
def test_of_a_chainer_its_first_allowed_member_is_used():
    members, chosen = in_a_new_process(CHAIN, "with an allowed member")
    assert members == "['PlaintextKeyring', 'First', 'Second', 'Base']"
    assert chosen == "__main__.First"


@pytest.mark.requirement("E36")
def test_a_chainer_without_an_allowed_member_is_refused():
    members, answer = in_a_new_process(CHAIN, "without one")
    assert members == "['PlaintextKeyring', 'OtherPlaintextKeyring']"
    assert answer.startswith("keyring-unavailable The keyring keyring.backends.chainer.ChainerBackend")


@pytest.mark.requirement("E36")
def test_the_keyring_s_own_config_file_is_read_and_the_same_rules_apply(monkeypatch, tmp_path, paths):
    from keyring.util import platform_

    monkeypatch.setattr(platform_, "config_root", lambda: tmp_path)
    config = tmp_path / "keyringrc.cfg"
    config.write_text(f"[backend]\ndefault-keyring={HELPERS}.InMemory\n")
    assert class_name(choose_backend({})) == f"{HELPERS}.InMemory"
    config.write_text("[backend]\ndefault-keyring=keyring.backends.null.Keyring\n")
    with pytest.raises(StoreError) as exc_info:
        choose_backend({})
    assert exc_info.value.id == "keyring-unavailable"
    config.write_text("[backend]\ndefault-keyring=no.such.Thing\n")
    with pytest.raises(StoreError) as exc_info:
        choose_backend({})
    assert exc_info.value.id == "keyring-unavailable"


def test_the_limit_belongs_to_the_backend_class():
    assert max_record_length("keyring.backends.Windows.WinVaultKeyring") == 1280
    assert max_record_length(SECRET_SERVICE) is None


@pytest.mark.requirement("S4")
def test_a_recorded_backend_is_loaded_without_looking_for_others():
    code = (
        "import sys, importlib.metadata as md, keyring.backend\n"
        "def scan(*a, **k): raise SystemExit('scanned')\n"
        "md.entry_points = scan; keyring.backend.metadata.entry_points = scan\n"
        "from portico.store.keyring import load_backend, class_name\n"
        f"print(class_name(load_backend('{SECRET_SERVICE}')))\n"
        "print([name for name in ('keyring.backends.kwallet', 'keyring.backends.macOS', 'aiohttp', 'authlib') if name in sys.modules])"
    )
    assert in_a_new_process(code) == [SECRET_SERVICE, "[]"]


AT_ONCE = """
import sys
import threading
from portico.store.keyring import FREEDESKTOP, choose_backend, import_keyring_module, load_backend

sys.setswitchinterval(1e-6)
calls = [lambda: load_backend(FREEDESKTOP), lambda: import_keyring_module("keyring.errors"), lambda: choose_backend({})] * 2
barrier, errors = threading.Barrier(len(calls)), []

def run(call):
    barrier.wait()
    try:
        call()
    except BaseException as error:
        if type(error).__name__ == "_DeadlockError" or "_DeadlockError" in str(getattr(error, "why", "")):
            errors.append(error)

threads = [threading.Thread(target=run, args=(call,)) for call in calls]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(errors)
"""


def test_threads_that_load_the_keyring_at_once_meet_no_deadlock():
    # A race of imports that are made once in a process: without the lock one in six of these goes wrong.
    for _ in range(12):
        result = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=30, check=True)
        assert result.stdout == "[]\n", result.stdout
