"""What a person, or a program with `--json`, sees while a sign-in runs; times as people read them; which account is in use.

A new account takes the place of one of the same provider only if nothing says otherwise: a written `auth.order` never changes.
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

_USUAL_ROWS: Final = 24
_ROOM_BESIDE_QR: Final = 14  # lines of a terminal for what is said after the QR code: all of it is to be in sight at once


class SignInView:
    """Turns the flow's events into lines on stderr, or into one JSON object each on stdout. `hint` goes with the first one.

    Addresses and codes are what a sign-in is for: they are shown also when quiet.
    """

    def __init__(self, out: Output, env: Mapping[str, str], program: str, *, show_qr: bool, hint: str = "") -> None:
        self._out = out
        self._env = env
        self._program = program
        self._show_qr = show_qr
        self._hint = hint
        self._asked = False
        self._warned = False

    def __call__(self, event: object) -> None:
        """Show one of `portico.oauth.flow`; events that have no words here are shown in JSON only."""
        name = type(event).__name__
        hint, self._hint = self._hint, ""
        self._out.event({"event": _kebab(name), **_fields(event), **({"hint": hint} if hint else {})})
        if self._out.is_json:
            return
        if name == "DeviceCode" and self._show_qr:
            self._draw_qr(cast("flow.DeviceCode", event))  # before any word, so that the words are what stays on the screen
        if hint:
            self._out.note(hint)
        show = getattr(self, f"_on_{name}", None)
        if show is not None:
            show(event)

    def _on_AuthorizeUrl(self, event: flow.AuthorizeUrl) -> None:  # noqa: N802 - named for its event
        if event.opened:
            self._out.warn(f"{self._or()}Your browser was opened to approve the sign-in. If it did not open:\n\n  {event.url}\n")
            return
        self._say_why(event.not_opened)
        self._out.warn(f"{self._or()}Open this address to approve the sign-in:\n\n  {event.url}\n")
        line = tunnel_line(event.redirect_uri, self._env)
        if line is not None:
            self._out.warn(f"That browser must reach this machine. From the machine it runs on, first:\n\n  {line}\n")

    def _on_DeviceCode(self, event: flow.DeviceCode) -> None:  # noqa: N802 - named for its event
        device = event.device
        self._say_why(event.not_opened)
        page = "Your browser was opened on this page" if event.opened else "Open this page in any browser, on any machine"
        self._out.warn(f"{self._or()}{page}:\n\n  {device.verification_uri}\n\nThere, enter the code\n\n  {device.user_code}\n")

    def _or(self) -> str:
        """What begins the second of two ways to approve."""
        asked, self._asked = self._asked, True
        return "Or: " if asked else ""

    def _on_BrowserNotOpened(self, event: flow.BrowserNotOpened) -> None:  # noqa: N802 - named for its event
        self._say_why(event.reason)

    def _on_BrowserNotSeen(self, _event: object) -> None:  # noqa: N802 - named for its event
        self._out.note("The browser has not asked for the sign-in page yet. If it shows an error, open the address above.")

    def _on_StrayRequest(self, event: flow.StrayRequest) -> None:  # noqa: N802 - named for its event
        if event.reason == "other-user" and not self._warned:
            self._warned = True  # once: she could send as many as she likes
            self._out.warn("A program of another user of this computer called this sign-in's address. It was refused.")
            return
        self._out.detail(f"A request that is not the sign-in's redirect was refused: {event.reason}")

    def _on_RedirectCaught(self, _event: object) -> None:  # noqa: N802 - named for its event
        self._out.note("The redirect came back.")

    def _on_Exchanging(self, _event: object) -> None:  # noqa: N802 - named for its event
        self._out.detail("Exchanging the code for tokens ...")

    def _on_PollSlowed(self, event: flow.PollSlowed) -> None:  # noqa: N802 - named for its event
        self._out.detail(f"The server asks for patience: one question every {event.interval:g} s.")

    def _on_PollRetry(self, event: flow.PollRetry) -> None:  # noqa: N802 - named for its event
        self._out.detail(f"Asking again: {event.reason}")

    def _on_DeviceUnavailable(self, event: flow.DeviceUnavailable) -> None:  # noqa: N802 - named for its event
        self._out.detail(f"The code cannot be used any more: {event.reason}")

    def _say_why(self, reason: str | None) -> None:
        if reason is not None:
            self._out.note(f"No browser was opened: {reason}.")

    def _draw_qr(self, event: flow.DeviceCode) -> None:
        """The page as a QR code, where the terminal keeps the words after it in sight as well."""
        if event.opened:
            return
        try:
            import segno
        except ImportError:
            return
        drawn = StringIO()
        address = event.device.verification_uri_complete or event.device.verification_uri
        segno.make(address, error="l").terminal(out=drawn, compact=True)
        if drawn.getvalue().count("\n") + _ROOM_BESIDE_QR <= _rows(self._out):
            self._out.note(drawn.getvalue())


def _rows(out: Output) -> int:
    """Lines of the terminal: what stderr's says, `LINES`, what stdout's says, else 24."""
    import os

    with suppress(OSError, ValueError):
        return os.get_terminal_size(out.stderr.fileno()).lines
    given = (os.environ if out.env is None else out.env).get("LINES", "")
    if given.isdecimal() and int(given):
        return int(given)
    with suppress(OSError, ValueError):
        return os.get_terminal_size(out.stdout.fileno()).lines or _USUAL_ROWS
    return _USUAL_ROWS


def tunnel_line(redirect_uri: str, env: Mapping[str, str]) -> str | None:
    """The `ssh -N -L` line that brings a browser elsewhere to this callback server; None where this is no SSH session."""
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
    """The fields of a dataclass, unconverted: `asdict` would copy, and a `Secret` refuses to be copied."""
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
    """How long from now until `at_ms`, in its two largest units: `2h 5m`, `expired 3m ago`, `as long as the provider says`."""
    if at_ms is None:
        return "as long as the provider says"
    seconds = abs(at_ms - now_ms) // 1000
    return f"expired {_span(seconds)} ago" if at_ms <= now_ms else _span(seconds)


def iso(at_ms: int) -> str:
    """`at_ms` (wall ms) in ISO 8601, UTC, to the second."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _span(seconds: int) -> str:
    parts: list[str] = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count}{unit}")
        if len(parts) == 2:  # noqa: PLR2004 - two units are as exact as a person wants it
            break
    return " ".join(part for part in parts if not part.startswith("0")) or "0s"


