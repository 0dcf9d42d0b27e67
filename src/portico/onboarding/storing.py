"""Keeping what a finished sign-in brought: the tokens, then the profile, and never a lost token.

A store that fails now was fine when it was probed. The tokens stay in memory while it is tried again; a person is then offered
the other store, and where nobody can be asked the grant is given back to the provider, so that no live token is left with nobody.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from portico.errors import LockBusy, StoreError
from portico.interfaces.basics import Choice
from portico.store.token_store import GenerationChanged
from portico.util.threads import off_loop, start_off_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from portico.onboarding.workbench import Workbench
    from portico.store.records import Profile, StoreName
    from portico.store.token_store import Tokens

_TRIES: Final = 3
_PAUSE_S: Final = 1.0
_OTHER: Final[dict[str, StoreName]] = {"keyring": "file", "file": "keyring"}
_LABEL: Final = {"keyring": "the OS keyring", "file": "a file sealed with a passphrase"}


def ready_store(bench: Workbench, asked: StoreName | None, *, choice: str | None = None) -> StoreName | None:
    """Show that the store works (write, read back, delete) before any browser opens; the store to use.

    That is the one `asked` for by an option, else the one that the config chooses. `choice` is the auth choice of the sign-in
    that waits for it, which the error's hint repeats.

    Raises:
        StoreError: it does not, and nobody chose the other one.
    """
    asked = asked or bench.store_choice()
    last = bench.local_store().last_store
    if asked is None and last == "file":
        bench.out.note("The tokens go into the sealed file, as last time; --store keyring puts them into the OS keyring.")
    try:
        bench.local_store(asked).probe()
    except StoreError as error:
        for reason in getattr(error, "reasons", ()):
            bench.out.detail(reason)
        if choice is not None and error.hint is not None:
            error.hint = error.hint.replace("{prog} onboard --store", f"{{prog}} onboard --auth-choice {choice} --store")
        other = _OTHER[last or "keyring"]
        if asked is not None or not bench.prompter.interactive:
            raise
        if not _wants(bench, error, other):
            error.why = None  # it was told with the question
            raise
        bench.local_store(other).probe()
        return other
    return asked


def _wants(bench: Workbench, error: StoreError, other: StoreName) -> bool:
    bench.out.warn(str(error))
    return bench.prompter.confirm(f"Keep the tokens in {_LABEL[other]} instead?", flag=f"--store {other}")


class Question:
    """Where tokens should go that no store took: asked while a person is there, and answered with "give up" once they leave."""

    def __init__(self) -> None:
        self._asked: asyncio.Future[str] | None = None
        self._given_up = False

    def give_up(self) -> None:
        """Ctrl-C, or a signal that ends the command."""
        self._given_up = True
        if self._asked is not None and not self._asked.done():
            self._asked.set_result("drop")

    async def answer(self, ask: Callable[[], str]) -> str:
        """What `ask` returns, on another thread."""
        if self._given_up:
            return "drop"
        self._asked = start_off_loop(ask)
        return await self._asked


async def store(
    bench: Workbench,
    profile: Profile,
    tokens: Tokens,
    *,
    question: Question,
    chosen: StoreName | None,
    give_back: Callable[[], Awaitable[bool]],
    expect_generation: int,
) -> Profile:
    """Commit the tokens and return the profile as it is now in the index.

    Raises:
        GenerationChanged: the profile is not of `expect_generation` any more; nothing was stored, and nothing revoked.
        StoreError, LockBusy: no store took them; the grant was revoked, or the message says that it could not be.
    """
    current: StoreName | None = chosen
    while True:
        try:
            return await _commit(bench, profile, tokens, current, expect_generation)
        except GenerationChanged:
            raise
        except (StoreError, LockBusy) as error:
            used = await off_loop(partial(_used, bench, profile.id, current))
            answer = await question.answer(partial(_asked, bench, error, used))
            if answer == "drop":
                revoked = await give_back()
                raise _not_kept(error, profile, used, revoked=revoked) from error
            if answer == "other":
                current = _OTHER[used]


async def _commit(
    bench: Workbench, profile: Profile, tokens: Tokens, chosen: StoreName | None, expect_generation: int
) -> Profile:
    tries = 1 if bench.prompter.interactive else _TRIES
    for left in reversed(range(tries)):
        try:
            return await off_loop(partial(bench.local_store(chosen).commit, profile, tokens, expect_generation=expect_generation))
        except (StoreError, LockBusy) as error:
            if not left or isinstance(error, GenerationChanged):
                raise
            await bench.clock.sleep(_PAUSE_S)
    raise AssertionError("unreachable: the last try returned or raised")


def _used(bench: Workbench, profile_id: str, chosen: StoreName | None) -> StoreName:
    """The store that a commit goes to: chosen, the profile's, the one that worked last, the keyring."""
    if chosen is not None:
        return chosen
    try:
        return bench.local_store().next_store(profile_id)
    except StoreError:
        return "keyring"


def _asked(bench: Workbench, error: StoreError | LockBusy, used: StoreName) -> str:
    if not bench.prompter.interactive:
        return "drop"
    bench.out.warn(f"{error}\nYou are signed in; the tokens are still in memory and wait for a place.")
    rows = [
        Choice("again", "Try again", _LABEL[used]),
        Choice("other", "Use the other store", _LABEL[_OTHER[used]]),
        Choice("drop", "Give up", "the sign-in is revoked"),
    ]
    return bench.prompter.choose("Where should they go?", rows, flag="--store", default="other")


def fate(*, revoked: bool) -> str:
    """What became of a sign-in that is not kept, as the end of a sentence."""
    return "the sign-in was revoked again" if revoked else "the provider has not revoked the sign-in"


def _not_kept(error: StoreError | LockBusy, profile: Profile, used: StoreName, *, revoked: bool) -> StoreError | LockBusy:
    region = f" --region {profile.region}" if profile.region else ""
    elsewhere = f"{{prog}} models auth login --provider {profile.provider}{region} --store {_OTHER[used]}"
    return type(error)(
        error.id,
        f"{error.message.rstrip('.')}. The new tokens were not kept; {fate(revoked=revoked)}.",
        why=error.why,
        where=error.where,
        hint=error.hint or elsewhere,
    )
