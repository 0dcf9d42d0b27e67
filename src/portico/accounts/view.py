"""Show the progress of a sign-in, format times, and decide which account is in use.

A new account never changes a written `auth.order`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from io import StringIO
from typing import TYPE_CHECKING, Final, cast

from portico.errors import PorticoError
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.app import App
    from portico.oauth import flow
    from portico.store.records import Profile
    from portico.terminal.output import Output

_DEFAULT_LINES: Final = 24
_LINES_BELOW_QR: Final = 14  # the text after the QR code must fit on the same screen

_NOTES: Final = {
    "BrowserNotOpened": "No browser was opened: {event.reason}.",
    "BrowserNotSeen": "The browser has not loaded the sign-in page yet. If it shows an error, open the address above.",
    "RedirectCaught": "Received the response from the browser.",
}
_DETAILS: Final = {
    "Exchanging": "Exchanging the code for tokens ...",
    "PollSlowed": "The server asked to slow down: polling every {event.interval:g} s.",
    "PollRetry": "Polling again: {event.reason}",
    "DeviceUnavailable": "The code is no longer valid: {event.reason}",
}


class SignInView:
    """Prints each event of a flow: as lines on stderr, or as one JSON object on stdout. `hint` is shown with the first event.

    Addresses and codes are printed even with `--quiet`: without them there is no sign-in.
    """

    def __init__(self, out: Output, env: Mapping[str, str], program: str, *, show_qr: bool, hint: str = "") -> None:
        self._out = out
        self._env = env
        self._program = program
        self._show_qr = show_qr
        self._hint = hint
        self._address_shown = False
        self._warned = False

    def __call__(self, event: object) -> None:
        """Show an event of `portico.oauth.flow`. Events without text appear in JSON only."""
        name = type(event).__name__
        hint, self._hint = self._hint, ""
        self._out.event({"event": _kebab(name), **_fields(event), **({"hint": hint} if hint else {})})
        if self._out.is_json:
            return
        if name == "DeviceCode" and self._show_qr:
            self._draw_qr(cast("flow.DeviceCode", event))  # first, so that the text stays on the screen
        if hint:
            self._out.note(hint)
        if name in _NOTES:
            self._out.note(_NOTES[name].format(event=event))
        elif name in _DETAILS:
            self._out.detail(_DETAILS[name].format(event=event))
        elif show := getattr(self, f"_on_{name}", None):
            show(event)

    def _on_AuthorizeUrl(self, event: flow.AuthorizeUrl) -> None:  # noqa: N802 - named for its event
        if event.opened:
            self._out.warn(f"{self._or()}Your browser was opened to approve the sign-in. If it did not open:\n\n  {event.url}\n")
            return
        self._note_why(event.not_opened)
        self._out.warn(f"{self._or()}Open this address to approve the sign-in:\n\n  {event.url}\n")
        command = tunnel_command(event.redirect_uri, self._env)
        if command is not None:
            self._out.warn(f"The browser must reach this machine. First run this on the browser's machine:\n\n  {command}\n")

    def _on_DeviceCode(self, event: flow.DeviceCode) -> None:  # noqa: N802 - named for its event
        device = event.device
        self._note_why(event.not_opened)
        page = "Your browser was opened on this page" if event.opened else "Open this page in any browser, on any machine"
        self._out.warn(f"{self._or()}{page}:\n\n  {device.verification_uri}\n\nThere, enter the code\n\n  {device.user_code}\n")

    def _or(self) -> str:
        """Return the prefix of the second address."""
        is_second, self._address_shown = self._address_shown, True
        return "Or: " if is_second else ""

    def _on_StrayRequest(self, event: flow.StrayRequest) -> None:  # noqa: N802 - named for its event
        if event.reason == "other-user" and not self._warned:
            self._warned = True  # once: the other user can send any number of requests
            self._out.warn("Refused a request from another user of this computer to the sign-in's address.")
            return
        self._out.detail(f"Refused a request that is not the sign-in's redirect: {event.reason}")

    def _note_why(self, reason: str | None) -> None:
        if reason is not None:
            self._out.note(f"No browser was opened: {reason}.")

    def _draw_qr(self, event: flow.DeviceCode) -> None:
        """Draw the page's address as a QR code, if the text after it fits on the same screen."""
        if event.opened:
            return
        try:
            import segno
        except ImportError:
            return
        drawing = StringIO()
        address = event.device.verification_uri_complete or event.device.verification_uri
        segno.make(address, error="l").terminal(out=drawing, compact=True)
        if drawing.getvalue().count("\n") + _LINES_BELOW_QR <= _terminal_lines(self._out):
            self._out.note(drawing.getvalue())


def _terminal_lines(out: Output) -> int:
    """Return the terminal's height in lines: from stderr, else `LINES`, else stdout, else 24."""
    import os

    with suppress(OSError, ValueError):
        return os.get_terminal_size(out.stderr.fileno()).lines
    lines = (os.environ if out.env is None else out.env).get("LINES", "")
    if lines.isdecimal() and int(lines):
        return int(lines)
    with suppress(OSError, ValueError):
        return os.get_terminal_size(out.stdout.fileno()).lines or _DEFAULT_LINES
    return _DEFAULT_LINES


def tunnel_command(redirect_uri: str, env: Mapping[str, str]) -> str | None:
    """Return the `ssh -N -L` command that forwards the callback port from the browser's machine; None outside an SSH session."""
    from urllib.parse import urlsplit

    if not env.get("SSH_CONNECTION"):
        return None
    port = urlsplit(redirect_uri).port
    if port is None:
        return None
    server = env["SSH_CONNECTION"].split()[2:3]
    user = env.get("USER") or env.get("LOGNAME") or "USER"
    return f"ssh -N -L {port}:127.0.0.1:{port} {user}@{server[0] if server else 'THIS-HOST'}"


