"""`usage`: show what is left of the plans, once or, with `--watch`, repeatedly."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from portico.accounts.view import in_words, iso
from portico.cli.dispatch import finish_pending_sign_ins
from portico.errors import SignInNeeded, UsageError
from portico.models.credentials import CredentialRefused
from portico.store.errors import NotSignedIn
from portico.store.profiles import NOT_SIGNED_IN, require_profile, sign_in
from portico.usage.plan import PlanClient, exit_code, plan_accounts, report_as_json, window_text
from portico.util import signals
from portico.util.threads import off_loop

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Mapping, Sequence

    from portico.app import App
    from portico.interfaces.plugins import PlanWindow
    from portico.usage.plan import PlanAccount, PlanReport, PlanState

_PLAN_HEADERS: Final = ("Account", "For", "Window", "Left", "Resets in")
_STATE_WORDS: Final[Mapping[PlanState, str]] = {
    "told": "no limits reported",  # if there is no window
    "no-plan": "no plan",
    "needs-plan-key": "needs a Subscription Key",
    "not-asked": "not asked",
    "failed": "unknown",
}
_SHORTEST_WATCH_S: Final = 5.0


def show_plans(args: argparse.Namespace, app: App) -> int:
    """Ask for the plan of every account and print what is left; with `--watch`, repeat this.

    Returns:
        0, or the exit code of a failed account. The other accounts are always shown.

    Raises:
        SignInNeeded: `not-signed-in`: there is no account to show.
        UsageError: `usage`.
    """
    if args.watch is not None:
        return _watch_plans(args, app)
    finish_pending_sign_ins(app)
    accounts = _accounts(args, app)

    async def ask() -> tuple[PlanReport, ...]:
        async with _asker(app) as asker:
            return await asker.ask_all(accounts)

    reports = signals.run(ask())
    _show(reports, app)
    return exit_code(reports)


def _watch_plans(args: argparse.Namespace, app: App) -> int:
    """Print the plans at an interval, until Ctrl-C. A failed account does not stop the loop.

    Raises:
        UsageError: the interval is too short (`usage`).
        SignInNeeded: `not-signed-in`, as soon as there is no account left.
    """
    if not args.watch >= _SHORTEST_WATCH_S:
        raise UsageError(f"--watch takes {_SHORTEST_WATCH_S:g} seconds or more.", hint="{prog} usage --watch 60")
    finish_pending_sign_ins(app)

    async def watch() -> int:
        async with _asker(app) as asker:
            while True:
                reports = await asker.ask_all(await off_loop(lambda: _accounts(args, app)))
                _show_again(reports, app, every_s=args.watch)
                await app.clock.sleep(args.watch)

    return signals.run(watch())


@asynccontextmanager
async def _asker(app: App) -> AsyncIterator[PlanClient]:
    async with app.http() as http:
        yield PlanClient(http, app.broker(http), app.clock)


def _accounts(args: argparse.Namespace, app: App) -> tuple[PlanAccount, ...]:
    if args.profile is not None:
        require_profile(app.token_store.snapshot(), args.profile)
    readers = app.plugins.plan_readers()
    accounts = plan_accounts(app.models(), readers, app.token_store.profiles(), provider=args.provider, profile=args.profile)
    if not accounts:
        variables = next((reader.env_keys[0] for reader in readers.values() if reader.env_keys), None)
        hint = sign_in()
        if variables is not None:
            hint = f"{hint}\n  Or set {variables} to a plan key."
        raise NotSignedIn(f"{NOT_SIGNED_IN[:-1]}, and no plan key is set.", hint=hint)
    return accounts


def _show(reports: Sequence[PlanReport], app: App) -> None:
    """Print the limits of every account, then the reasons of the accounts without limits."""
    if app.out.is_json:
        app.out.json(_plan_as_json(reports, app))
        return
    app.out.table(_PLAN_HEADERS, [row for report in reports for row in _plan_rows(report, app)])
    for report in reports:
        _show_reason(report, app)


def _show_again(reports: Sequence[PlanReport], app: App, *, every_s: float) -> None:
    """Print an update of `--watch`: redraw a terminal, elsewhere print one line per limit."""
    if app.out.is_json:
        app.out.event(_plan_as_json(reports, app))
    elif app.out.room() is not None and app.env.get("TERM") != "dumb":
        app.out.clear()
        _show(reports, app)
        app.out.note(f"{iso(app.clock.wall_ms())}, updated every {every_s:g} s. Press Ctrl-C to stop.")
    else:
        now = iso(app.clock.wall_ms())
        for row in (row for report in reports for row in _plan_rows(report, app)):
            app.out.line("  ".join((now, *filter(None, row))))


def _plan_rows(report: PlanReport, app: App) -> list[tuple[str, ...]]:
    now, label = app.clock.wall_ms(), report.account.label
    if not report.windows:
        return [(label, "-", "-", _state_word(report), "")]
    return [(label, window.kind, window.name, window_text(window), _reset(window, now)) for window in report.windows]


def _state_word(report: PlanReport) -> str:
    if not isinstance(report.error, SignInNeeded):
        return _STATE_WORDS[report.state]
    return "rejected" if isinstance(report.error, CredentialRefused) else "sign-in needed"


def _reset(window: PlanWindow, now_ms: int) -> str:
    if not window.started:
        return "not started"
    at_ms = window.resets_at
    if at_ms is None:
        return ""
    return in_words(at_ms, now_ms) if at_ms > now_ms else "now"


def _show_reason(report: PlanReport, app: App) -> None:
    label, error = report.account.label, report.error
    if report.state == "no-plan":
        link = report.account.subscribe_url
        app.out.line(f"{label} has no plan." + (f" Subscribe: {link}" if link is not None else ""))
    elif error is not None:
        hint = error.hint_for(app.program)
        app.out.warn(f"{label}: {error}" + (f"\n  {hint}" if hint is not None else ""))
    elif report.why is not None:
        app.out.note(f"{label}: {report.why}")


def _plan_as_json(reports: Sequence[PlanReport], app: App) -> dict[str, object]:
    return {"checkedAt": app.clock.wall_ms(), "accounts": [report_as_json(report, app.program) for report in reports]}
