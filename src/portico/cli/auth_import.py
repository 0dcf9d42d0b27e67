"""`auth import`: import a MiniMax account from another tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.accounts import imports
from portico.accounts.imports import why_retired
from portico.accounts.view import id_in_use, in_use_after, iso, summary_lines
from portico.cli.auth_status import STORE_WORDS, expiry_words
from portico.cli.parser import PROFILE_HELP, STORE_HELP
from portico.errors import ExitCode
from portico.store.profiles import login_command

if TYPE_CHECKING:
    import argparse

    from portico.accounts.imports import Candidate, Findings, ImportRequest, Retired, Takeover, Unreadable
    from portico.app import App

TOOLS = ("openclaw", "mmx", "hermes", "opencode")
_EPILOG = """examples:
  {prog} auth import --dry-run                       list what can be imported; change nothing
  {prog} auth import --from mmx
  {prog} auth import --from openclaw --path ~/backup/openclaw.sqlite --region global
  {prog} auth import --from hermes --yes --remove-source

files that are read:
  openclaw   ~/.openclaw/state/openclaw.sqlite and ~/.openclaw/agents/*/agent/openclaw-agent.sqlite
             (OPENCLAW_STATE_DIR, OPENCLAW_HOME, OPENCLAW_AGENT_DIR); auth-profiles.json if there is no database yet
  mmx        ~/.mmx/config.json (MMX_CONFIG_DIR)
  hermes     ~/.hermes/auth.json (HERMES_HOME)
  opencode   ~/.local/share/opencode/auth.json (XDG_DATA_HOME)
MiniMax Code's account is not imported: its refresh token works only once, so an import would sign the app out.
API keys are not imported.
"""
_EXPLANATION = (
    "Each refresh makes a new refresh token and ends the old one, so only one tool can refresh an account. "
    "From now on {program} refreshes it, and the other tool must not."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `auth import`."""
    parser.epilog = _EPILOG
    parser.add_argument("--from", dest="tool", choices=TOOLS, help="the tool to import from (default: all of them)")
    parser.add_argument("--path", metavar="FILE", help="the tool's file (default: the usual places, see below)")
    parser.add_argument("--region", metavar="ID", help="region of the account: global or cn (default: as in the file, else ask)")
    parser.add_argument("--profile", metavar="NAME", help=PROFILE_HELP)
    parser.add_argument("--store", choices=("keyring", "file"), help=STORE_HELP)
    parser.add_argument("--dry-run", action="store_true", help="show what would be imported; change nothing")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask; the other tool's file does not change unless you add --remove-source"
    )
    removal = parser.add_mutually_exclusive_group()
    removal.add_argument(
        "--remove-source",
        dest="remove_source",
        action="store_true",
        default=None,
        help="remove the imported account from the other tool's file (default: ask)",
    )
    removal.add_argument("--keep-source", dest="remove_source", action="store_false", help="do not change the other tool's file")
    parser.set_defaults(handler=import_, remove_source=None)


def import_(args: argparse.Namespace, app: App) -> int:
    """Find accounts of other tools, ask, and import them."""
    request = imports.ImportRequest(
        tool=args.tool,
        path=args.path,
        region=args.region,
        profile=args.profile,
        store=args.store,
        dry_run=args.dry_run,
        yes=args.yes,
        remove_source=args.remove_source,
    )
    warnings = imports.warnings(app)
    for warning in warnings:
        app.out.note(warning)
    found = imports.find(app, request)
    skipped = _show_skipped(found, app)
    takeovers = imports.check(app, request, found.candidates)
    for takeover in takeovers:
        app.out.note(f"{'Would import' if request.dry_run else 'Found'}: {_words(takeover, app)}")
    if request.dry_run:
        if app.out.is_json:
            would = [_as_json(each, None) for each in takeovers]
            app.out.json({"dryRun": True, "found": would, **skipped, "warnings": warnings})
        return ExitCode.OK
    app.out.note(_EXPLANATION.format(program=app.program))
    if not request.yes and not app.prompter.confirm("Import?", flag="--yes", default=True):
        app.out.note("Nothing was changed.")
        return ExitCode.OK
    imported = [_as_json(takeover, _import_one(takeover, request, app)) for takeover in takeovers]
    if app.out.is_json:
        app.out.json({"imported": imported, **skipped, "warnings": warnings})
    spent = any(each["source"] == "changed" for each in imported)
    return ExitCode.SIGN_IN_NEEDED if spent else ExitCode.OK


def _show_skipped(found: Findings, app: App) -> dict[str, object]:
    """Print which accounts are not imported, and return the same as fields for `--json`."""
    for each in found.retired:
        app.out.note(f"Retired: {each.path} ({why_retired(each, app.clock.wall_ms())}). Nothing is imported from this file.")
    for older in found.older:
        app.out.note(_why_older(older, found, app))
    for ended in found.ended:
        app.out.note(_why_ended(ended, app))
    for unread in found.unreadable:
        app.out.warn(f"Could not read {unread.path} ({unread.error.why}). {_what_is_missed(unread, found)}")
    return {
        "retired": [_retired_as_json(each) for each in found.retired],
        "older": [_older_as_json(each) for each in found.older],
        "ended": [_older_as_json(each) for each in found.ended],
        "unreadable": [_unreadable_as_json(each) for each in found.unreadable],
    }


def _import_one(takeover: Takeover, request: ImportRequest, app: App) -> str:
    """Store the account and return the state of the other tool's copy.

    The state is `removed`, `not-erased`, `kept`, `gone` (the tool had already removed it) or `changed` (the tool has refreshed
    its tokens, so the imported tokens are invalid).
    """
    profile = takeover.profile
    if takeover.present:
        app.out.note(f"{profile.id} is already stored.")
    else:
        before = id_in_use(app, profile.provider)
        stored = imports.keep(app, takeover, chosen=request.store)
        app.out.note(f"{profile.id}: stored in {STORE_WORDS[stored.store]}")
        for line in summary_lines(in_use_after(app, stored, before), stored, app.program):
            app.out.note(line)
    candidate = takeover.candidate
    if not _wants_removal(candidate, request, app):
        has = f"{_and(candidate)} still {'have' if candidate.copies else 'has'} the account"
        app.out.warn(f"{has}: sign out in {candidate.importer.label} before it refreshes.")
        return "kept"
    outcome = imports.remove(candidate)
    if outcome == "changed":
        app.out.warn(
            f"{candidate.importer.label} refreshed in the meantime, so the imported tokens are invalid. Its file was not changed."
        )
        # `--replace` revokes the imported tokens, and perhaps the tokens that the tool has now (RFC 7009, section 2.1).
        app.out.warn(f"  Sign in again: {login_command(profile).replace('{prog}', app.program)}")
        app.out.warn(f"  You may then have to sign in again in {candidate.importer.label} too.")
    else:
        app.out.note(f"{_and(candidate)}: the account was {'already gone' if outcome == 'gone' else 'removed'}")
    if outcome == "not-erased":
        label = candidate.importer.label
        app.out.warn(f"{label} has the file open. The old tokens stay readable in it until you quit {label}.")
    return outcome


def _wants_removal(candidate: Candidate, request: ImportRequest, app: App) -> bool:
    if request.remove_source is not None:
        return request.remove_source
    if request.yes or not app.prompter.interactive:
        return False
    question = f"Remove {candidate.importer.label}'s copy from {_and(candidate)}? This signs {candidate.importer.label} out."
    return app.prompter.confirm(question, flag="--remove-source", default=False)


def _words(takeover: Takeover, app: App) -> str:
    candidate, profile = takeover.candidate, takeover.profile
    expiry = _expiry(profile.expires_at, app)
    refresh = "with a refresh token" if profile.has_refresh else "without a refresh token"
    already = "; already stored" if takeover.present else ""
    return (
        f"{candidate.importer.label}'s account in {_and(candidate)}, as {profile.id} "
        f"({profile.region}; access token {expiry}, {refresh}{already})"
    )


def _expiry(at_ms: int | None, app: App) -> str:
    return "has no known expiry" if at_ms is None else expiry_words(at_ms, app.clock.wall_ms())


def _and(candidate: Candidate) -> str:
    return " and ".join(map(str, candidate.paths))


def _why_older(candidate: Candidate, found: Findings, app: App) -> str:
    expiry = _expiry(candidate.credential.expires_at, app)
    why = (
        f"Older: {_and(candidate)} (its access token {expiry}; a newer account of the same name was found, so this may be a "
        "copy whose refresh token no longer works). This copy is not imported."
    )
    if candidate.path in {path for each in found.candidates for path in each.paths}:
        return why  # importing from this path would find the newer account again
    return f"{why} If it is a different account:\n  {_by_its_path(candidate, app)}"


def _why_ended(candidate: Candidate, app: App) -> str:
    expiry = _expiry(candidate.credential.expires_at, app)
    return (
        f"Ended: {_and(candidate)} (its access token {expiry}; a file that could not be read may have a newer account). This "
        f"account is not imported. If it is a different account:\n  {_by_its_path(candidate, app)}"
    )


def _what_is_missed(unread: Unreadable, found: Findings) -> str:
    if any(unread.importer is each.importer for each in found.candidates):
        return "It may have a newer account of the same name."
    return f"It may have an account of {unread.importer.label}."


def _by_its_path(candidate: Candidate, app: App) -> str:
    return f"{app.program} auth import --from {candidate.importer.name} --path {candidate.path}"


def _older_as_json(candidate: Candidate) -> dict[str, object]:
    return {"from": candidate.importer.name, "file": str(candidate.path), "expiresAt": candidate.credential.expires_at}


def _unreadable_as_json(unread: Unreadable) -> dict[str, object]:
    return {"from": unread.importer.name, "file": str(unread.path), "why": unread.error.why}


def _retired_as_json(retired: Retired) -> dict[str, object]:
    return {
        "from": retired.importer.name,
        "file": str(retired.path),
        "database": str(retired.database),
        "writtenAt": iso(retired.written_at),
    }


def _as_json(takeover: Takeover, source: str | None) -> dict[str, object]:
    candidate, profile = takeover.candidate, takeover.profile
    value: dict[str, object] = {
        "from": candidate.importer.name,
        "file": str(candidate.path),
        "copies": [str(path) for path in candidate.paths[1:]],
        "profile": profile.id,
        "provider": profile.provider,
        "region": profile.region,
        "clientId": profile.client_id,
        "apiBase": profile.api_base,
        "expiresAt": profile.expires_at,
        "hasRefresh": profile.has_refresh,
        "present": takeover.present,
    }
    return value if source is None else {**value, "source": source}
