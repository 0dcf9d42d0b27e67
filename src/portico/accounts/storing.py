"""Store what a finished sign-in brought: the tokens, then the profile, and never a lost token.

A store that fails now worked when it was probed. The tokens stay in memory while it is tried again; a person is then offered the
other store, and without a terminal the tokens are revoked, so that no live token is left that nobody has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from portico.accounts.sign_out import revoke_tokens
from portico.auth.freshness import moment
from portico.errors import LockBusy, PorticoError, StoreError, UsageError
from portico.interfaces.basics import Choice
from portico.store.records import OAuthProfile
from portico.store.token_store import MAX_ID_LENGTH, GenerationChanged
from portico.util.threads import off_loop, start_off_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from portico.accounts.sign_in import SignInRequest
    from portico.app import App
    from portico.interfaces.authorization import FormPoster, OAuthServer, TokenSet
    from portico.interfaces.plugins import AuthMethod
    from portico.store.records import Profile, StoreName
    from portico.store.token_store import Tokens

_TRIES: Final = 3
_PAUSE_S: Final = 1.0
_OTHER: Final[dict[str, StoreName]] = {"keyring": "file", "file": "keyring"}
_LABEL: Final = {"keyring": "the OS keyring", "file": "a file sealed with a passphrase"}


class ProfileExists(UsageError):
    """The profile is there already, and is not to be replaced."""

    id = "profile-exists"


def ready_store(app: App, store: StoreName | None, *, choice: str | None = None) -> StoreName | None:
    """Show that the store works (write, read back, delete) before any browser opens; the store to use.

    That is `store`, which an option names, else the one that the config chooses. `choice` is the auth choice of the sign-in
    that waits for it, which the error's hint repeats.

    Raises:
        StoreError: it does not, and nobody chose the other one.
    """
    store = store or app.store_choice()
    last = app.local_store().last_store
    if store is None and last == "file":
        app.out.note("The tokens go into the sealed file, as last time; --store keyring puts them into the OS keyring.")
    try:
        app.local_store(store).probe()
    except StoreError as error:
        for reason in getattr(error, "reasons", ()):
            app.out.detail(reason)
        if choice is not None and error.hint is not None:
            error.hint = error.hint.replace("{prog} onboard --store", f"{{prog}} onboard --auth-choice {choice} --store")
        other = _OTHER[last or "keyring"]
        if store is not None or not app.prompter.interactive:
            raise
        if not _wants_other_store(app, error, other):
            error.why = None  # it was printed with the question
            raise
        app.local_store(other).probe()
        return other
    return store


def _wants_other_store(app: App, error: StoreError, other: StoreName) -> bool:
    app.out.warn(str(error))
    return app.prompter.confirm(f"Keep the tokens in {_LABEL[other]} instead?", flag=f"--store {other}")


class StoreQuestion:
    """Where tokens should go that no store took: asked while a person is there, and answered with "give up" once they leave."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[str] | None = None
        self._given_up = False

    def give_up(self) -> None:
        """Ctrl-C, or a signal that ends the command."""
        self._given_up = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result("drop")

    async def answer(self, ask: Callable[[], str]) -> str:
        """What `ask` returns, on another thread."""
        if self._given_up:
            return "drop"
        self._answer = start_off_loop(ask)
        return await self._answer


