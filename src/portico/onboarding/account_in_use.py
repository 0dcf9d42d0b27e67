"""Which of a provider's accounts is in use, and whether a new one takes its place. An explicit `auth.order` is never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.errors import PorticoError

if TYPE_CHECKING:
    from portico.onboarding.workbench import Workbench
    from portico.store.profiles import Profile


@dataclass(frozen=True, slots=True)
class InUse:
    """The ids of the profiles that a provider's models use: `now`, and `before` the new one was stored. None if there is none."""

    before: str | None
    now: str | None


def profile_in_use(bench: Workbench, provider: str) -> Profile | None:
    """The profile of `provider` that is used if the user names none; None if there is none, or the index cannot be read."""
    try:
        return bench.models().profile_in_use(provider)
    except PorticoError:
        return None


def id_in_use(bench: Workbench, provider: str) -> str | None:
    """The id of `profile_in_use`."""
    profile = profile_in_use(bench, provider)
    return profile.id if profile is not None else None


def takes_over(bench: Workbench, provider: str, region: str, profile_id: str, *, make_default: bool | None) -> bool:
    """Whether a new sign-in or key, stored as `profile_id`, becomes the account in use.

    It does if there is no other, or none that works. An account in an explicit `auth.order`, or of the same region, stays in use.
    One of another region is replaced if the new one is to be the default (`make_default`), after a question on a terminal.
    """
    current = profile_in_use(bench, provider)
    if current is None or current.id == profile_id:
        return True
    if make_default is False or bench.models().credentials.order_of(provider):
        return False
    if current.failure is not None and current.failure.terminal:
        return True
    if current.region == region or not make_default:
        return False
    question = f"{current.id} ({current.region}) is in use. Use {profile_id} ({region}) from now on?"
    return not bench.prompter.interactive or bench.prompter.confirm(question, flag="--keep-default", default=True)


def summary_lines(in_use: InUse, profile: Profile, program: str) -> list[str]:
    """What a person must know after a sign-in: which account is in use and which one was. Nothing if there is one account."""
    if in_use.now is None or (in_use.now == profile.id and in_use.before in {None, profile.id}):
        return []
    if in_use.now != in_use.before:
        return [f"In use: {in_use.now} (was {in_use.before or 'none'})"]
    order = f"{program} auth order set --provider {profile.provider} {profile.id} {in_use.now}"
    return [f"In use: {in_use.now} (unchanged). To use {profile.id} instead:", f"  {order}"]
