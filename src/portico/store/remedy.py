"""What is said to somebody who is signed out, and how a sign-in whose tokens are of no use any more is made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from portico.store.profile_record import Profile

SIGNED_OUT: Final = "You are signed out."
FILE_COMMAND: Final = "{prog} onboard --store file"
"""Signs in again, into the sealed file. A command that needs no sign-in puts another in its place in the hint."""
FILE_HINT: Final = f"{FILE_COMMAND}   (keeps the tokens in a file sealed with a passphrase)"


def sign_in(choice: str = "minimax-portal") -> str:
    """The line that says how to sign in by this auth choice; `{prog}` stands for the program name."""
    return f"Run `{{prog}} onboard --auth-choice {choice}`."


def sign_in_again(profile: Profile) -> str:
    """The command that replaces `profile` and no other; `{prog}` stands for the program name."""
    if profile.type != "api_key":
        return new_tokens(profile)
    from shlex import quote

    region = f" --region {profile.region}" if profile.region else ""
    # A key is pasted again: by the auth choice that every provider with keys has.
    return f"{{prog}} onboard --auth-choice {profile.provider}-api{region} --profile {quote(profile.id)} --replace"


def new_tokens(profile: Profile) -> str:
    """As `sign_in_again`, for a profile that has tokens and no key."""
    from shlex import quote

    region = f" --region {profile.region}" if profile.region else ""
    return f"{{prog}} models auth login --provider {profile.provider}{region} --profile {quote(profile.id)} --replace"


def without_sign_in(hint: str | None) -> str | None:
    """`hint` for somebody who keeps a key and needs no sign-in: the sealed file is chosen in the configuration."""
    return None if hint is None else hint.replace(FILE_COMMAND, "{prog} config set auth.store file")