def _kebab(name: str) -> str:
    return "".join(f"-{each.lower()}" if each.isupper() else each for each in name).lstrip("-")


def _fields(event: object) -> dict[str, object]:
    return _plain(asdict_shallow(event)) if is_dataclass(event) else {}


def asdict_shallow(event: object) -> dict[str, object]:
    """Return the fields of a dataclass without copying them: `asdict` copies, and a `Secret` cannot be copied."""
    return {name: getattr(event, name) for name in getattr(event, "__dataclass_fields__", {})}


def _plain(fields: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in fields.items():
        if is_dataclass(value):
            flat |= _plain(asdict_shallow(value))
        elif not isinstance(value, Secret) and value is not None:
            flat[_camel(name)] = value
    return flat


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.title() for each in rest)


_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def in_words(at_ms: int | None, now_ms: int) -> str:
    """Return the time until `at_ms` in its two largest units: `2h 5m`, `expired 3m ago`; None: `as long as the provider says`."""
    if at_ms is None:
        return "as long as the provider says"
    seconds = abs(at_ms - now_ms) // 1000
    return f"expired {_span(seconds)} ago" if at_ms <= now_ms else _span(seconds)


def iso(at_ms: int) -> str:
    """Return `at_ms` (ms since the epoch) in ISO 8601, in UTC and to the second."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _span(seconds: int) -> str:
    parts: list[str] = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count}{unit}")
        if len(parts) == 2:  # noqa: PLR2004 - two units are exact enough
            break
    return " ".join(part for part in parts if not part.startswith("0")) or "0s"


@dataclass(frozen=True, slots=True)
class InUse:
    """The profile in use before and after a sign-in; None: no profile was in use.

    `order` lists the provider's profiles, the new profile first: the arguments of `auth order set`.
    """

    before: str | None
    now: str | None
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountSwitch:
    """The decision whether the new account `profile_id` becomes the account in use.

    `wanted` is valid while `current` is in use.
    """

    provider: str
    region: str
    profile_id: str
    make_default: bool | None
    current: str | None
    wanted: bool

    def applies(self, app: App) -> bool:
        """Return `wanted`; but if another account is in use now, decide again without a prompt."""
        current = profile_in_use(app, self.provider)
        if (current.id if current is not None else None) == self.current:
            return self.wanted
        return _replaces(app, current, self.provider, self.region, self.profile_id, self.make_default) is not False


def profile_in_use(app: App, provider: str) -> Profile | None:
    """Return the profile that requests use by default; None if the provider has no profile or the index is unreadable."""
    try:
        return app.models().profile_in_use(provider)
    except PorticoError:
        return None


def id_in_use(app: App, provider: str) -> str | None:
    """The id of `profile_in_use`."""
    profile = profile_in_use(app, provider)
    return profile.id if profile is not None else None


def in_use_after(app: App, profile: Profile, before: str | None) -> InUse:
    """Return the account in use after `profile` was stored."""
    order = app.models().credentials.order_for(profile.provider)
    known = order or tuple(each.id for each in app.token_store.profiles() if each.provider == profile.provider)
    return InUse(before, id_in_use(app, profile.provider), (profile.id, *(id for id in known if id != profile.id)))


def decide_switch(app: App, provider: str, region: str, profile_id: str, *, make_default: bool | None) -> AccountSwitch:
    """Decide whether the new profile `profile_id` becomes the account in use.

    If the provider has no working account, the new profile comes into use. An account in an explicit `auth.order`, or of the same
    region, stays in use. An account of another region is replaced with `make_default`, on a terminal after a prompt. It is not
    replaced if the new region has an older account, which would come into use without the user's decision.
    """
    current = profile_in_use(app, provider)
    wanted = _replaces(app, current, provider, region, profile_id, make_default)
    if wanted is None:
        assert current is not None  # noqa: S101 - `_replaces` returned True otherwise
        question = f"{current.id} ({current.region}) is in use. Use {profile_id} ({region}) from now on?"
        wanted = not app.prompter.interactive or app.prompter.confirm(question, flag="--keep-default", default=True)
    return AccountSwitch(provider, region, profile_id, make_default, current.id if current is not None else None, wanted)


def _replaces(
    app: App, current: Profile | None, provider: str, region: str, profile_id: str, make_default: bool | None
) -> bool | None:
    """Whether `profile_id` replaces `current` as the account in use. None: ask the user; the default answer is yes."""
    if current is None or current.id == profile_id:
        return True
    if make_default is False or app.models().credentials.order_for(provider):
        return False
    for other in app.token_store.profiles():
        same_region = other.provider == provider and other.region == region and other.id != profile_id
        if same_region and not other.sign_out_unfinished:
            return False
    if current.failure is not None and current.failure.terminal:
        return True
    return None if make_default else False


def summary_lines(in_use: InUse, profile: Profile, program: str) -> list[str]:
    """Return lines with the account in use after a sign-in, and how to change it. Empty if the provider has one account."""
    now, before = in_use.now, in_use.before
    if now is None or (now == profile.id and before in {None, profile.id}):
        return []
    if now == before:
        return [f"In use: {now} (unchanged). {order_advice(in_use, profile, profile.id, program)}"]
    if before is None:
        return [f"In use: {now} (was none)"]
    return [f"In use: {now} (was {before})", order_advice(in_use, profile, before, program)]


def order_advice(in_use: InUse, profile: Profile, first: str, program: str) -> str:
    """Return the command that makes `first` the account in use, on its own line."""
    others = (id for id in in_use.order if id != first)
    return f"To use {first} instead:\n  {program} auth order set --provider {profile.provider} {' '.join((first, *others))}"
