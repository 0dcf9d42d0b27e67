"""The cost of the requests in a period, by model, profile, client or day."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from functools import partial
from operator import add
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import sqlite3

    from portico.usage.history_file import HistoryFile

By = Literal["model", "profile", "client", "day"]
Sums = tuple[Any, ...]  # in the order of the fields of `Spent`

# A quarter of an hour, because in every time zone a day starts at a multiple of this.
_QUARTER_MS: Final = 900_000
_KEYS: Final = {"model": "model", "profile": "credential", "client": "client", "day": f"at_ms / {_QUARTER_MS}"}
_SUMS: Final = """
    SELECT {key}, count(*), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
        total(cost_usd), count(*) - count(cost_usd)
    FROM requests WHERE rowid >= ? AND rowid < ? AND at_ms >= ? GROUP BY 1
"""
_UNPRICED: Final = "SELECT model, count(*) FROM requests WHERE cost_usd IS NULL AND at_ms >= ? GROUP BY model"
# Three subqueries: min() and max() in one query would read the whole table.
_ENDS: Final = """
    SELECT (SELECT min(rowid) FROM requests), (SELECT max(rowid) FROM requests),
        (SELECT at_ms FROM requests ORDER BY rowid LIMIT 1)
"""
_EARLIEST: Final = "SELECT min(rowid) FROM requests WHERE at_ms >= ?"
# Small enough to be sorted in the processor's cache: a million rows in one chunk take 50 % longer.
_CHUNK: Final = 1000


@dataclass(frozen=True, slots=True)
class Spent:
    """The totals of some requests. `cost_usd` is the known cost; `unpriced` counts the requests without a known cost."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0


_NONE: Final[Sums] = tuple(each.default for each in fields(Spent))


@dataclass(frozen=True, slots=True)
class Spending:
    """Totals by group: days in their order, other groups by cost. `unpriced` counts requests without a known cost, by model."""

    groups: dict[str, Spent] = field(default_factory=dict)
    total: Spent = field(default_factory=Spent)
    unpriced: dict[str, int] = field(default_factory=dict)


def since(days: int, now_ms: int) -> int:
    """Return the start of the last `days` days, including today, in this machine's time zone (ms since the epoch)."""
    first = _local_day(now_ms // 1000) - timedelta(days=days - 1)
    return round(datetime(first.year, first.month, first.day).astimezone().timestamp() * 1000)


def spending(file: HistoryFile, since_ms: int, by: By) -> Spending:
    """Sum up the requests since `since_ms`; empty without a history.

    Raises:
        StoreError: the history cannot be read.
    """
    sums: dict[str, Sums] = {}
    for key, *more in file.read(partial(_sums, statement=_SUMS.format(key=_KEYS[by]), since_ms=since_ms)) or []:
        name = _local_day(key * _QUARTER_MS // 1000).isoformat() if by == "day" else key
        sums[name] = tuple(map(add, sums.get(name, _NONE), more))
    groups = {name: Spent(*each) for name, each in sums.items()}
    total = Spent(*(sum(column) for column in zip(_NONE, *sums.values(), strict=True)))
    unpriced = file.read(lambda history: history.execute(_UNPRICED, (since_ms,)).fetchall()) if total.unpriced else []
    order = sorted(groups) if by == "day" else sorted(groups, key=lambda name: (-groups[name].cost_usd, name))
    return Spending({name: groups[name] for name in order}, total, dict(unpriced or []))


def _sums(history: sqlite3.Connection, *, statement: str, since_ms: int) -> list[tuple[Any, ...]]:
    """Return the rows of `statement` for each chunk of the table.

    A group has one row in each chunk that contains requests of the group. Requests that are recorded later are not included.
    """
    first, last, at_ms = history.execute(_ENDS).fetchone()
    if first is not None and at_ms < since_ms:
        first = history.execute(_EARLIEST, (since_ms,)).fetchone()[0]
    if first is None:
        return []
    end = last + 1
    starts = range(first, end, _CHUNK)
    return [row for start in starts for row in history.execute(statement, (start, min(start + _CHUNK, end), since_ms))]


def _local_day(seconds: int) -> date:
    return date.fromtimestamp(seconds)  # noqa: DTZ012 - a day in this machine's time zone is intended
