"""`usage`: what is left of the plans, and what requests have cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime

_EXAMPLES: Final = """examples:
  {prog} usage                                     what is left of each plan, and when its windows begin anew
  {prog} usage --provider minimax-portal --json
  {prog} usage --watch 60                          again every minute, until Ctrl-C
  {prog} usage cost --days 7 --by client           what requests have cost, from the history on this machine

Asked about: every sign-in, and the first key of MINIMAX_CODE_PLAN_KEY, MINIMAX_API_KEY and the configuration.
Exit code: 0, 3 where an account has to be signed in again or is refused, 8 where one cannot be reached; the others are shown.
"""
_COST_EXAMPLES: Final = """examples:
  {prog} usage cost                                the last 30 days, by model
  {prog} usage cost --days 7 --by client
  {prog} usage cost --by day --csv > cost.csv

Every request has the price that held when it was made: those of the catalogue, corrected by the configuration and models.json.
"""
DEFAULT_WATCH_S: Final = 60.0
DEFAULT_DAYS: Final = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `usage`."""
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "--watch", type=float, nargs="?", const=DEFAULT_WATCH_S, metavar="SECONDS", help="again and again (every 60 s)"
    )
    parser.add_argument("--profile", metavar="ID", help="this sign-in only; `auth list` names them")
    parser.add_argument("--provider", metavar="ID", help="accounts of this provider only")
    parser.set_defaults(handler=plan)
    commands = parser.add_subparsers(metavar="COMMAND")
    costs = commands.add_parser("cost", help="what requests have cost", epilog=_COST_EXAMPLES)
    costs.add_argument("--days", type=int, default=DEFAULT_DAYS, metavar="N", help="the last N days, today among them (30)")
    costs.add_argument("--by", choices=("model", "profile", "client", "day"), default="model", help="one row for each (model)")
    costs.add_argument("--csv", action="store_true", help="print CSV for a spreadsheet")
    costs.set_defaults(handler=cost)


def plan(args: argparse.Namespace, rt: Runtime) -> int:
    """Say what is left."""
    from portico.cli.usage_plan import show_plans, watch_plans

    return show_plans(args, rt) if args.watch is None else watch_plans(args, rt)


def cost(args: argparse.Namespace, rt: Runtime) -> int:
    """Say what requests have cost."""
    from portico.cli.usage_cost import show_cost

    return show_cost(args, rt)
