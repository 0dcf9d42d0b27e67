"""The questions about an API key: where it is kept, and what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import UsageError
from portico.interfaces.basics import Choice
from portico.onboarding.api_key import read_key

if TYPE_CHECKING:
    from portico.errors import PorticoError
    from portico.interfaces.provider_spec import KeyChoice
    from portico.onboarding.api_key import KeyPlace, KeySetup
    from portico.onboarding.request import KeyRequest
    from portico.onboarding.workbench import Workbench
    from portico.secret import Secret

_PLACES: Final = (
    Choice("keyring", "OS keyring", "recommended: no file holds it"),
    Choice("env", "Environment variable", "you set it; the config refers to it"),
    Choice("config", "Config file", "plain text in a file that only you can read"),
)


def ask_place(bench: Workbench, request: KeyRequest, choice: KeyChoice) -> KeyPlace:
    """Where the key is to be kept; in the keyring, where nobody can be asked."""
    if not choice.needs_key or request.place is not None:
        return request.place or "config"
    if not bench.prompter.interactive:
        return "keyring"
    places: dict[str, KeyPlace] = {"keyring": "keyring", "env": "env", "config": "config"}
    return places[bench.prompter.choose("Where should the key be kept?", _PLACES, flag="--keep-key", default="keyring")]


def ask_key(bench: Workbench, request: KeyRequest, setup: KeySetup, refused: PorticoError | None) -> Secret | None:
    """The key: given, found in the environment, or typed. After one that was `refused` an empty line gives up.

    Raises:
        UsageError: `bad-key`, `key-not-set`; nobody can be asked.
        PorticoError: `refused` itself.
    """
    spec, place = setup.spec, setup.place
    if not setup.choice.needs_key:
        return None
    if request.key is not None:
        return read_key(request.key.reveal())
    name = spec.env_keys[0]
    found = bench.config.env.get(name)
    if found and refused is None and (place == "env" or _wants_existing(bench, name)):
        return read_key(found)
    if place == "env" and not bench.prompter.interactive:
        raise UsageError("key-not-set", f"{name} is not set.", hint=f"Set it, and run the command again: export {name}=...")
    again = " (empty: give up)" if refused is not None else ""
    typed = bench.prompter.secret(f"Enter {spec.vendor or spec.label} API key{again}", flag="--api-key-stdin")
    if refused is not None and not typed.reveal().strip():
        raise refused
    return read_key(typed.reveal())


def may_ask_again(bench: Workbench, request: KeyRequest, setup: KeySetup) -> bool:
    """Whether another key can be typed in the place of a wrong one: not where it was given, or where only the user can set it."""
    set_elsewhere = setup.place == "env" and bool(bench.config.env.get(setup.spec.env_keys[0]))
    return bench.prompter.interactive and setup.choice.needs_key and request.key is None and not set_elsewhere


def _wants_existing(bench: Workbench, name: str) -> bool:
    if not bench.prompter.interactive:
        return True
    return bench.prompter.confirm(f"Use the key that {name} holds?", flag="--api-key-stdin", default=True)
