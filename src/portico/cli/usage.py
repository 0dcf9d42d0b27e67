"""`usage` and `usage cost`: what requests have cost, from the history on this machine.

What is left of the plans is shown by `usage_plan`, which needs the network; this module loads nothing of that.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from portico.accounts.view import iso
from portico.errors import ExitCode, UsageError
from portico.usage.cost import Spending, since, spending
from portico.usage.history_file import HistoryFile

if TYPE_CHECKING:
    import argparse

    from portico.app import App
    from portico.usage.cost import Spent

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
_DEFAULT_WATCH_S: Final = 60.0
_DEFAULT_DAYS: Final = 30
_MOST_DAYS: Final = 4000
_NAMES: Final = {
    "requests": "requests",
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_read_tokens": "cacheReadTokens",
    "cache_write_tokens": "cacheWriteTokens",
    "cost_usd": "costUsd",
    "unpriced": "withoutKnownCost",
}
_COST_HEADERS: Final = ("Requests", "In", "Out", "Cache read", "Cache write", "Cost")
_K: Final = 1000
_WHOLE_K: Final = 10_000
_M: Final = 1_000_000
_CENT: Final = 0.01
_OFF: Final = ' The configuration says `history: "off"`.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `usage`."""
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "--watch", type=float, nargs="?", const=_DEFAULT_WATCH_S, metavar="SECONDS", help="again and again (every 60 s)"
    )
    parser.add_argument("--profile", metavar="ID", help="this sign-in only; `auth list` names them")
    parser.add_argument("--provider", metavar="ID", help="accounts of this provider only")
    parser.set_defaults(handler="portico.cli.usage_plan:show_plans")
    commands = parser.add_subparsers(metavar="COMMAND")
    costs = commands.add_parser("cost", help="what requests have cost", epilog=_COST_EXAMPLES)
    costs.add_argument("--days", type=int, default=_DEFAULT_DAYS, metavar="N", help="the last N days, today among them (30)")
    costs.add_argument("--by", choices=("model", "profile", "client", "day"), default="model", help="one row for each (model)")
    costs.add_argument("--csv", action="store_true", help="print CSV for a spreadsheet")
    costs.set_defaults(handler=show_cost)


def show_cost(args: argparse.Namespace, app: App) -> int:
    """Print one row for each model, profile, client or day, and the sum of them.

    Raises:
        UsageError: a number of days that makes no sense; `--json` with `--csv`.
        StoreError: the history cannot be read.
    """
    if not 1 <= args.days <= _MOST_DAYS:
        raise UsageError(f"--days is a whole number from 1 to {_MOST_DAYS}.")
    if args.csv and app.out.is_json:
        raise UsageError("Choose either --json or --csv, not both.")
    since_ms = since(args.days, app.clock.wall_ms())
    spent = spending(HistoryFile(app.paths, app.out.warn), since_ms, args.by)
    if app.out.is_json:
        app.out.json(_cost_as_json(spent, args, since_ms))
    elif args.csv:
        _print_csv(spent, args.by, app)
    elif spent.groups:
        rows = [_cost_cells(name, each) for name, each in spent.groups.items()]
        app.out.table([args.by.capitalize(), *_COST_HEADERS], [*rows, _cost_cells("Total", spent.total)])
    else:
        app.out.note(f"No request is noted since {iso(since_ms)}.{'' if app.settings.config.history else _OFF}")
    _warn_of_missing_prices(spent, app)
    return ExitCode.OK


def _warn_of_missing_prices(spent: Spending, app: App) -> None:
    if spent.groups:
        app.out.note("Costs are at list prices; what a plan covers is not paid by the token.")
    if spent.unpriced:
        named = ", ".join(f"{model} ({count})" for model, count in spent.unpriced.items())
        app.out.warn(
            f"Not in the sums, since their price or their tokens are not known: {named}.\n"
            f"  Prices are set in {app.paths.config.parent / 'models.json'} or in the configuration, for the requests to come."
        )


def _cost_cells(name: str, spent: Spent) -> tuple[str, ...]:
    tokens = (spent.input_tokens, spent.output_tokens, spent.cache_read_tokens, spent.cache_write_tokens)
    return (name, str(spent.requests), *map(_tokens, tokens), _cost_words(spent))


def _cost_words(spent: Spent) -> str:
    if spent.unpriced == spent.requests:
        return "not known"
    dollars = f"${spent.cost_usd:,.2f}" if spent.cost_usd >= _CENT or not spent.cost_usd else f"${spent.cost_usd:.4f}"
    return f"{dollars}, {spent.unpriced} not known" if spent.unpriced else dollars


def _tokens(count: int) -> str:
    """`950`, `1.2k`, `34k`, `5.6m`, as OpenClaw writes them."""
    if count < _K:
        return str(count)
    if round(count / _K) * _K >= _M:
        return f"{count / _M:.1f}m"
    return f"{count / _K:.0f}k" if count >= _WHOLE_K else f"{count / _K:.1f}k"


def _cost_as_json(spent: Spending, args: argparse.Namespace, since_ms: int) -> dict[str, object]:
    rows = [{args.by: name, **_fields(each)} for name, each in spent.groups.items()]
    total, unpriced = _fields(spent.total), [{"model": name, "requests": count} for name, count in spent.unpriced.items()]
    return {"days": args.days, "since": since_ms, "by": args.by, "rows": rows, "total": total, "withoutKnownCost": unpriced}


def _print_csv(spent: Spending, by: str, app: App) -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([by, *_NAMES.values()])
    writer.writerows([name, *_fields(each).values()] for name, each in spent.groups.items())
    app.out.write(text.getvalue())


def _fields(spent: Spent) -> dict[str, object]:
    exact = asdict(spent) | {"cost_usd": round(spent.cost_usd, 6)}
    return {_NAMES[name]: value for name, value in exact.items()}