async def store(
    app: App,
    profile: Profile,
    tokens: Tokens,
    *,
    question: StoreQuestion,
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
            return await _commit(app, profile, tokens, current, expect_generation)
        except GenerationChanged:
            raise
        except (StoreError, LockBusy) as error:
            store_in_use = await off_loop(partial(_store_in_use, app, profile.id, current))
            answer = await question.answer(partial(_ask_where_to_store, app, error, store_in_use))
            if answer == "drop":
                revoked = await give_back()
                raise _not_stored(error, profile, store_in_use, revoked=revoked) from error
            if answer == "other":
                current = _OTHER[store_in_use]


async def _commit(app: App, profile: Profile, tokens: Tokens, chosen: StoreName | None, expect_generation: int) -> Profile:
    tries = 1 if app.prompter.interactive else _TRIES
    for left in reversed(range(tries)):
        try:
            return await off_loop(partial(app.local_store(chosen).commit, profile, tokens, expect_generation=expect_generation))
        except (StoreError, LockBusy) as error:
            if not left or isinstance(error, GenerationChanged):
                raise
            await app.clock.sleep(_PAUSE_S)
    raise AssertionError("unreachable: the last try returned or raised")


def _store_in_use(app: App, profile_id: str, chosen: StoreName | None) -> StoreName:
    """The store that a commit goes to: chosen, the profile's, the one that worked last, the keyring."""
    if chosen is not None:
        return chosen
    try:
        return app.local_store().next_store(profile_id)
    except StoreError:
        return "keyring"


def _ask_where_to_store(app: App, error: StoreError | LockBusy, store: StoreName) -> str:
    if not app.prompter.interactive:
        return "drop"
    app.out.warn(f"{error}\nYou are signed in; the tokens are still in memory and wait for a place.")
    rows = [
        Choice("again", "Try again", _LABEL[store]),
        Choice("other", "Use the other store", _LABEL[_OTHER[store]]),
        Choice("drop", "Give up", "the sign-in is revoked"),
    ]
    return app.prompter.choose("Where should they go?", rows, flag="--store", default="other")


def revocation_words(*, revoked: bool) -> str:
    """What became of a sign-in that is not kept, as the end of a sentence."""
    return "the sign-in was revoked again" if revoked else "the provider has not revoked the sign-in"


def _not_stored(error: StoreError | LockBusy, profile: Profile, used: StoreName, *, revoked: bool) -> StoreError | LockBusy:
    region = f" --region {profile.region}" if profile.region else ""
    elsewhere = f"{{prog}} models auth login --provider {profile.provider}{region} --store {_OTHER[used]}"
    not_stored = error.copy()  # the constructors of leaf classes differ
    not_stored.message = f"{error.message.rstrip('.')}. The new tokens were not kept; {revocation_words(revoked=revoked)}."
    not_stored.hint = error.hint or elsewhere
    return not_stored


@dataclass(frozen=True, slots=True)
class Replaced:
    """The profile as it was, and its tokens where they could be read."""

    profile: Profile
    tokens: Tokens | None


def to_replace(
    app: App, request: SignInRequest, profile_id: str, method: AuthMethod, *, first: bool, agreed: Replaced | None = None
) -> Replaced | None:
    """The account that `profile_id` holds already and that the user agrees to lose; None if there is none.

    It is checked before the user is sent to the browser (`first`), and again when the new tokens are stored: `agreed` is what
    the first check returned, and holds for that very sign-in alone. The second check asks no question, since tokens that no store
    has must not wait for a person.

    Raises:
        UsageError: `profile-exists`: it is another provider's, or is not to be replaced.
    """
    known = app.token_store.snapshot()
    profile = None if profile_id in known.damaged else known.get(profile_id)
    if profile is None:
        return None
    if profile.provider != method.provider:
        why = f"it is a profile of {profile.provider}"
        raise ProfileExists(f"Profile {profile_id} is taken.", why=why, hint="Choose another: --profile NAME")
    if not request.replace and (agreed is None or agreed.profile.created_at != profile.created_at):
        _ask_to_replace(app, profile_id, method.provider, may_ask=first)
    try:
        return Replaced(profile, app.token_store.read(profile_id).tokens)
    except PorticoError:
        return Replaced(profile, None)  # what cannot be read cannot be revoked; it is replaced all the same


async def revoke_replaced(app: App, replaced: Replaced | None, http: FormPoster) -> bool | None:
    """Tell the provider to revoke the old tokens, now that the new ones are stored; whether it could be told."""
    if replaced is None:
        return None
    if replaced.tokens is None:
        return False
    return await revoke_tokens(app, replaced.profile, replaced.tokens, http) is None


def _ask_to_replace(app: App, profile_id: str, provider: str, *, may_ask: bool) -> None:
    if not may_ask or not app.prompter.interactive:
        raise ProfileExists(
            f"{profile_id} is signed in already.",
            hint="Give --replace to sign in again (the old sign-in is revoked), or --profile NAME to keep both.",
        )
    question = f"{profile_id} is signed in already. Replace it? The old sign-in is revoked."
    if not app.prompter.confirm(question, flag="--replace"):
        hint = f"To keep both: {{prog}} models auth login --provider {provider} --profile NAME"
        raise ProfileExists(f"{profile_id} stays as it is.", hint=hint)


def new_profile(
    app: App,
    method: AuthMethod,
    server: OAuthServer,
    grant: TokenSet,
    *,
    id: str,
    region: str,
    api_base: str,
    make_default: bool | None,
    takes_over: bool,
    default_model: str | None = None,
) -> OAuthProfile:
    """The profile `id` of `grant`, not stored yet; the commit fills in where its tokens lie.

    `make_default` None: it sets the default model only where there is none. `default_model` is the one, where it is not the
    method's own. `takes_over`: it becomes the provider's account in use.
    """
    return OAuthProfile(
        id=id,
        provider=method.provider,
        plugin=app.plugins.plugin_for_choice(method.choice) or "",
        region=region,
        issuer=server.issuer,
        client_id=server.client_id,
        dialect=server.dialect,
        api_base=api_base,
        token_endpoint=server.token_endpoint,
        revocation_endpoint=server.revocation_endpoint,
        scope=grant.scope or server.scope,
        subject=grant.subject,
        audience=server.audience,
        relocated=tuple(server.relocated.items()),
        expires_at=grant.expires_at,
        refresh_expires_at=grant.refresh_expires_at,
        created_at=app.clock.wall_ms(),
        has_refresh=grant.refresh is not None,
        unread=grant.unread,
        received=moment(app.clock),
        config_pending=True,
        default_pending=app.config.config.agents.primary is None if make_default is None else make_default,
        default_model=default_model,
        use_pending=takes_over,
    )


_NAME: Final = re.compile(r"[A-Za-z0-9._@:+-]+")


def profile_named(app: App, name: str, provider: str) -> str:
    """The id of the profile that `name` stands for: with the provider before it, unless it has one or is an id that exists.

    Raises:
        UsageError: `usage`: a character that is no part of names, which would have to be quoted everywhere.
    """
    exists = any(profile.id == name for profile in app.token_store.profiles())
    id = name if ":" in name or exists else f"{provider}:{name}"
    if _NAME.fullmatch(name) is None or len(id) > MAX_ID_LENGTH:
        why = f"a name has letters, digits and . _ @ : + - only, at most {MAX_ID_LENGTH} of them with the provider's"
        raise UsageError("This is no name for a sign-in.", why=why, hint="Choose another: --profile NAME")
    return id
