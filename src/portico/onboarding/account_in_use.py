"""Which of a provider's accounts is in use, and whether a new one takes its place. An explicit `auth.order` is never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.errors import PorticoError

if TYPE_CHECKING:
    from portico.onboarding.workbench import Workbench
    from portico.store.records import Profile


@dataclass(frozen=True, slots=True)
class InUse:
    """The ids of the profiles that a provider's models use: `now`, and `before` the new one was stored. None if there is none.

    `order` are the ids of the provider's accounts with the new one first: what `auth order set` takes to put it in use.
    """

    before: str | None
    now: str | None
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Whether a new account, `profile_id`, becomes the one in use. `chosen` holds while `current` is the one in use."""

    provider: str
    region: str
    profile_id: str
    make_default: bool | None
    current: str | None
    chosen: bool

    def now(self, bench: Workbench) -> bool:
        """What was chosen; if another account has come into use since then, what the rules say of that one, unasked."""
        current = profile_in_use(bench, self.provider)
        if (current.id if current is not None else None) == self.current:
            return self.chosen
        return _wanted(bench, current, self.provider, self.region, self.profile_id, self.make_default) is not False


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


def in_use_after(bench: Workbench, profile: Profile, before: str | None) -> InUse:
    """Which account is in use after `profile` was stored."""
    order = bench.models().credentials.order_of(profile.provider)
    known = order or tuple(one.id for one in bench.token_store.profiles() if one.provider == profile.provider)
    return InUse(before, id_in_use(bench, profile.provider), (profile.id, *(id for id in known if id != profile.id)))


def decide(bench: Workbench, provider: str, region: str, profile_id: str, *, make_default: bool | None) -> TakeOver:
    """Whether a new sign-in or key, stored as `profile_id`, becomes the account in use.

    It does if there is no other, or none that works. An account in an explicit `auth.order`, or of the same region, stays in use.
    One of another region is replaced if the new one is to be the default (`make_default`), after a question on a terminal; but
    not if the new region has an older account, which would then come into use without having been named.
    """
    current = profile_in_use(bench, provider)
    wanted = _wanted(bench, current, provider, region, profile_id, make_default)
    if wanted is None:
        assert current is not None  # noqa: S101 - there is nothing to ask about otherwise
        question = f"{current.id} ({current.region}) is in use. Use {profile_id} ({region}) from now on?"
        asks = bench.prompter.interactive
        wanted = not asks or bench.prompter.confirm(question, flag="--keep-default", default=True)
    return TakeOver(provider, region, profile_id, make_default, current.id if current is not None else None, wanted)


def _wanted(
    bench: Workbench, current: Profile | None, provider: str, region: str, profile_id: str, make_default: bool | None
) -> bool | None:
    """Whether `profile_id` takes the place of `current`; None if it does unless the user says no."""
    if current is None or current.id == profile_id:
        return True
    if make_default is False or bench.models().credentials.order_of(provider):
        return False
    own = [
        one for one in bench.token_store.profiles() if one.provider == provider and one.region == region and one.id != profile_id
    ]
    if any(not one.sign_out_unfinished for one in own):
        return False
    if current.failure is not None and current.failure.terminal:
        return True
    return None if make_default else False


def summary_lines(in_use: InUse, profile: Profile, program: str) -> list[str]:
    """What a person must know after a sign-in: which account is in use, which one was, and how to change that.

    Nothing if there is one account.
    """
    now, before = in_use.now, in_use.before
    if now is None or (now == profile.id and before in {None, profile.id}):
        return []
    if now == before:
        return [f"In use: {now} (unchanged). {order_advice(in_use, profile, profile.id, program)}"]
    if before is None:
        return [f"In use: {now} (was none)"]
    return [f"In use: {now} (was {before})", order_advice(in_use, profile, before, program)]


def order_advice(in_use: InUse, profile: Profile, first: str, program: str) -> str:
    """The command that puts `first` in use, on a line of its own."""
    rest = (id for id in in_use.order if id != first)
    return f"To use {first} instead:\n  {program} auth order set --provider {profile.provider} {' '.join((first, *rest))}"
