"""`usage cost`: what the requests of the last days came to, from the history on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode, UsageError
from portico.onboarding.times import iso
from portico.usage.cost import Spending, since, spending
from portico.usage.history_file import HistoryFile

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime
    from portico.usage.cost import Spent

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
_HEADERS: Final = ("Requests", "In", "Out", "Cache read", "Cache write", "Cost")
_K: Final = 1000
_WHOLE_K: Final = 10_000
_M: Final = 1_000_000
_CENT: Final = 0.01


def show_cost(args: argparse.Namespace, rt: Runtime) -> int:
    """Print one row for each model, profile, client or day, and the sum of them.

    Raises:
        UsageError: a number of days that makes no sense; `--json` with `--csv`.
        StoreError: the history cannot be read.
    """
    if not 1 <= args.days <= _MOST_DAYS:
        raise UsageError("usage", f"--days is a whole number from 1 to {_MOST_DAYS}.")
    if args.csv and rt.out.is_json:
        raise UsageError("usage", "Choose either --json or --csv, not both.")
    since_ms = since(args.days, rt.clock.wall_ms())
    spent = spending(HistoryFile(rt.paths, rt.out.warn), since_ms, args.by)
    if rt.out.is_json:
        rt.out.json(_as_json(spent, args, since_ms))
    elif args.csv:
        _print_csv(spent, args.by, rt)
    elif spent.groups:
        rows = [_cells(name, each) for name, each in spent.groups.items()]
        rt.out.table([args.by.capitalize(), *_HEADERS], [*rows, _cells("Total", spent.total)])
    else:
        rt.out.note(f"No request is noted since {iso(since_ms)}.{'' if rt.settings.config.history else _OFF}")
    _say_what_is_missing(spent, rt)
    return ExitCode.OK


_OFF: Final = ' The configuration says `history: "off"`.'


def _say_what_is_missing(spent: Spending, rt: Runtime) -> None:
    if spent.groups:
        rt.out.note("Costs are at list prices; what a plan covers is not paid by the token.")
    if spent.unpriced:
        named = ", ".join(f"{model} ({count})" for model, count in spent.unpriced.items())
        rt.out.warn(
            f"Not in the sums, since their price or their tokens are not known: {named}.\n"
            f"  Prices are set in {rt.paths.config.parent / 'models.json'} or in the configuration, for the requests to come."
        )


def _cells(name: str, spent: Spent) -> tuple[str, ...]:
    tokens = (spent.input_tokens, spent.output_tokens, spent.cache_read_tokens, spent.cache_write_tokens)
    return (name, str(spent.requests), *map(_tokens, tokens), _cost(spent))


def _cost(spent: Spent) -> str:
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


def _as_json(spent: Spending, args: argparse.Namespace, since_ms: int) -> dict[str, object]:
    rows = [{args.by: name, **_fields(each)} for name, each in spent.groups.items()]
    total, unpriced = _fields(spent.total), [{"model": name, "requests": count} for name, count in spent.unpriced.items()]
    return {"days": args.days, "since": since_ms, "by": args.by, "rows": rows, "total": total, "withoutKnownCost": unpriced}


def _print_csv(spent: Spending, by: str, rt: Runtime) -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([by, *_NAMES.values()])
    writer.writerows([name, *_fields(each).values()] for name, each in spent.groups.items())
    rt.out.write(text.getvalue())


def _fields(spent: Spent) -> dict[str, object]:
    exact = asdict(spent) | {"cost_usd": round(spent.cost_usd, 6)}
    return {_NAMES[name]: value for name, value in exact.items()}
