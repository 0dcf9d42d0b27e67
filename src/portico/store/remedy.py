"""How a sign-in whose tokens are of no use any more is made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portico.store.profile_record import Profile


def sign_in_again(profile: Profile) -> str:
    """The command that replaces `profile` and no other; `{prog}` stands for the program name."""
    from shlex import quote

    region = f" --region {profile.region}" if profile.region else ""
    return f"{{prog}} models auth login --provider {profile.provider}{region} --profile {quote(profile.id)} --replace"
