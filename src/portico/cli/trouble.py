"""Telling of sign-ins that have ended, from the first refusal on: before requests start to fail, and beside every command."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # `typing` is a visible part of what a fresh token costs
if TYPE_CHECKING:
    from portico.cli.runtime import Runtime


def say_ended(rt: Runtime) -> None:
    """One line on stderr for all sign-ins that the provider has refused to refresh for good; nothing when quiet.

    Whatever is wrong with the index is for the commands that need it to say.
    """
    from portico.errors import PorticoError

    try:
        if not os.path.exists(rt.paths.index):  # noqa: PTH110 - Path's own raises where a folder may not be looked into
            return  # nobody has ever signed in, which need not be asked of the index
        from portico.auth.health import refused
        from portico.store.profiles import new_tokens

        ended = refused(rt.token_store.profiles())
    except PorticoError:
        return
    if len(ended) == 1 and ended[0].failure is not None:
        remedy = new_tokens(ended[0]).replace("{prog}", rt.program)
        why = " ".join(ended[0].failure.message.split())
        rt.out.note(f"{rt.program}: {ended[0].id} has to be signed in again: {why} - {remedy}")
    elif ended:
        names = ", ".join(profile.id for profile in ended)
        rt.out.note(f"{rt.program}: these have to be signed in again: {names} - see {rt.program} auth status")
