"""`auth import`: take over a MiniMax sign-in that another tool keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.accounts import imports
from portico.accounts.imports import why_retired
from portico.accounts.view import id_in_use, in_use_after, in_words, iso, summary_lines
from portico.errors import ExitCode
from portico.store.profiles import login_command

if TYPE_CHECKING:
    import argparse

    from portico.accounts.imports import Candidate, Findings, ImportRequest, Retired, Takeover, Unreadable
    from portico.app import App

TOOLS = ("openclaw", "mmx", "hermes", "opencode")
_EPILOG = """examples:
  {prog} auth import --dry-run                       what there is, and what would be done
  {prog} auth import --from mmx
  {prog} auth import --from openclaw --path ~/backup/openclaw.sqlite --region global
  {prog} auth import --from hermes --yes --remove-source

what is read:
  openclaw   ~/.openclaw/state/openclaw.sqlite and ~/.openclaw/agents/*/agent/openclaw-agent.sqlite
             (OPENCLAW_STATE_DIR, OPENCLAW_HOME, OPENCLAW_AGENT_DIR); auth-profiles.json where there is no database yet
  mmx        ~/.mmx/config.json (MMX_CONFIG_DIR)
  hermes     ~/.hermes/auth.json (HERMES_HOME)
  opencode   ~/.local/share/opencode/auth.json (XDG_DATA_HOME)
MiniMax Code's own sign-in is left alone: its refresh token works once, and the app would be signed out.
API keys are not taken over; only sign-ins are.
"""
_EXPLANATION = (
    "A refresh token that rotates can have only one owner: whichever tool refreshes first ends the sign-in of the other. "
    "From now on {program} refreshes this one."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `auth import`."""
    parser.epilog = _EPILOG
    parser.add_argument("--from", dest="tool", choices=TOOLS, help="whose sign-in; default: look at all of them")
    parser.add_argument("--path", metavar="FILE", help="that tool's file, where it is not in its usual place")
    parser.add_argument("--region", metavar="ID", help="global or cn, where the file does not tell")
    parser.add_argument("--profile", metavar="NAME", help="keep the sign-in under this name")
    parser.add_argument("--store", choices=("keyring", "file"), help="where the tokens are kept")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask; the other tool's copy stays, unless --remove-source")
    removal = parser.add_mutually_exclusive_group()
    removal.add_argument(
        "--remove-source", dest="remove_source", action="store_true", default=None, help="take it out of the other tool's file"
    )
    removal.add_argument("--keep-source", dest="remove_source", action="store_false", help="leave the other tool's file as it is")
    parser.set_defaults(handler=import_, remove_source=None)


def import_(args: argparse.Namespace, app: App) -> int:
    """Take over what is found."""
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
    passed_over = _passed_over(found, app)
    takeovers = imports.check(app, request, found.candidates)
    for takeover in takeovers:
        app.out.note(f"{'Would take over' if request.dry_run else 'Found'}: {_words(takeover, app)}")
    if request.dry_run:
        if app.out.is_json:
            would = [_as_json(each, None) for each in takeovers]
            app.out.json({"dryRun": True, "found": would, **passed_over, "warnings": warnings})
        return ExitCode.OK
    app.out.note(_EXPLANATION.format(program=app.program))
    if not request.yes and not app.prompter.confirm("Take over?", flag="--yes", default=True):
        app.out.note("Nothing was changed.")
        return ExitCode.OK
    done = [_as_json(takeover, _carry_out(takeover, request, app)) for takeover in takeovers]
    if app.out.is_json:
        app.out.json({"imported": done, **passed_over, "warnings": warnings})
    spent = any(each["source"] == "changed" for each in done)
    return ExitCode.SIGN_IN_NEEDED if spent else ExitCode.OK


def _passed_over(found: Findings, app: App) -> dict[str, object]:
    """Say what nothing is taken from; the same as members of a `--json` answer."""
    for each in found.retired:
        app.out.note(f"Retired: {each.path} ({why_retired(each, app.clock.wall_ms())}). Nothing is taken from it.")
    for older in found.older:
        app.out.note(_why_older(older, found, app))
    for ended in found.ended:
        app.out.note(_why_ended(ended, app))
    for unread in found.unreadable:
        app.out.warn(f"Not read: {unread.path} ({unread.error.why}). {_what_is_missed(unread, found)}")
    return {
        "retired": [_retired_as_json(each) for each in found.retired],
        "older": [_older_as_json(each) for each in found.older],
        "ended": [_older_as_json(each) for each in found.ended],
        "unreadable": [_unreadable_as_json(each) for each in found.unreadable],
    }


def _carry_out(takeover: Takeover, request: ImportRequest, app: App) -> str:
    """Store, and then what becomes of the other copy: `removed`, `not-erased`, `kept`, `gone` or `changed`."""
    profile = takeover.profile
    if takeover.present:
        app.out.note(f"{profile.id}: stored already")
    else:
        before = id_in_use(app, profile.provider)
        stored = imports.keep(app, takeover, chosen=request.store)
        app.out.note(f"{profile.id}: stored in {'the OS keyring' if stored.store == 'keyring' else 'a sealed file'}")
        for line in summary_lines(in_use_after(app, stored, before), stored, app.program):
            app.out.note(line)
    candidate = takeover.candidate
    if not _wants_removal(candidate, request, app):
        holds = f"{_and(candidate)} still hold{'' if candidate.copies else 's'} it"
        app.out.warn(f"{holds}: sign out in {candidate.importer.label} before it refreshes.")
        return "kept"
    outcome = imports.remove(candidate)
    if outcome == "changed":
        app.out.warn(
            f"{candidate.importer.label} has refreshed meanwhile, so what was taken over is spent; its file was left alone."
        )
        # `--replace` revokes what was taken over, and with it perhaps the tokens that the tool has now (RFC 7009, 2.1).
        app.out.warn(f"  Sign in again: {login_command(profile).replace('{prog}', app.program)}")
        app.out.warn(f"  {candidate.importer.label} may have to be signed in again as well after that.")
    else:
        app.out.note(f"{_and(candidate)}: that sign-in is {'no longer there' if outcome == 'gone' else 'taken out'}")
    if outcome == "not-erased":
        label = candidate.importer.label
        app.out.warn(f"{label} has it open, and until it is closed the old tokens can be read in that file. End {label}.")
    return outcome


def _wants_removal(candidate: Candidate, request: ImportRequest, app: App) -> bool:
    if request.remove_source is not None:
        return request.remove_source
    if request.yes or not app.prompter.interactive:
        return False
    question = f"Remove {candidate.importer.label}'s copy from {_and(candidate)}? {candidate.importer.label} is then signed out."
    return app.prompter.confirm(question, flag="--remove-source", default=False)


def _words(takeover: Takeover, app: App) -> str:
    candidate, profile = takeover.candidate, takeover.profile
    until = in_words(profile.expires_at, app.clock.wall_ms())
    lasting = until if until.startswith("expired") else f"good for {until}"
    refresh = "with a refresh token" if profile.has_refresh else "without a refresh token"
    already = "; stored already" if takeover.present else ""
    return (
        f"{candidate.importer.label}'s sign-in in {_and(candidate)}, as {profile.id} "
        f"({profile.region}; access token {lasting}, {refresh}{already})"
    )


def _and(candidate: Candidate) -> str:
    return " and ".join(map(str, candidate.paths))


def _why_older(candidate: Candidate, found: Findings, app: App) -> str:
    at_ms, words = candidate.credential.expires_at, in_words(candidate.credential.expires_at, app.clock.wall_ms())
    ends = "ends at an unknown time" if at_ms is None else words if words.startswith("expired") else f"ends in {words}"
    why = (
        f"Older: {_and(candidate)} (its access token {ends}, and another of the same name is newer: it may be a copy, whose "
        "refresh token is spent). Nothing is taken from it."
    )
    if candidate.path in {path for each in found.candidates for path in each.paths}:
        return why  # naming the file would find the newer one again
    return f"{why} If it is an account of its own:\n  {_by_its_path(candidate, app)}"


def _why_ended(candidate: Candidate, app: App) -> str:
    words = in_words(candidate.credential.expires_at, app.clock.wall_ms())
    return (
        f"Ended: {_and(candidate)} (its access token {words}, and a newer sign-in may be in a file that cannot be read). Nothing "
        f"is taken from it. If it is an account of its own:\n  {_by_its_path(candidate, app)}"
    )


def _what_is_missed(unread: Unreadable, found: Findings) -> str:
    if any(unread.importer is each.importer for each in found.candidates):
        return "A sign-in in it may be newer than another of the same name."
    return f"{unread.importer.label} may be signed in too: nothing was looked for in it."


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
