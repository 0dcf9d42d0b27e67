"""How a plan is told, to a person and to a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.plan_reader import PlanWindow, WindowState
    from portico.usage.report import PlanReport

_STATES: Final[Mapping[WindowState, str]] = {
    "exhausted": "used up",
    "unlimited": "unlimited",
    "not-in-plan": "not in the plan",
    "unknown": "not told",
}


def what_is_left(window: PlanWindow) -> str:
    """`89% left (1349 of 1500)`, `178% left (boost x2)`, `used up`, `unlimited`, `not in the plan`, `not told`."""
    if window.percent_left is None or window.state in _STATES:
        return _STATES.get(window.state, "not told")
    remarks = [f"{window.left} of {window.total}"] if window.left is not None else []
    remarks += [f"boost x{window.boost:g}"] if window.boost != 1 else []
    return f"{round(window.percent_left, 1):g}% left" + (f" ({', '.join(remarks)})" if remarks else "")


def in_short(report: PlanReport, program: str) -> str:
    """The plan in one line: the windows of what it is first of all for, or where to buy one, or that it was not told."""
    if report.state == "no-plan":
        link = report.account.subscribe_url
        return "none, so that models will refuse to answer." + (f" Subscribe: {link}" if link is not None else "")
    if not report.windows:
        return f"not checked; `{program} usage` asks again"
    first = report.windows[0].kind
    return "; ".join(
        f"{window.name} {what_is_left(window)}{'' if window.started else ', not started'}"
        for window in report.windows
        if window.kind == first
    )


def report_as_json(report: PlanReport, program: str) -> dict[str, object]:
    """One account for `--json`: `percentLeft` has the boost in it, `resetsAt` is in ms since the epoch, null for a
    window that has not `started`.
    """
    account = report.account
    told: dict[str, object] = {
        "account": account.label,
        "provider": account.spec.id,
        "profile": account.profile_id,
        "region": account.region,
        "state": report.state,
        "windows": [_window_as_json(window) for window in report.windows],
    }
    if report.state == "no-plan":
        told["subscribeUrl"] = account.subscribe_url
    if report.error is not None:
        told["error"] = report.error.as_json(program)
    return told if report.why is None else {**told, "why": report.why}


def _window_as_json(window: PlanWindow) -> dict[str, object]:
    return {
        "kind": window.kind,
        "window": window.name,
        "state": window.state,
        "percentLeft": window.percent_left,
        "left": window.left,
        "total": window.total,
        "resetsAt": window.resets_at,
        "started": window.started,
        "boost": window.boost,
    }
