"""What a running sign-in tells its user interface, as it happens. No event holds a secret or text that a stranger sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portico.interfaces.authorization import DeviceAuthorization


@dataclass(frozen=True, slots=True)
class AuthorizeUrl:
    """The page on which the user signs in. `opened`: a browser is being started on it; `not_opened` says why none is.

    `redirect_uri` is where the answer will be caught on this machine.
    """

    url: str = field(repr=False)
    opened: bool
    redirect_uri: str = ""
    not_opened: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """The code the user types, and where (RFC 8628 section 3.3). `opened`: a browser is being started on that page."""

    device: DeviceAuthorization
    opened: bool
    not_opened: str | None = None


@dataclass(frozen=True, slots=True)
class BrowserNotOpened:
    """The browser that was started is not there after all, or its flow cannot run and the device flow goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class BrowserNotSeen:
    """The browser was started a while ago and has not asked for the page: it may be slow, or not reach this machine."""


@dataclass(frozen=True, slots=True)
class StrayRequest:
    """Something other than the answer arrived, was refused, and the sign-in goes on. `reason` is one of a fixed few.

    `other-user`: a process of another user of this machine sent it. `gone`: its sender closed the connection before it was known
    whose process it was. `start-address-used`: the address that the browser is started on was asked for again.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class RedirectCaught:
    """The authorization server's answer arrived and is genuine."""


@dataclass(frozen=True, slots=True)
class Exchanging:
    """The code is on its way to the token endpoint."""


@dataclass(frozen=True, slots=True)
class PollSlowed:
    """The server asked for a slower pace; `interval` is the new one in seconds."""

    interval: float


@dataclass(frozen=True, slots=True)
class PollRetry:
    """One poll was lost; the next one follows."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeviceUnavailable:
    """The device flow beside the browser flow ended without a result; the browser flow goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The grant is stored. `flow` is the one that brought it: `browser` or `device`."""

    flow: str = ""


Event = (
    AuthorizeUrl
    | DeviceCode
    | BrowserNotOpened
    | BrowserNotSeen
    | StrayRequest
    | RedirectCaught
    | Exchanging
    | PollSlowed
    | PollRetry
    | DeviceUnavailable
    | Finished
)
EventHandler = Callable[[Event], None]
