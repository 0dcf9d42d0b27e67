"""Keeping what a finished sign-in brought: the vault, then the index, and never a lost token.

A store that fails now was fine when it was probed. The tokens stay in memory while it is tried again; a person is then offered
the other store, and where nobody can be asked the grant is given back to the provider, so that no live token is left with nobody.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from portico.contracts import Choice
from portico.errors import StoreError
from portico.store.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from portico.onboarding.workbench import Workbench
    from portico.store.profiles import Profile, StoreName
    from portico.store.vault import Tokens

_TRIES: Final = 3
_PAUSE_S: Final = 1.0
_OTHER: Final[dict[str, StoreName]] = {"keyring": "file", "file": "keyring"}
_LABEL: Final = {"keyring": "the OS keyring", "file": "a file sealed with a passphrase"}


def ready_store(bench: Workbench, asked: StoreName | None) -> StoreName | None:
    """Show that the store works (write, read back, delete) before any browser opens; the store to use.

    Raises:
        StoreError: it does not, and nobody chose the other one.
    """
    try:
        bench.vault(asked).probe()
    except StoreError as error:
        other = _OTHER[bench.index.store_name or "keyring"]
        if asked is not None or not bench.prompter.interactive or not _wants(bench, error, other):
            raise
        bench.vault(other).probe()
        return other
    return asked


def _wants(bench: Workbench, error: StoreError, other: StoreName) -> bool:
    bench.out.warn(str(error))
    return bench.prompter.confirm(f"Keep the tokens in {_LABEL[other]} instead?", flag=f"--store {other}")


async def store(
    bench: Workbench, profile: Profile, tokens: Tokens, *, chosen: StoreName | None, give_back: Callable[[], Awaitable[bool]]
) -> Profile:
    """Commit the tokens and return the profile as it is now in the index.

    Raises:
        StoreError: no store took them; the grant was revoked, or the message says that it could not be.
    """
    current: StoreName | None = chosen
    while True:
        try:
            return await _commit(bench, profile, tokens, current)
        except StoreError as error:
            picked = await off_loop(partial(_next_store, bench, error, current))
            if picked is None:
                revoked = await give_back()
                raise _not_kept(error, revoked=revoked) from error
            current = picked


async def _commit(bench: Workbench, profile: Profile, tokens: Tokens, chosen: StoreName | None) -> Profile:
    tries = 1 if bench.prompter.interactive else _TRIES
    for left in reversed(range(tries)):
        try:
            return await off_loop(partial(bench.vault(chosen).commit, profile, tokens))
        except StoreError:
            if not left:
                raise
            await bench.clock.sleep(_PAUSE_S)
    raise AssertionError("unreachable: the last try returned or raised")


def _next_store(bench: Workbench, error: StoreError, current: StoreName | None) -> StoreName | None:
    if not bench.prompter.interactive:
        return None
    bench.out.warn(f"{error}\nYou are signed in; the tokens are still in memory and wait for a place.")
    rows = [
        Choice("again", "Try again", _LABEL[current or "keyring"]),
        Choice("other", "Use the other store", _LABEL[_OTHER[current or "keyring"]]),
        Choice("drop", "Give up", "the sign-in is revoked"),
    ]
    answer = bench.prompter.choose("Where should they go?", rows, flag="--store", default="other")
    if answer == "drop":
        return None
    return _OTHER[current or "keyring"] if answer == "other" else (current or "keyring")


def _not_kept(error: StoreError, *, revoked: bool) -> StoreError:
    fate = "the sign-in was revoked again" if revoked else "the provider could not be told to revoke the sign-in"
    return type(error)(
        error.id,
        f"{error.message} The new tokens were not kept; {fate}.",
        why=error.why,
        where=error.where,
        hint=error.hint or "{prog} onboard --auth-choice minimax-portal --store file",
    )
