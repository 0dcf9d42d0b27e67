"""Store the tokens of a finished sign-in, then its profile; no token is lost.

The store worked when it was probed. If it fails now, Portico retries, then offers the other store; the tokens stay in memory.
Without a terminal Portico revokes the tokens, so that every valid token is in a store.
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
_RETRY_AFTER_S: Final = 1.0
_OTHER: Final[dict[str, StoreName]] = {"keyring": "file", "file": "keyring"}
STORE_LABEL: Final = {"keyring": "the OS keyring", "file": "the encrypted file"}


class ProfileExists(UsageError):
    """The profile already exists, and the user did not agree to replace it."""

    id = "profile-exists"


def ready_store(app: App, store: StoreName | None, *, choice: str | None = None) -> StoreName | None:
    """Probe the store (write, read back, delete) and return its name; None: the store used last.

    `store` comes from an option and has priority over the config. `choice` is the sign-in's auth choice, for the error's hint.

    Raises:
        StoreError: the store does not work, and the user did not choose the other store.
    """
    store = store or app.store_choice()
    last = app.local_store().last_store
    if store is None and last == "file":
        app.out.note("The tokens go into the encrypted file, as last time. To use the OS keyring: --store keyring")
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
            error.why = None  # already printed with the question
            raise
        app.local_store(other).probe()
        return other
    return store


def _wants_other_store(app: App, error: StoreError, other: StoreName) -> bool:
    app.out.warn(str(error))
    return app.prompter.confirm(f"Store the tokens in {STORE_LABEL[other]} instead?", flag=f"--store {other}")


class StoreQuestion:
    """The prompt after a failed commit. After an interrupt the answer is `drop`."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[str] | None = None
        self._interrupted = False

    def give_up(self) -> None:
        """Answer `drop`, after Ctrl-C or a signal that ends the command."""
        self._interrupted = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result("drop")

    async def answer(self, ask: Callable[[], str]) -> str:
        """Call `ask` on another thread and return its answer."""
        if self._interrupted:
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
    revoke_new: Callable[[], Awaitable[bool]],
    expect_generation: int,
) -> Profile:
    """Commit the tokens and return the profile as the index now has it.

    Raises:
        GenerationChanged: the profile no longer has `expect_generation`; nothing was stored or revoked.
        StoreError, LockBusy: no store took the tokens; the message says whether they were revoked.
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
                revoked = await revoke_new()
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
            await app.clock.sleep(_RETRY_AFTER_S)
    raise AssertionError("unreachable: the last try returned or raised")


def _store_in_use(app: App, profile_id: str, chosen: StoreName | None) -> StoreName:
    """Return the store for a commit: `chosen`, else the profile's store, else the store used last, else the keyring."""
    if chosen is not None:
        return chosen
    try:
        return app.local_store().next_store(profile_id)
    except StoreError:
        return "keyring"


def _ask_where_to_store(app: App, error: StoreError | LockBusy, store: StoreName) -> str:
    if not app.prompter.interactive:
        return "drop"
    app.out.warn(f"{error}\nYou are signed in, but the tokens are not stored yet; they are still in memory.")
    rows = [
        Choice("again", "Try again", STORE_LABEL[store]),
        Choice("other", "Use the other store", STORE_LABEL[_OTHER[store]]),
        Choice("drop", "Give up", "revokes the tokens"),
    ]
    return app.prompter.choose("Where do you want to store the tokens?", rows, flag="--store", default="other")


def revocation_words(*, revoked: bool) -> str:
    """Return the end of a sentence that says whether the tokens of a failed sign-in were revoked."""
    return "the new tokens were revoked" if revoked else "the provider did not revoke the new tokens"


def _not_stored(error: StoreError | LockBusy, profile: Profile, used: StoreName, *, revoked: bool) -> StoreError | LockBusy:
    region = f" --region {profile.region}" if profile.region else ""
    elsewhere = f"{{prog}} models auth login --provider {profile.provider}{region} --store {_OTHER[used]}"
    not_stored = error.copy()  # the constructors of leaf classes differ
    not_stored.message = f"{error.message.rstrip('.')}. The sign-in failed; {revocation_words(revoked=revoked)}."
    not_stored.hint = error.hint or elsewhere
    return not_stored


