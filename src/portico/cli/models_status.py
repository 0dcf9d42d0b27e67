"""`models status`: what is set up, who is signed in, and with `--probe` whether it answers (docs.openclaw.ai/cli/models).

The exit codes of `--check` are OpenClaw's. An access token that has ended is never called ok, which there it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.cli.models_overview import overview_of, status_of
from portico.errors import UsageError
from portico.onboarding.pending import finish_pending

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from portico.cli.models_overview import Overview
    from portico.cli.runtime import Runtime
    from portico.store.records import Profile

_MISSING: Final = 1
_EXPIRING: Final = 2


def show_status(args: argparse.Namespace, rt: Runtime) -> int:
    """Say what is set up.

    Returns:
        With `--check`: 1 where a model in use has no credential or a sign-in has ended, 2 where one ends within a day and
        cannot be refreshed, or has ended and refreshing fails, else 0.

    Raises:
        UsageError: `--plain` with `--json` or `--probe`; `unknown-provider`, `not-signed-in` for what is to be probed.
    """
    if args.plain and (rt.out.is_json or args.probe):
        raise UsageError("usage", "--plain prints the default model alone: leave --json and --probe out.")
    finish_pending(rt)
    loader = rt.models()
    if args.plain:
        rt.out.line(str(loader.reference(None)))
        return 0
    from portico.cli import models_status_view as view
    from portico.cli.models_probe import probed

    probes = probed(args, loader, rt) if args.probe else ()
    overview = overview_of(loader, rt, probes)
    if rt.out.is_json:
        rt.out.json(view.as_json(overview, rt))
    else:
        view.say(overview, rt)
    return _code(overview, rt) if args.check else 0


def _code(overview: Overview, rt: Runtime) -> int:
    profiles: Sequence[Profile] = [profile for account in overview.accounts for profile in account.profiles]
    states = {status_of(profile, rt.clock) for profile in profiles}
    if overview.missing or "expired" in states:
        return _MISSING
    return _EXPIRING if states & {"expiring", "failing"} else 0
