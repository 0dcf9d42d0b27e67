"""What happens to a profile that a new sign-in takes the place of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.errors import PorticoError, UsageError

if TYPE_CHECKING:
    from portico.interfaces.auth_method import AuthMethod
    from portico.interfaces.authorization import FormPoster
    from portico.onboarding.request import SignInRequest
    from portico.onboarding.workbench import Workbench
    from portico.store.records import Profile
    from portico.store.token_store import Tokens


@dataclass(frozen=True, slots=True)
class Replaced:
    """The profile as it was, and its tokens where they could be read."""

    profile: Profile
    tokens: Tokens | None


def to_replace(
    bench: Workbench, request: SignInRequest, profile_id: str, method: AuthMethod, *, first: bool, agreed: Replaced | None = None
) -> Replaced | None:
    """The account that `profile_id` holds already and that the user agrees to lose; None if there is none.

    It is checked before the user is sent to the browser (`first`), and again when the new tokens are stored: `agreed` is what
    the first check returned, and holds for that very sign-in alone. The second check asks no question, since tokens that no store
    has must not wait for a person.

    Raises:
        UsageError: `profile-taken` by another provider; `profile-exists` if nothing can be asked; `profile-kept`.
    """
    known = bench.token_store.snapshot()
    profile = None if profile_id in known.damaged else known.get(profile_id)
    if profile is None:
        return None
    if profile.provider != method.provider:
        why = f"it is a profile of {profile.provider}"
        raise UsageError("profile-taken", f"Profile {profile_id} is taken.", why=why, hint="Choose another: --profile NAME")
    if not request.replace and (agreed is None or agreed.profile.created_at != profile.created_at):
        _ask(bench, profile_id, method.provider, may_ask=first)
    try:
        return Replaced(profile, bench.token_store.read(profile_id).tokens)
    except PorticoError:
        return Replaced(profile, None)  # what cannot be read cannot be revoked; it is replaced all the same


async def revoke_replaced(bench: Workbench, replaced: Replaced | None, http: FormPoster) -> bool | None:
    """Tell the provider to revoke the old tokens, now that the new ones are stored; whether it could be told."""
    from portico.onboarding.sign_out import revoke_tokens

    if replaced is None:
        return None
    if replaced.tokens is None:
        return False
    return await revoke_tokens(bench, replaced.profile, replaced.tokens, http) is None


def _ask(bench: Workbench, profile_id: str, provider: str, *, may_ask: bool) -> None:
    if not may_ask or not bench.prompter.interactive:
        raise UsageError(
            "profile-exists",
            f"{profile_id} is signed in already.",
            hint="Give --replace to sign in again (the old sign-in is revoked), or --profile NAME to keep both.",
        )
    question = f"{profile_id} is signed in already. Replace it? The old sign-in is revoked."
    if not bench.prompter.confirm(question, flag="--replace"):
        hint = f"To keep both: {{prog}} models auth login --provider {provider} --profile NAME"
        raise UsageError("profile-kept", f"{profile_id} stays as it is.", hint=hint)
