"""What a person, or a program with `--json`, sees while a sign-in runs."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import TYPE_CHECKING

from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.contracts import DeviceAuthorization
    from portico.oauth import events
    from portico.onboarding.workbench import Speaker


class SignInView:
    """Turns the flow's events into lines on stderr, or into one JSON object each on stdout. `hint` goes with the first one."""

    def __init__(self, out: Speaker, env: Mapping[str, str], program: str, *, show_qr: bool, hint: str = "") -> None:
        self._out = out
        self._env = env
        self._program = program
        self._show_qr = show_qr
        self._hint = hint

    def __call__(self, event: object) -> None:
        """Show one of `portico.oauth.events`; events that have no words here are shown in JSON only."""
        name = type(event).__name__
        hint, self._hint = self._hint, ""
        self._out.event({"event": _kebab(name), **_fields(event), **({"hint": hint} if hint else {})})
        if hint and not self._out.is_json:
            self._out.note(hint)
        show = getattr(self, f"_on_{name}", None)
        if show is not None and not self._out.is_json:
            show(event)

    def _on_AuthorizeUrl(self, event: events.AuthorizeUrl) -> None:  # noqa: N802 - named for its event
        if event.opened:
            self._out.note(f"Your browser was opened to approve the sign-in. If it did not open:\n\n  {event.url}\n")
            return
        self._say_why(event.not_opened)
        self._out.note(f"Open this address to approve the sign-in:\n\n  {event.url}\n")
        line = tunnel_line(event.redirect_uri, self._env)
        if line is not None:
            self._out.note(f"That browser must reach this machine. From the machine it runs on, first:\n\n  {line}\n")

    def _on_DeviceCode(self, event: events.DeviceCode) -> None:  # noqa: N802 - named for its event
        device = event.device
        self._say_why(event.not_opened)
        opened = "Your browser was opened there." if event.opened else "Any browser will do, on any machine."
        self._out.note(f"Open {device.verification_uri}\nand enter the code  {device.user_code}\n{opened}")
        if self._show_qr and not event.opened:
            self._draw_qr(device)

    def _on_BrowserNotOpened(self, event: events.BrowserNotOpened) -> None:  # noqa: N802 - named for its event
        self._say_why(event.reason)

    def _on_StrayRequest(self, event: events.StrayRequest) -> None:  # noqa: N802 - named for its event
        self._out.detail(f"A request that is not the sign-in's redirect was refused: {event.reason}")

    def _on_RedirectCaught(self, _event: object) -> None:  # noqa: N802 - named for its event
        self._out.note("The redirect came back.")

    def _on_Exchanging(self, _event: object) -> None:  # noqa: N802 - named for its event
        self._out.detail("Exchanging the code for tokens ...")

    def _on_PollSlowed(self, event: events.PollSlowed) -> None:  # noqa: N802 - named for its event
        self._out.detail(f"The server asks for patience: one question every {event.interval:g} s.")

    def _on_PollRetry(self, event: events.PollRetry) -> None:  # noqa: N802 - named for its event
        self._out.detail(f"Asking again: {event.reason}")

    def _on_DeviceUnavailable(self, event: events.DeviceUnavailable) -> None:  # noqa: N802 - named for its event
        self._out.detail(f"The code cannot be used any more: {event.reason}")

    def _say_why(self, reason: str | None) -> None:
        if reason is not None:
            self._out.note(f"No browser was opened: {reason}.")

    def _draw_qr(self, device: DeviceAuthorization) -> None:
        try:
            import segno
        except ImportError:
            return
        address = device.verification_uri_complete or device.verification_uri
        segno.make(address, error="l").terminal(out=self._out.stderr, compact=True)


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
