"""Plan usage of MiniMax: reads the `remains` endpoints without confusing "used" and "left".

Two endpoints give the same field opposite meanings: `current_interval_usage_count` is the used part at `token_plan/remains` and
the rest at the older `coding_plan/remains` (openclaw#81115 compares both). Clients have misread both (openclaw#60193,
openclaw#86885). So this module relies on the percentage, as MiniMax's own mmx-cli 1.0.27 does, and returns a count only if
exactly one meaning agrees with the percentage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from portico.interfaces.plugins import PlanWindow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.basics import JsonValue
    from portico.interfaces.plugins import WindowState
    from portico.secret import Secret

    Row = Mapping[str, JsonValue]

# MiniMax documents the first URL (platform.minimax.io/docs/token-plan/faq and docs/m-plan). A firewall of the website's host
# may answer with a web page. So the API host's URL comes next; mmx-cli 1.0.27 and OpenClaw use it. The last URL is from the
# provider page of February 2026.
DOCUMENTED: Final = "https://www.minimax.io/v1/token_plan/remains"
CURRENT: Final = "/v1/token_plan/remains"
OLDER: Final = "/v1/api/openplatform/coding_plan/remains"
_API_HOSTS: Final = frozenset({"api.minimax.io", "api.minimaxi.com", "api.minimax.cn"})
# The hosts for tokens of MiniMax Code. The current endpoints reject such tokens, so the request goes to the older endpoint of
# their region's API host.
_AGENT_HOSTS: Final = {"agent.minimax.io": "api.minimax.io", "agent.minimax.cn": "api.minimax.cn"}
# The older endpoint answers 1004, "cookie is missing", to valid keys (MiniMax-AI/cli#175, CodexBar#1326) and 2062, "no plan", to
# accounts with a plan (Win-CodexBar#254).
_UNSURE: Final = frozenset({1004, 2062})
# The website's host may expect a cookie and may reject the API host's keys, so the API host's answer decides.
_UNSURE_OF_KEYS: Final = frozenset({1004, 2049})
_DOCUMENTED_FOR: Final = "api.minimax.io"
_PAY_AS_YOU_GO: Final = "sk-api-"  # mmx-cli sends these keys to an endpoint for balances

_BY_STATUS: Final[Mapping[int, WindowState]] = {1: "limited", 2: "exhausted", 3: "unlimited"}
_UNLIMITED: Final = 3
_HUNDRED: Final = 100.0
_TOLERANCE: Final = 1.0  # percentage points, because the percentage is a whole number and changes late
_PERMILLE: Final = 1000.0
_MAX_BOOST: Final = 100.0
_MAX_COUNT: Final = 10**12
_MAX_ROWS: Final = 50
_HOUR_MS: Final = 3_600_000
# Windows start with their first use (platform.minimax.io/docs/m-plan, usage rules). An unstarted window has its whole time
# left, except the time of the request itself.
_UNSTARTED_MS: Final = 60_000
_MAX_LENGTH_MS: Final = 400 * 24 * _HOUR_MS


@dataclass(frozen=True, slots=True)
class MinimaxPlans:
    """The `portico.plugin_api.PlanReader` for MiniMax's accounts, with a key or a sign-in."""

    provider: str
    env_keys: tuple[str, ...]
    hosts: frozenset[str] = frozenset({"www.minimax.io"})

    def urls(self, base_url: str) -> tuple[str, ...]:
        host = urlsplit(base_url).hostname or ""
        if host in _AGENT_HOSTS:
            return (f"https://{_AGENT_HOSTS[host]}{OLDER}",)
        own = (f"https://{host}{CURRENT}", f"https://{host}{OLDER}") if host in _API_HOSTS else ()
        return (DOCUMENTED, *own) if host == _DOCUMENTED_FOR else own

    def can_have_plan(self, key: Secret) -> bool:
        return not key.reveal().startswith(_PAY_AS_YOU_GO)

    def unsure_codes(self, url: str) -> frozenset[int]:
        """Return the error numbers that prove nothing about the credential or the plan at `url`."""
        return _UNSURE if url.endswith(OLDER) else _UNSURE_OF_KEYS if url == DOCUMENTED else frozenset()

    def read(self, answer: Mapping[str, JsonValue], now_ms: int) -> tuple[PlanWindow, ...]:
        rows = answer.get("model_remains")
        valid = [row for row in rows[:_MAX_ROWS] if isinstance(row, dict)] if isinstance(rows, list) else []
        return tuple(window for row in valid for window in _windows(row, now_ms))