@dataclass(frozen=True, slots=True)
class Replaced:
    """The replaced profile, and its tokens if they could be read."""

    profile: Profile
    tokens: Tokens | None


def to_replace(
    app: App, request: SignInRequest, profile_id: str, method: AuthMethod, *, first: bool, agreed: Replaced | None = None
) -> Replaced | None:
    """Return the existing account `profile_id`, which the user agrees to replace; None if there is no such account.

    Called before the browser opens (`first`), and again before the new tokens are stored. `agreed` is the result of the first
    call, and is valid only for the same sign-in. The second call asks nothing: tokens outside a store must not wait for a person.

    Raises:
        UsageError: `profile-exists`: the account belongs to another provider, or the user keeps it.
    """
    known = app.token_store.snapshot()
    profile = None if profile_id in known.damaged else known.get(profile_id)
    if profile is None:
        return None
    if profile.provider != method.provider:
        why = f"it is a profile of {profile.provider}"
        raise ProfileExists(f"Profile {profile_id} is taken.", why=why, hint="Choose another name: --profile NAME")
    if not request.replace and (agreed is None or agreed.profile.created_at != profile.created_at):
        _ask_to_replace(app, profile_id, method.provider, may_ask=first)
    try:
        return Replaced(profile, app.token_store.read(profile_id).tokens)
    except PorticoError:
        return Replaced(profile, None)  # unreadable tokens cannot be revoked, but can be replaced


async def revoke_replaced(app: App, replaced: Replaced | None, http: FormPoster) -> bool | None:
    """Revoke the old tokens, after the new tokens are stored.

    Return whether the provider revoked them, or None without old tokens.
    """
    if replaced is None:
        return None
    if replaced.tokens is None:
        return False
    return await revoke_tokens(app, replaced.profile, replaced.tokens, http) is None


def _ask_to_replace(app: App, profile_id: str, provider: str, *, may_ask: bool) -> None:
    if not may_ask or not app.prompter.interactive:
        raise ProfileExists(
            f"{profile_id} is already signed in.",
            hint="Add --replace to sign in again (this revokes the old tokens), or --profile NAME to keep both.",
        )
    question = f"{profile_id} is already signed in. Replace it? This revokes the old tokens."
    if not app.prompter.confirm(question, flag="--replace"):
        hint = f"To keep both: {{prog}} models auth login --provider {provider} --profile NAME"
        raise ProfileExists(f"{profile_id} was not replaced.", hint=hint)


def new_profile(
    app: App,
    method: AuthMethod,
    server: OAuthServer,
    token_set: TokenSet,
    *,
    id: str,
    region: str,
    api_base: str,
    make_default: bool | None,
    use_pending: bool,
    default_model: str | None = None,
) -> OAuthProfile:
    """Return the profile of `token_set`; the commit adds the store.

    `make_default` None: only if no default model is set. `default_model` None: the method's default model. `use_pending`: when
    the config is written, the profile becomes the account in use.
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
        scope=token_set.scope or server.scope,
        subject=token_set.subject,
        audience=server.audience,
        relocated=tuple(server.relocated.items()),
        expires_at=token_set.expires_at,
        refresh_expires_at=token_set.refresh_expires_at,
        created_at=app.clock.wall_ms(),
        has_refresh=token_set.refresh is not None,
        unread=token_set.unread,
        received=moment(app.clock),
        config_pending=True,
        default_pending=app.config.config.agents.primary is None if make_default is None else make_default,
        default_model=default_model,
        use_pending=use_pending,
    )


_NAME: Final = re.compile(r"[A-Za-z0-9._@:+-]+")


def profile_named(app: App, name: str, provider: str) -> str:
    """Return the profile id of `name`: `provider:name`, unless `name` has a provider or is an existing id.

    Raises:
        UsageError: `usage`: a character that a shell would need quotes for, or a name that is too long.
    """
    exists = any(profile.id == name for profile in app.token_store.profiles())
    id = name if ":" in name or exists else f"{provider}:{name}"
    if _NAME.fullmatch(name) is None or len(id) > MAX_ID_LENGTH:
        why = f"use letters, digits and . _ @ : + - only, at most {MAX_ID_LENGTH} characters with the provider"
        raise UsageError("Invalid account name.", why=why, hint="Choose another name: --profile NAME")
    return id
