"""Model/auth: a provider, a way to it, and the default model (provider page: the wizard)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.onboarding.set_up import set_up
from portico.onboarding.wizard import base
from portico.onboarding.wizard.providers import choose_method

if TYPE_CHECKING:
    from portico.onboarding.set_up import Asked
    from portico.onboarding.workbench import Workbench


def model_auth(bench: Workbench, asked: Asked, *, leave: str = "Back") -> bool:
    """Set up what the person picks; False for the last row of the menu, which is called `leave`.

    Raises:
        PorticoError: as `set_up`.
    """
    choice = choose_method(bench, leave=leave)
    if choice is None:
        return False
    set_up(bench, choice, asked, pick_default=True)
    return True


def first_set_up(bench: Workbench, asked: Asked) -> None:
    """`onboard` without a choice: the menus from the first one on.

    Raises:
        PorticoError: as `set_up`.
    """
    base.offer(bench)
    if not model_auth(bench, asked, leave="Skip for now"):
        bench.out.note(f"Nothing was set up. To come back to it: {bench.program} onboard")


def hint(bench: Workbench) -> str:
    """Who is set up already."""
    profiles = bench.token_store.profiles()
    if not profiles:
        return "sign in to a provider, or give an API key"
    return f"set up: {profiles[0].id}" + (f" and {len(profiles) - 1} more" if len(profiles) > 1 else "")