@dataclass(frozen=True, slots=True)
class _Span:
    """The field names of one window; `fields` is a prefix."""

    fields: str
    start: str
    end: str
    remains: str
    boost: str


_INTERVAL: Final = _Span("current_interval", "start_time", "end_time", "remains_time", "interval_boost_permille")
_WEEK: Final = _Span("current_weekly", "weekly_start_time", "weekly_end_time", "weekly_remains_time", "weekly_boost_permille")


def _windows(row: Row, now_ms: int) -> list[PlanWindow]:
    """Return the row's windows: also those with a total of 0, but not those without fields (opencode-quota#172)."""
    from portico.net.reply_values import plain_text

    kind = plain_text(row.get("model_name"), 40) or "unnamed"
    spans = [span for span in (_INTERVAL, _WEEK) if any(name.startswith(span.fields) for name in row)]
    outside = _is_outside(row, spans)
    return [_window(row, span, kind, now_ms, outside=outside) for span in spans]


def _is_outside(row: Row, spans: list[_Span]) -> bool:
    """Whether a kind of use is not in the plan: all windows are unlimited with a total of 0 (mmx-cli's rule)."""
    states = {_number(row, f"{span.fields}_status") for span in spans}
    totals = {_number(row, f"{span.fields}_total_count") for span in spans}
    return states == {_UNLIMITED} and totals == {0}


def _window(row: Row, span: _Span, kind: str, now_ms: int, *, outside: bool) -> PlanWindow:
    percent = _within(_number(row, f"{span.fields}_remaining_percent"), 0, _HUNDRED)
    boost = _within(_number(row, span.boost), 1, _MAX_BOOST * _PERMILLE) or _PERMILLE
    left, total = _counts(row, span, percent)
    state: WindowState = "not-in-plan" if outside else _state(row, span, percent)
    started = not (state == "limited" and percent == _HUNDRED and left == total and _is_whole(row, span))
    return PlanWindow(
        kind,
        "week" if span is _WEEK else _length(row, span),
        state,
        percent_left=None if percent is None else percent * boost / _PERMILLE,
        left=left,
        total=total,
        resets_at=_reset(row, span, now_ms) if started else None,
        boost=boost / _PERMILLE,
        started=started,
    )


def _state(row: Row, span: _Span, percent: float | None) -> WindowState:
    status = _number(row, f"{span.fields}_status")
    by_percent: WindowState = "unknown" if percent is None else "limited" if percent else "exhausted"
    known = _BY_STATUS.get(int(status)) if status is not None else None
    return by_percent if known is None or known == "limited" else known


def _counts(row: Row, span: _Span, percent: float | None) -> tuple[int, int] | tuple[None, None]:
    """Return (left, total) if exactly one meaning of the count agrees with the percentage."""
    total = _within(_number(row, f"{span.fields}_total_count"), 1, _MAX_COUNT)
    count = _within(_number(row, f"{span.fields}_usage_count"), 0, total or 0)
    if percent is None or total is None or count is None:
        return None, None
    agreeing = {left for left in (count, total - count) if abs(left / total * _HUNDRED - percent) <= _TOLERANCE}
    return (int(agreeing.pop()), int(total)) if len(agreeing) == 1 else (None, None)


def _reset(row: Row, span: _Span, now_ms: int) -> int | None:
    """Return when the window resets (ms since the epoch), if possible from the remaining time, which needs no clock."""
    left = _within(_number(row, span.remains), 0, _MAX_LENGTH_MS)
    if left is not None:
        return now_ms + int(left)
    end = _within(_number(row, span.end), now_ms - _MAX_LENGTH_MS, now_ms + _MAX_LENGTH_MS)
    return None if end is None else int(end)


def _is_whole(row: Row, span: _Span) -> bool:
    """Whether all of the window's time is left."""
    length, left = _length_ms(row, span), _within(_number(row, span.remains), 0, _MAX_LENGTH_MS)
    return length is not None and left is not None and length - _UNSTARTED_MS <= left


def _length(row: Row, span: _Span) -> str:
    length = _length_ms(row, span)
    return "window" if length is None else f"{round(length / _HOUR_MS)}h"


def _length_ms(row: Row, span: _Span) -> float | None:
    start, end = _number(row, span.start), _number(row, span.end)
    return _within(end - start, _HOUR_MS, _MAX_LENGTH_MS) if start is not None and end is not None else None


def _number(row: Row, name: str) -> float | None:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _within(value: float | None, low: float, high: float) -> float | None:
    return value if value is not None and low <= value <= high else None