@dataclass(frozen=True, slots=True)
class InUse:
    """The ids of the profiles that a provider's models use: `now`, and `before` the new one was stored. None if there is none.

    `order` are the ids of the provider's accounts with the new one first: what `auth order set` takes to put it in use.
    """

    before: str | None
    now: str | None
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Whether a new account, `profile_id`, becomes the one in use. `chosen` holds while `current` is the one in use."""

    provider: str
    region: str
    profile_id: str
    make_default: bool | None
    current: str | None
    chosen: bool

    def now(self, app: App) -> bool:
        """What was chosen; if another account has come into use since then, what the rules say of that one, unasked."""
        current = profile_in_use(app, self.provider)
        if (current.id if current is not None else None) == self.current:
            return self.chosen
        return _wanted(app, current, self.provider, self.region, self.profile_id, self.make_default) is not False


def profile_in_use(app: App, provider: str) -> Profile | None:
    """The profile of `provider` that is used if the user names none; None if there is none, or the index cannot be read."""
    try:
        return app.models().profile_in_use(provider)
    except PorticoError:
        return None


def id_in_use(app: App, provider: str) -> str | None:
    """The id of `profile_in_use`."""
    profile = profile_in_use(app, provider)
    return profile.id if profile is not None else None


def in_use_after(app: App, profile: Profile, before: str | None) -> InUse:
    """Which account is in use after `profile` was stored."""
    order = app.models().credentials.order_for(profile.provider)
    known = order or tuple(one.id for one in app.token_store.profiles() if one.provider == profile.provider)
    return InUse(before, id_in_use(app, profile.provider), (profile.id, *(id for id in known if id != profile.id)))


def decide(app: App, provider: str, region: str, profile_id: str, *, make_default: bool | None) -> TakeOver:
    """Whether a new sign-in or key, stored as `profile_id`, becomes the account in use.

    It does if there is no other, or none that works. An account in an explicit `auth.order`, or of the same region, stays in use.
    One of another region is replaced if the new one is to be the default (`make_default`), after a question on a terminal; but
    not if the new region has an older account, which would then come into use without having been named.
    """
    current = profile_in_use(app, provider)
    wanted = _wanted(app, current, provider, region, profile_id, make_default)
    if wanted is None:
        assert current is not None  # noqa: S101 - there is nothing to ask about otherwise
        question = f"{current.id} ({current.region}) is in use. Use {profile_id} ({region}) from now on?"
        asks = app.prompter.interactive
        wanted = not asks or app.prompter.confirm(question, flag="--keep-default", default=True)
    return TakeOver(provider, region, profile_id, make_default, current.id if current is not None else None, wanted)


def _wanted(
    app: App, current: Profile | None, provider: str, region: str, profile_id: str, make_default: bool | None
) -> bool | None:
    """Whether `profile_id` takes the place of `current`; None if it does unless the user says no."""
    if current is None or current.id == profile_id:
        return True
    if make_default is False or app.models().credentials.order_for(provider):
        return False
    own = [
        one for one in app.token_store.profiles() if one.provider == provider and one.region == region and one.id != profile_id
    ]
    if any(not one.sign_out_unfinished for one in own):
        return False
    if current.failure is not None and current.failure.terminal:
        return True
    return None if make_default else False


def summary_lines(in_use: InUse, profile: Profile, program: str) -> list[str]:
    """What a person must know after a sign-in: which account is in use, which one was, and how to change that.

    Nothing if there is one account.
    """
    now, before = in_use.now, in_use.before
    if now is None or (now == profile.id and before in {None, profile.id}):
        return []
    if now == before:
        return [f"In use: {now} (unchanged). {order_advice(in_use, profile, profile.id, program)}"]
    if before is None:
        return [f"In use: {now} (was none)"]
    return [f"In use: {now} (was {before})", order_advice(in_use, profile, before, program)]


def order_advice(in_use: InUse, profile: Profile, first: str, program: str) -> str:
    """The command that puts `first` in use, on a line of its own."""
    rest = (id for id in in_use.order if id != first)
    return f"To use {first} instead:\n  {program} auth order set --provider {profile.provider} {' '.join((first, *rest))}"
