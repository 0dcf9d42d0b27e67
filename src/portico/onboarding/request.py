"""What a sign-in or a set-up with a key was asked for: each field None where the user did not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from portico.onboarding.api_key import KeyPlace
    from portico.secret import Secret
    from portico.store.records import StoreName

FlowName = Literal["auto", "browser", "device"]


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """One `onboard --auth-choice ...` or `models auth login ...`.

    `timeout_s` bounds the wait for approval. `make_default` None: only where no default model is set yet. `default_model` is the
    reference of the model that becomes it, None for the choice's own.
    `background` None: ask.
    """

    choice: str
    region: str | None = None
    flow: FlowName | None = None
    force: bool = False
    profile: str | None = None
    store: StoreName | None = None
    open_browser: bool = True
    timeout_s: float | None = None
    replace: bool = False
    callback_port: int | None = None
    make_default: bool | None = True
    default_model: str | None = None
    background: bool | None = None


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """One key set-up: each field None where the user did not say. `key` is what standard input gave.

    `default_model` names the model to set up, where it is one of the choice's provider, and the default, unless `keep_default`.
    """

    choice: str
    key: Secret | None = None
    place: KeyPlace | None = None
    default_model: str | None = None
    keep_default: bool = False
    region: str | None = None
    profile: str | None = None
    store: StoreName | None = None
    check: bool = True
    replace: bool = False
