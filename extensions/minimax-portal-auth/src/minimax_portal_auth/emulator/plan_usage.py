"""The plan's usage: two endpoints with opposite meanings of `usage_count` (openclaw#81115, openclaw#86885).

`token_plan/remains` counts used requests; the older `coding_plan/remains` counts remaining requests. The percentages agree. A
failure is an HTTP 200 with `base_resp`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from minimax_portal_auth.emulator.accounts import USED_AT_START
from minimax_portal_auth.emulator.inference import credential
from minimax_portal_auth.emulator.usage_shapes import reshape

if TYPE_CHECKING:
    from minimax_portal_auth.emulator.accounts import AccountSpace
    from minimax_portal_auth.emulator.hosts import EmulatedHost
    from minimax_portal_auth.emulator.inference import Inference
    from minimax_portal_auth.emulator.settings import Settings
    from minimax_portal_auth.emulator.usage_shapes import Row

TOTAL: Final = 1500
_WEEKLY_TOTAL: Final = 15_000
_WINDOW_MS: Final = 5 * 3_600_000
_WEEK_MS: Final = 7 * 86_400_000
_ELAPSED_MS: Final = 600_000
_DELAY_MS: Final = 140
_LIMITED, _EXHAUSTED, _UNLIMITED = 1, 2, 3


class PlanUsage:
    """One region's usage endpoints."""

    def __init__(self, space: AccountSpace, inference: Inference, settings: Settings) -> None:
        self._space = space
        self._inference = inference
        self._settings = settings

    async def token_plan(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """GET /v1/token_plan/remains. Rejects MiniMax Code's tokens."""
        if self._settings.remains == "older":
            return web.Response(status=404, text="404 page not found")
        key = credential(request)
        client = self._space.client_of(key) if key else None
        return self._reply(key if client is None or not client.standard else None, counts_used=True)

    async def coding_plan(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """GET /v1/coding_plan/remains and its older path."""
        return self._reply(credential(request), counts_used=False)

    def _reply(self, key: str | None, *, counts_used: bool) -> web.Response:
        if self._settings.remains == "html":
            return web.Response(text="<!DOCTYPE html><title>Just a moment...</title>", content_type="text/html")
        if key is None or not self._inference.knows(key):
            return web.json_response({"base_resp": {"status_code": 1004, "status_msg": "cookie is missing, log in again"}})
        if self._settings.quota == "none":
            status = {"status_code": 2062, "status_msg": "no active token plan subscription"}
            return web.json_response({"model_remains": None, "base_resp": status})
        if self._settings.remains == "m-plan":
            rows: list[object] | None = [self._m_plan_row()]
        else:
            rows = reshape(self._settings.remains, [self._general_row(counts_used=counts_used), self._video_row()])
        return web.json_response({"model_remains": rows, "base_resp": {"status_code": 0, "status_msg": "success"}})

    def _general_row(self, *, counts_used: bool) -> Row:
        quota, boost = self._settings.quota, self._settings.boost
        total, weekly_total = (0, 0) if quota == "not-in-plan" else (TOTAL, _WEEKLY_TOTAL)
        used = TOTAL if quota == "exhausted" else min(self._space.used, total)
        left, week_left = total - used, weekly_total - used
        is_unlimited = quota in {"unlimited", "not-in-plan"}
        window, week = self._windows()
        return {
            "model_name": "general",
            **window,
            "current_interval_total_count": total,
            "current_interval_usage_count": used if counts_used else left,
            "current_interval_remaining_percent": left * 100 // total if total else 100,
            "current_interval_status": _UNLIMITED if is_unlimited else _LIMITED if left else _EXHAUSTED,
            **week,
            "current_weekly_total_count": weekly_total,
            "current_weekly_usage_count": used if counts_used else week_left,
            "current_weekly_remaining_percent": week_left * 100 // weekly_total if weekly_total else 100,
            "current_weekly_status": _UNLIMITED if is_unlimited else _LIMITED,
            "interval_boost_permille": boost,
            "weekly_boost_permille": boost,
        }

    def _m_plan_row(self) -> Row:
        """The only row of an M Plan on 2026-10-08: no counts, no boosts, no video; each request uses one percent.

        The windows start with the first use (platform.minimax.io/docs/m-plan, usage rules); until then they are full.
        """
        now, first_used_at = self._space.mint.clock.wall_ms(), self._space.first_used_at
        start = now if first_used_at is None else first_used_at
        used = min(self._space.used - USED_AT_START, 100)
        row: Row = {"model_name": "general"}
        for period, prefix, length_ms in (("interval", "", _WINDOW_MS), ("weekly", "weekly_", _WEEK_MS)):
            left = length_ms - _DELAY_MS if first_used_at is None else max(0, start + length_ms - now)
            row |= {f"{prefix}start_time": start, f"{prefix}end_time": start + length_ms, f"{prefix}remains_time": left}
            row |= {f"current_{period}_total_count": 0, f"current_{period}_usage_count": 0, f"current_{period}_status": _LIMITED}
            row[f"current_{period}_remaining_percent"] = 100 - used
        return row

    def _video_row(self) -> Row:
        window, week = self._windows()
        counts = dict.fromkeys(
            (f"current_{period}_{name}_count" for period in ("interval", "weekly") for name in ("total", "usage")), 0
        )
        percents = {"current_interval_remaining_percent": 100, "current_weekly_remaining_percent": 100}
        states = {"current_interval_status": _LIMITED, "current_weekly_status": _LIMITED}
        return {"model_name": "video", **window, **counts, **percents, **states, **week}

    def _windows(self) -> tuple[Row, Row]:
        """The current five-hour window and the current weekly window, with their remaining times in ms."""
        now = self._space.mint.clock.wall_ms()
        start, week_start = (now - max(now % length_ms, _ELAPSED_MS) for length_ms in (_WINDOW_MS, _WEEK_MS))
        end, week_end = start + _WINDOW_MS, week_start + _WEEK_MS
        window: Row = {"start_time": start, "end_time": end, "remains_time": end - now}
        week: Row = {"weekly_start_time": week_start, "weekly_end_time": week_end, "weekly_remains_time": week_end - now}
        return window, week
