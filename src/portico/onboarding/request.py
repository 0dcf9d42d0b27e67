"""What a sign-in was asked for: each field None where the user did not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from portico.store.profiles import StoreName

FlowName = Literal["auto", "browser", "device"]


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """One `onboard --auth-choice ...` or `models auth login ...`.

    `timeout_s` bounds the wait for approval. `make_default` None: only where no default model is set yet.
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
    background: bool | None = None
