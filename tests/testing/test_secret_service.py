from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from portico.testing import secret_service as module
from portico.testing.canary import canary

if TYPE_CHECKING:
    from portico.testing.secret_service import SecretService

pytestmark = pytest.mark.linux


def test_keyring_stores_and_reads_through_the_real_service(secret_service: SecretService) -> None:
    import keyring

    secret = canary("at")
    keyring.set_password("portico-test", "somebody", secret)
    assert keyring.get_password("portico-test", "somebody") == secret
    listed = [item for item in secret_service.items() if item.attributes.get("service") == "portico-test"]
    assert [item.attributes["username"] for item in listed] == ["somebody"]
    assert secret not in repr(listed)
    keyring.delete_password("portico-test", "somebody")
    assert not [item for item in secret_service.items() if item.attributes.get("service") == "portico-test"]


def test_a_locked_service_says_so_and_is_not_reused(secret_service: SecretService) -> None:
    assert secret_service.clear()
    secret_service.lock()
    assert not secret_service.clear()


def test_after_a_test_that_locked_it_the_service_works_again(secret_service: SecretService) -> None:
    assert secret_service.items() == []
    assert secret_service.clear()


def test_the_service_is_a_private_one_and_leaves_nothing_behind(secret_service: SecretService) -> None:
    with module.secret_service() as another:
        assert another.address != secret_service.address
        folder, process = another.folder, another.daemon
        assert another.items() == []
    assert not folder.exists()
    assert process.poll() is not None


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "/nonexistent")
    reason = module.missing_part()
    assert reason is not None
    assert "dbus-daemon and gnome-keyring-daemon" in reason
    with pytest.raises(module.SecretServiceError, match="gnome-keyring-daemon"), module.secret_service():
        pass
