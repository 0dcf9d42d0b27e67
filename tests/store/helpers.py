"""Profiles, tokens and keyring backends that the tests of the store share."""

from __future__ import annotations

import threading
from typing import ClassVar

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

from portico.secret import Secret
from portico.store.records import OAuthProfile, Tokens
from portico.testing.canary import canary

HELPERS = "tests.store.helpers"


def a_profile(id: str = "minimax-portal:default", **fields) -> OAuthProfile:
    known = {
        "provider": "minimax-portal",
        "plugin": "minimax-portal-auth",
        "region": "global",
        "issuer": "https://account.example",
        "client_id": "client-1",
        "dialect": "standard",
        "api_base": "https://api.example/anthropic",
        "token_endpoint": "https://account.example/token",
        "created_at": 1_700_000_000_000,
    }
    return OAuthProfile(**{"id": id, **known, **fields})


def some_tokens(expires_at: int | None = 1_700_000_900_000) -> Tokens:
    return Tokens(Secret(canary("at")), Secret(canary("rt")), expires_at)


class InMemory(KeyringBackend):
    """Keeps every record, for this process."""

    priority = 1
    passwords: ClassVar[dict[tuple[str, str], str]] = {}

    def get_password(self, service, username):
        return self.passwords.get((service, username))

    def set_password(self, service, username, password):
        self.passwords[service, username] = password

    def delete_password(self, service, username):
        if self.passwords.pop((service, username), None) is None:
            raise PasswordDeleteError("none")


class OtherInMemory(InMemory):
    priority = 2
    passwords: ClassVar[dict[tuple[str, str], str]] = {}


class Forgetful(InMemory):
    """Takes everything and keeps nothing, as the null backend does."""

    def set_password(self, service, username, password):
        pass


class Leaky(InMemory):
    """Fails with an error that is no KeyringError and quotes its arguments."""

    def set_password(self, service, username, password):
        raise OSError(1783, f"The stub received bad data: {password}")


class Stuck(InMemory):
    """Never comes back."""

    def get_password(self, service, username):
        threading.Event().wait()

    def set_password(self, service, username, password):
        threading.Event().wait()


class PlaintextKeyring(InMemory):
    """Named as the one of keyrings.alt is."""


class Broken(InMemory):
    def __init__(self):
        raise RuntimeError("no such device")


# keyring may choose any class that it has seen as the best one: these are for tests that name them.
KeyringBackend._classes -= {InMemory, OtherInMemory, Forgetful, Leaky, Stuck, PlaintextKeyring, Broken}


class WinError(Exception):
    """pywintypes.error as pywin32 raises it: not a KeyringError, not an OSError."""

    def __init__(self, winerror, funcname, text):
        super().__init__(winerror, funcname, text)
        self.winerror, self.funcname = winerror, funcname


class FakeWin32Cred:
    """The Credential Locker's calls and its limit, for keyring's own WinVaultKeyring to work on."""

    CRED_TYPE_GENERIC = 1
    CRED_PERSIST_ENTERPRISE = 3

    def __init__(self):
        self.credentials = {}

    def CredRead(self, *, Type, TargetName):  # noqa: N803 - win32cred's own names
        if TargetName not in self.credentials:
            raise WinError(1168, "CredRead", "Element not found.")
        return self.credentials[TargetName]

    def CredWrite(self, credential, flags):
        blob = credential["CredentialBlob"].encode("utf-16-le")
        if len(blob) > 2560:
            raise WinError(1783, "CredWrite", "The stub received bad data.")
        self.credentials[credential["TargetName"]] = {**credential, "CredentialBlob": blob}

    def CredDelete(self, *, Type, TargetName):  # noqa: N803 - win32cred's own names
        if self.credentials.pop(TargetName, None) is None:
            raise WinError(1168, "CredDelete", "Element not found.")

    def everything(self):
        return "\n".join(credential["CredentialBlob"].decode("utf-16-le") for credential in self.credentials.values())
