"""What a person, or a program with `--json`, sees while a sign-in runs."""

from __future__ import annotations

from dataclasses import is_dataclass
from io import StringIO
from typing import TYPE_CHECKING, Final, cast

from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from portico.oauth import flow
    from portico.onboarding.workbench import Speaker


_ROOM_BESIDE_QR: Final = 14  # lines of a terminal for what is said after the QR code: all of it is to be in sight at once


class SignInView:
    """Turns the flow's events into lines on stderr, or into one JSON object each on stdout. `hint` goes with the first one.

    Addresses and codes are what a sign-in is for: they are shown also when quiet.
    """

    def __init__(self, out: Speaker, env: Mapping[str, str], program: str, *, show_qr: bool, hint: str = "") -> None:
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
        if drawn.getvalue().count("\n") + _ROOM_BESIDE_QR <= _rows(self._out.stderr):
            self._out.note(drawn.getvalue())


def _rows(stream: TextIO) -> int:
    import os
    import shutil

    try:
        return os.get_terminal_size(stream.fileno()).lines
    except (OSError, ValueError):
        return shutil.get_terminal_size().lines


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
