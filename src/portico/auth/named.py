"""The sign-in that a person named."""

from __future__ import annotations

from portico.errors import SignInNeeded

TYPE_CHECKING = False  # `auth token` stands on this, and `typing` is a visible part of what it costs
if TYPE_CHECKING:
    from portico.store.profile_record import Profile
    from portico.store.token_store import Snapshot


def named_profile(known: Snapshot, id: str) -> Profile:
    """The profile of this id.

    Raises:
        SignInNeeded: `not-signed-in`: there is none, or it was signed out.
        StoreError: `profile-damaged`.
    """
    profile = known.get(id)
    if profile is None:
        raise not_signed_in(id, [one.id for one in known.profiles])
    if profile.sign_out_unfinished:
        hint = f"Finish it: {{prog}} auth logout {id}"
        raise SignInNeeded("not-signed-in", f"{id} was signed out; its tokens are yet to be deleted.", hint=hint)
    return profile


def not_signed_in(asked: str | None, known: list[str]) -> SignInNeeded:
    """The error of a profile that is not there, with the nearest that is."""
    from difflib import get_close_matches

    from portico.store.remedy import SIGNED_OUT, sign_in

    close = [id for id in known if asked and (id.startswith(asked) or id.endswith(f":{asked}"))]
    close = close or get_close_matches(asked or "", known, n=1)
    otherwise = "{prog} auth list" if known else sign_in()
    hint = f"Did you mean {' or '.join(close)}?" if close else otherwise
    message = SIGNED_OUT if asked is None else f"There is no sign-in called {asked}."
    return SignInNeeded("not-signed-in", message, hint=hint)
