"""Where the passphrase comes from."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from portico.errors import StoreError
from portico.secret import Secret
from portico.store.encrypted_file import PassphraseSource
from portico.testing.canary import canary, exempt

FILE, TEXT = "PORTICO_PASSPHRASE_FILE", "PORTICO_PASSPHRASE"


def answers(*texts):
    remaining = iter(texts)
    return lambda _question: Secret(next(remaining))


def test_the_file_comes_before_the_variable_and_both_before_a_person(tmp_path):
    in_file, in_variable, typed = canary("file"), canary("variable"), canary("typed")
    path = exempt(tmp_path / "passphrase")
    path.write_text(f"{in_file}\r\nsecond line\n")
    path.chmod(0o600)
    prompt = answers(typed, typed)
    assert PassphraseSource({FILE: str(path), TEXT: in_variable}, prompt).get() == Secret(in_file)
    assert PassphraseSource({TEXT: in_variable}, prompt).get() == Secret(in_variable)
    assert PassphraseSource({}, prompt).get() == Secret(typed)


def test_a_passphrase_that_was_read_is_no_longer_in_the_environment_of_child_processes(monkeypatch):
    monkeypatch.setenv(TEXT, canary("variable"))
    expected = Secret(os.environ[TEXT])
    source = PassphraseSource()
    assert [source.get(), source.get(new=True)] == [expected, expected]
    child = subprocess.run([sys.executable, "-c", f"import os; print({TEXT!r} in os.environ)"], capture_output=True, check=True)
    assert child.stdout.strip() == b"False"


def test_a_new_passphrase_is_typed_twice():
    one, two = canary("one"), canary("two")
    assert PassphraseSource({}, answers(one, one)).get(new=True) == Secret(one)
    with pytest.raises(StoreError) as exc_info:
        PassphraseSource({}, answers(one, two)).get(new=True)
    assert exc_info.value.id == "passphrase-wrong"


@pytest.mark.requirement("E36")
def test_where_nobody_can_be_asked_the_variables_are_named():
    with pytest.raises(StoreError) as exc_info:
        PassphraseSource({}).get()
    assert exc_info.value.id == "passphrase-needed"
    assert FILE in exc_info.value.hint


def test_an_empty_passphrase_is_refused(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("\n")
    path.chmod(0o600)
    for source in (PassphraseSource({TEXT: ""}), PassphraseSource({FILE: str(path)}), PassphraseSource({}, answers(""))):
        with pytest.raises(StoreError) as exc_info:
            source.get()
        assert exc_info.value.id == "passphrase-needed"


@pytest.mark.requirement("E44")
@pytest.mark.parametrize("kind", ["absent", "folder", "writable by others", "not text"])
def test_a_passphrase_file_that_cannot_be_trusted_is_named(tmp_path, kind):
    path = tmp_path / "passphrase"
    if kind == "folder":
        path.mkdir()
    elif kind != "absent":
        path.write_bytes(b"\xff\xfe" if kind == "not text" else b"words")
        path.chmod(0o666 if kind == "writable by others" else 0o600)
    with pytest.raises(StoreError) as exc_info:
        PassphraseSource({FILE: str(path)}).get()
    assert exc_info.value.id == "passphrase-needed"
    assert str(path) in exc_info.value.message


def test_threads_that_ask_at_once_all_get_it(monkeypatch):
    """As the checks of `doctor` do: the first one takes it out of the environment."""

    class Slow(dict):
        def __contains__(self, name):
            time.sleep(0.01)
            return super().__contains__(name)

    monkeypatch.setenv(TEXT, canary("passphrase"))
    slow = Slow(os.environ)
    monkeypatch.setattr("portico.store.encrypted_file.os.environ", slow)
    source = PassphraseSource()
    with ThreadPoolExecutor(8) as pool:
        passphrases = list(pool.map(lambda _: source.get(), range(8)))
    assert len(set(map(Secret.reveal, passphrases))) == 1
    assert TEXT not in slow


def test_it_is_stretched_once_for_each_salt_and_again_where_it_has_changed(tmp_path):
    path, stretched = tmp_path / "passphrase", []
    source = PassphraseSource({FILE: str(path)})

    def key(salt):
        return source.derive_key(lambda secret: stretched.append(salt) or f"{salt} {secret.reveal()}".encode(), salt)

    for words in ("first", "first", "second"):
        path.write_text(words)
        path.chmod(0o600)
        assert (key("a"), key("b")) == (f"a {words}".encode(), f"b {words}".encode())
    assert stretched == ["a", "b", "a", "b"]


def test_threads_that_open_stores_at_once_stretch_it_once():
    """As the checks of `doctor` do."""
    source, stretched = PassphraseSource({TEXT: canary("passphrase")}), []

    def stretch(secret):
        time.sleep(0.01)
        stretched.append(secret)
        return b"key"

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: source.derive_key(stretch, "salt"), range(4))) == {b"key"}
    assert len(stretched) == 1
