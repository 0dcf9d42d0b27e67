"""`usage cost`: print what requests cost, from the usage history on this machine; and the arguments of `usage`.

`usage` itself, which needs the network, is in `usage_plan`.
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
  {prog} usage                                     show what is left of each plan, and when the limits reset
  {prog} usage --provider minimax-portal --json
  {prog} usage --watch 60                          update every minute, until Ctrl-C
  {prog} usage cost --days 7 --by client           show what requests cost, from the history on this machine

The command shows all accounts, and one API key. It takes the key from MINIMAX_CODE_PLAN_KEY, else MINIMAX_API_KEY, else
the config.
exit code: 0 ok; 3 you must sign in to an account again, or a credential was rejected; 8 a provider could not be reached.
"""
_COST_EXAMPLES: Final = """examples:
  {prog} usage cost                                show the last 30 days, by model
  {prog} usage cost --days 7 --by client
  {prog} usage cost --by day --csv > cost.csv

The price of a request is fixed when the request is made. It comes from models.json, else from the config, else from the catalog.
"""
_DEFAULT_WATCH_S: Final = 60.0
_DEFAULT_DAYS: Final = 30
_MOST_DAYS: Final = 4000
_DAYS: Final = f"show the last N days, including today (default: {_DEFAULT_DAYS})"
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
_OFF: Final = ' The config turns the history off: `history: "off"`.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `usage`."""
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=_DEFAULT_WATCH_S,
        metavar="SECONDS",
        help="repeat every SECONDS seconds; without a number, every 60 seconds (default: show the plans once)",
    )
    parser.add_argument("--profile", metavar="ID", help="show only this account; `auth list` shows the names of the accounts")
    parser.add_argument("--provider", metavar="ID", help="show only accounts of this provider")
    parser.set_defaults(handler="portico.cli.usage_plan:show_plans")
    commands = parser.add_subparsers()
    costs = commands.add_parser("cost", help="show what requests cost", epilog=_COST_EXAMPLES)
    costs.add_argument("--days", type=int, default=_DEFAULT_DAYS, metavar="N", help=_DAYS)
    costs.add_argument(
        "--by", choices=("model", "profile", "client", "day"), default="model", help="what to group the costs by (default: model)"
    )
    costs.add_argument("--csv", action="store_true", help="print CSV for a spreadsheet")
    costs.set_defaults(handler=show_cost)


def show_cost(args: argparse.Namespace, app: App) -> int:
    """Print one row for each model, profile, client or day, and the total.

    Raises:
        UsageError: invalid `--days`, or `--json` with `--csv`.
        StoreError: the history could not be read.
    """
    if not 1 <= args.days <= _MOST_DAYS:
        raise UsageError(f"--days takes a whole number from 1 to {_MOST_DAYS}.")
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
        app.out.note(f"No requests recorded since {iso(since_ms)}.{'' if app.settings.config.history else _OFF}")
    _warn_of_missing_prices(spent, app)
    return ExitCode.OK


def _warn_of_missing_prices(spent: Spending, app: App) -> None:
    if spent.groups:
        app.out.note("Costs are list prices. Requests that a plan covers cost nothing extra.")
    if spent.unpriced:
        named = ", ".join(f"{model} ({count})" for model, count in spent.unpriced.items())
        app.out.warn(
            f"Not in the totals, because the price or the token count is unknown: {named}.\n"
            f"  To set prices for new requests, edit {app.paths.config.parent / 'models.json'} or the config."
        )


def _cost_cells(name: str, spent: Spent) -> tuple[str, ...]:
    tokens = (spent.input_tokens, spent.output_tokens, spent.cache_read_tokens, spent.cache_write_tokens)
    return (name, str(spent.requests), *map(_tokens, tokens), _cost_words(spent))


def _cost_words(spent: Spent) -> str:
    if spent.unpriced == spent.requests:
        return "unknown"
    dollars = f"${spent.cost_usd:,.2f}" if spent.cost_usd >= _CENT or not spent.cost_usd else f"${spent.cost_usd:.4f}"
    return f"{dollars}, {spent.unpriced} unknown" if spent.unpriced else dollars


def _tokens(count: int) -> str:
    """Return a count as OpenClaw writes it: `950`, `1.2k`, `34k`, `5.6m`."""
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
