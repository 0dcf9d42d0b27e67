"""Asking what is left of the plans, once or again and again."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from portico.cli import usage_view as view
from portico.errors import SignInNeeded, UsageError
from portico.onboarding.pending import finish_pending
from portico.store.profiles import SIGNED_OUT, named_profile, sign_in
from portico.usage.plan import PlanAsker, exit_code, plan_accounts
from portico.util import signals
from portico.util.threads import off_loop

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from portico.cli.runtime import Runtime
    from portico.usage.plan import PlanAccount, PlanReport

_SHORTEST_WATCH_S: Final = 5.0


def show_plans(args: argparse.Namespace, rt: Runtime) -> int:
    """Ask every account once, and say what is left.

    Returns:
        0, or the code of what failed: the other accounts are shown all the same.

    Raises:
        SignInNeeded: `not-signed-in`: there is no account to ask about.
        UsageError: `no-plan-reader`.
    """
    finish_pending(rt)
    accounts = _accounts(args, rt)

    async def ask() -> tuple[PlanReport, ...]:
        async with _asker(rt) as asker:
            return await asker.ask_all(accounts)

    reports = signals.run(ask())
    view.show(reports, rt)
    return exit_code(reports)


def watch_plans(args: argparse.Namespace, rt: Runtime) -> int:
    """The same every so often, until it is interrupted; a failure is shown and ends nothing.

    Raises:
        UsageError: the time between is too short; `no-plan-reader`.
        SignInNeeded: `not-signed-in`, as soon as there is no account any more.
    """
    if not args.watch >= _SHORTEST_WATCH_S:
        raise UsageError("usage", f"--watch takes {_SHORTEST_WATCH_S:g} seconds or more.", hint="{prog} usage --watch 60")
    finish_pending(rt)

    async def watch() -> int:
        async with _asker(rt) as asker:
            while True:
                reports = await asker.ask_all(await off_loop(lambda: _accounts(args, rt)))
                view.show_again(reports, rt, every_s=args.watch)
                await rt.clock.sleep(args.watch)

    return signals.run(watch())


@asynccontextmanager
async def _asker(rt: Runtime) -> AsyncIterator[PlanAsker]:
    async with rt.http() as http:
        yield PlanAsker(http, rt.broker(http), rt.clock)


def _accounts(args: argparse.Namespace, rt: Runtime) -> tuple[PlanAccount, ...]:
    if args.profile is not None:
        named_profile(rt.token_store.snapshot(), args.profile)
    readers = rt.plugins.plan_readers()
    accounts = plan_accounts(rt.models(), readers, rt.token_store.profiles(), provider=args.provider, profile=args.profile)
    if not accounts:
        variables = next((reader.env_keys[0] for reader in readers.values() if reader.env_keys), None)
        hint = sign_in()
        if variables is not None:
            hint = f"{hint}\n  Or set {variables} to the key of a plan."
        raise SignInNeeded("not-signed-in", f"{SIGNED_OUT[:-1]}, and no key of a plan is set.", hint=hint)
    return accounts
