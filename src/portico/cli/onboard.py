"""`onboard`: sign in to a provider and make one of its models the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
  {prog} onboard                                                  choose a provider from a menu
  {prog} onboard --auth-choice minimax-portal                     sign in to MiniMax; the region is asked
  {prog} onboard --auth-choice minimax-portal --region cn --flow device --non-interactive --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `onboard`."""
    from portico.cli.sign_in_options import add_sign_in_options

    parser.epilog = _EXAMPLES
    parser.add_argument("--auth-choice", metavar="ID", help="how to sign in, for example minimax-portal")
    add_sign_in_options(parser)
    parser.set_defaults(handler=onboard)


def onboard(args: argparse.Namespace, rt: Runtime) -> int:
    """Sign in as asked; what was not said is asked."""
    from dataclasses import replace

    from portico.cli.sign_in_options import request_from, run_sign_in
    from portico.onboarding import choices

    bench = rt.unattended() if args.non_interactive else rt
    request = request_from(args, choice="", make_default=True)
    choice = args.auth_choice or choices.choose(bench)
    return run_sign_in(bench, replace(request, choice=choice))
