"""`auth logout`: revoke an account's tokens, delete every copy, and report what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.accounts.sign_out import sign_out
from portico.accounts.summary import follow_remaining, forget_profile
from portico.accounts.view import id_in_use
from portico.errors import ExitCode, NotRevoked, PorticoError, StoreError, UsageError
from portico.store.errors import NotDeleted, WhichProfile
from portico.store.profiles import NOT_SIGNED_IN, not_signed_in
from portico.util import signals

if TYPE_CHECKING:
    import argparse

    from portico.accounts.sign_out import SignedOut
    from portico.app import App
    from portico.store.records import Profile


def logout(args: argparse.Namespace, app: App) -> int:
    """Sign out of the named account, of the only account, or of all accounts. With `--json` the errors are part of the report.

    Raises:
        NotRevoked: the tokens are deleted here, but the provider did not revoke them.
        StoreError: a copy of a token could not be deleted.
    """
    chosen = _chosen_ids(args.profile, app, all_profiles=args.all)
    if not chosen:
        app.out.note(NOT_SIGNED_IN)
        return _report([], app)
    before = {profile.id: profile for profile in app.token_store.profiles()}
    used_before = {provider: id_in_use(app, provider) for provider in {profile.provider for profile in before.values()}}
    if not args.yes and not app.prompter.confirm(f"Sign out of {', '.join(chosen)}?", flag="--yes"):
        app.out.note("Nothing was changed.")
        return ExitCode.OK
    results = signals.run(_sign_out(chosen, before, app))
    for result in results:
        if not result.left and not result.taken:
            forget(result.profile_id, before.get(result.profile_id), app)
    for provider, id in used_before.items():
        now = id_in_use(app, provider)
        if now not in {None, id}:
            app.out.note(f"In use: {now} (was {id})")
    return _report(results, app)


def _chosen_ids(name: str | None, app: App, *, all_profiles: bool) -> list[str]:
    if all_profiles and name is not None:
        raise UsageError("Specify an account or --all, not both.")
    index = app.token_store.snapshot()
    ids = [*(profile.id for profile in index.profiles), *index.damaged]
    if name is None and not all_profiles and len(ids) > 1:
        hint = f"{{prog}} auth logout {'|'.join(ids)}, or --all"
        raise WhichProfile("You have several accounts.", hint=hint)
    if name is not None and name not in ids:
        raise not_signed_in(name, ids)
    return ids if name is None else [name]


async def _sign_out(chosen: list[str], before: dict[str, Profile], app: App) -> list[SignedOut]:
    async with app.http() as http:
        return [await sign_out(app, profile_id, http, agreed=before.get(profile_id)) for profile_id in chosen]


def forget(profile_id: str, gone: Profile | None, app: App) -> None:
    """Remove the profile from the config; a failure is only a warning.

    If its entry is `gone`, a remaining account comes into use.
    """
    try:
        forget_profile(app, profile_id)
        if gone is not None:
            follow_remaining(app, gone)
    except PorticoError as error:
        app.out.warn(f"The config still names {profile_id}: {error}")


def _report(results: list[SignedOut], app: App) -> int:
    for result in results:
        outcome = "Not signed out" if result.taken else "Sign-out unfinished" if result.left else "Signed out"
        app.out.note(f"{outcome}: {result.profile_id} ({_fate(result)})")
    failure = _failure(results)
    if app.out.is_json:
        report = {
            "signedOut": [result.profile_id for result in results if not result.left and not result.taken],
            "taken": [result.profile_id for result in results if result.taken],
            "notRevoked": {result.profile_id: result.not_revoked for result in results if result.not_revoked},
            "mayBeLeft": {result.profile_id: result.may_be_left for result in results if result.may_be_left},
            "unfinished": {result.profile_id: result.left for result in results if result.left},
        }
        app.out.json(report if failure is None else {**report, "error": failure.as_json(app.program)})
    elif failure is not None:
        raise failure
    return ExitCode.OK if failure is None else failure.exit_code


def _fate(result: SignedOut) -> str:
    if result.taken:
        return "another command signed in under this name meanwhile; that account was not changed"
    if result.is_key:
        return "the key still works at the provider; delete it there"
    if result.not_revoked:
        return "not revoked at the provider"
    return (
        "revoked at the provider; a running refresh may still get new tokens" if result.may_be_left else "revoked at the provider"
    )


def _failure(results: list[SignedOut]) -> PorticoError | None:
    """Return the most serious failure, with the failures of all accounts as its cause."""
    taken = [result.profile_id for result in results if result.taken]
    unfinished = [result for result in results if result.left]
    why = "; ".join(filter(None, map(_trouble, results)))
    if unfinished:
        return _unfinished(unfinished, why)
    if taken:
        return _changed(taken[0], why)
    if not why:
        return None
    if not any(result.not_revoked for result in results):
        return NotRevoked(
            "Signed out and revoked, but a running refresh may still get new tokens.",
            why=why,
            hint="To be sure, remove Portico's access on the provider's website.",
        )
    return NotRevoked(
        "Signed out on this machine, but not revoked at the provider.",
        why=why,
        hint="The access token expires by itself. To end it now, remove Portico's access on the provider's website.",
    )


def _trouble(result: SignedOut) -> str:
    """Return the failures of one sign-out; empty if there were none."""
    left = f"still there: {', '.join(result.left)}" if result.left else ""
    not_revoked = f"not revoked: {result.not_revoked}" if result.not_revoked else ""
    taken = "another command signed in under this name meanwhile" if result.taken else ""
    may_be_left = f"some tokens may not be revoked: {result.may_be_left}" if result.may_be_left and not result.taken else ""
    troubles = ", ".join(filter(None, (left, taken, not_revoked, may_be_left)))
    return f"{result.profile_id}: {troubles}" if troubles else ""


def _unfinished(unfinished: list[SignedOut], why: str) -> StoreError:
    alive = any(result.not_revoked for result in unfinished)
    state = "are still stored, and not revoked at the provider" if alive else "are revoked at the provider, but still stored"
    again = unfinished[0].profile_id if len(unfinished) == 1 else "--all"
    return NotDeleted(
        f"The sign-out is unfinished: the tokens {state}.",
        why=why,
        hint=f"When the store works again, finish it: {{prog}} auth logout {again}",
    )


def _changed(profile_id: str, why: str) -> UsageError:
    hint = f"{{prog}} auth list, then: {{prog}} auth logout {profile_id}"
    return WhichProfile(f"{profile_id} is a different account now. It was not changed.", why=why, hint=hint)
