"""How plans are shown: a table for a person, JSON for a program, one line a window where a watch is not at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import SignInNeeded
from portico.onboarding.times import in_words, iso
from portico.usage.plan import report_as_json, what_is_left

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico.cli.runtime import Runtime
    from portico.interfaces.plan_reader import PlanWindow
    from portico.usage.plan import PlanReport, PlanState

_HEADERS: Final = ("Account", "For", "Window", "Left", "Resets in")
_WORDS: Final[Mapping[PlanState, str]] = {
    "told": "nothing told",  # where there is no window, that is
    "no-plan": "no plan",
    "needs-plan-key": "needs a Subscription Key",
    "not-asked": "not asked",
    "failed": "not told",
}


def show(reports: Sequence[PlanReport], rt: Runtime) -> None:
    """Print every account's windows, then what is to be done about those that have none."""
    if rt.out.is_json:
        rt.out.json(_as_json(reports, rt))
        return
    rt.out.table(_HEADERS, [row for report in reports for row in _rows(report, rt)])
    for report in reports:
        _explain(report, rt)


def show_again(reports: Sequence[PlanReport], rt: Runtime, *, every_s: float) -> None:
    """The same for a watch: drawn over the last time on a terminal, one line for each window elsewhere."""
    if rt.out.is_json:
        rt.out.event(_as_json(reports, rt))
    elif rt.out.room() is not None and rt.env.get("TERM") != "dumb":
        rt.out.clear()
        show(reports, rt)
        rt.out.note(f"{iso(rt.clock.wall_ms())}, again every {every_s:g} s; Ctrl-C ends it.")
    else:
        now = iso(rt.clock.wall_ms())
        for row in (row for report in reports for row in _rows(report, rt)):
            rt.out.line("  ".join((now, *filter(None, row))))


def _rows(report: PlanReport, rt: Runtime) -> list[tuple[str, ...]]:
    now, label = rt.clock.wall_ms(), report.account.label
    if not report.windows:
        return [(label, "-", "-", _in_a_word(report), "")]
    return [(label, window.kind, window.name, what_is_left(window), _reset(window, now)) for window in report.windows]


def _in_a_word(report: PlanReport) -> str:
    if not isinstance(report.error, SignInNeeded):
        return _WORDS[report.state]
    return "refused" if report.error.id == "credential-refused" else "sign-in needed"


def _reset(window: PlanWindow, now_ms: int) -> str:
    if not window.started:
        return "not started"
    at_ms = window.resets_at
    if at_ms is None:
        return ""
    return in_words(at_ms, now_ms) if at_ms > now_ms else "now"


def _explain(report: PlanReport, rt: Runtime) -> None:
    label, error = report.account.label, report.error
    if report.state == "no-plan":
        link = report.account.subscribe_url
        rt.out.line(f"{label} has no plan." + (f" Subscribe: {link}" if link is not None else ""))
    elif error is not None:
        hint = error.hint_for(rt.program)
        rt.out.warn(f"{label}: {error}" + (f"\n  {hint}" if hint is not None else ""))
    elif report.why is not None:
        rt.out.note(f"{label}: {report.why}")


def _as_json(reports: Sequence[PlanReport], rt: Runtime) -> dict[str, object]:
    return {"checkedAt": rt.clock.wall_ms(), "accounts": [report_as_json(report, rt.program) for report in reports]}
