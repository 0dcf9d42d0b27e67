"""Run all checks at the same time, each for a few seconds unless a keyring prompts the user, and sort their findings."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.doctor import file_checks, gateway_checks, model_checks, sign_in_checks
from portico.doctor.finding import Check, CheckContext, Examined, Finding, Skipped
from portico.errors import PorticoError
from portico.secret import redact
from portico.util import signals
from portico.util.threads import Deadlines, start_off_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.app import App
    from portico.doctor.finding import Level, Outcome, Status
    from portico.interfaces import plugins

LONGEST_S: Final = 5.0
# A check comes after the checks that it depends on. Findings of the same level are shown in this order.
CHECKS: Final = (
    Check("config", "the config", file_checks.config),
    Check("index", "the profile index", file_checks.index),
    Check("files", "read access to the files", file_checks.readable_by_others),
    Check("owners", "write access to the files", file_checks.writable_by_others),
    Check("packages", "the packages", gateway_checks.packages),
    Check("plugins", "the plugins", sign_in_checks.plugins),
    Check("references", "references in the config", file_checks.references),
    Check("store", "the token store", sign_in_checks.store),
    Check("records", "the tokens in the store", sign_in_checks.records),
    Check("health", "the accounts", sign_in_checks.health),
    Check("base-urls", "the base URLs of the providers", model_checks.base_urls),
    Check("credentials", "a credential for each model in use", model_checks.credentials),
    Check("network", "the connection to the providers, and the clock", model_checks.hosts),
    Check("plans", "the plans of the accounts", model_checks.plans),
    Check("gateway", "the gateway", gateway_checks.running),
    Check("service", "the service that runs the gateway", gateway_checks.service_file),
)
_WORST_FIRST: Final[tuple[Level, ...]] = ("error", "warning")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check; `examined` describes in words what it looked at."""

    check: Check
    findings: tuple[Finding, ...]
    took_ms: int
    examined: str = ""
    skipped: bool = False

    @property
    def status(self) -> Status:
        """The worst level of its findings; `skipped` if there was nothing to check."""
        levels = {each.level for each in self.findings}
        worst = next((level for level in _WORST_FIRST if level in levels), None)
        return worst or ("skipped" if self.skipped else "ok")


def examine(app: App, *, checks: Sequence[Check] = CHECKS, longest_s: float = LONGEST_S) -> tuple[Result, ...]:
    """Run `checks` and those of plugins, and return their results in order."""
    context = CheckContext(app)
    # Made before the threads start: from Python 3.12 on, two threads could both compute the same cached property.
    for owner, parts in (
        (app, ("token_store", "keyrings", "passphrase")),
        (context, ("config", "profiles", "models", "has_key", "accounts")),
    ):
        for part in parts:
            getattr(owner, part)

    async def run_all() -> tuple[Result, ...]:
        return tuple(await asyncio.gather(*(_run(check, context, longest_s) for check in (*checks, *_plugin_checks(context)))))

    return signals.run(run_all())


def worst_first(results: Sequence[Result]) -> list[Finding]:
    """Return all findings, errors before warnings, else in the order of the checks.

    A finding that several checks or accounts have, such as a locked store, is listed once.
    """
    unique: dict[tuple[str, str, str | None], Finding] = {}
    for finding in (finding for result in results for finding in result.findings):
        unique.setdefault((finding.id, finding.message, finding.why), finding)
    return sorted(unique.values(), key=lambda finding: _WORST_FIRST.index(finding.level))


async def _run(check: Check, context: CheckContext, longest_s: float) -> Result:
    started = time.monotonic()
    outcomes: tuple[Outcome, ...]
    try:
        outcomes = await _outcomes(check, context, longest_s)
    except PorticoError as error:
        outcomes = (Finding(error.id, "error", f"{check.label}: {error.message}", error.why, error.hint),)
    except Exception as error:  # noqa: BLE001 - the other checks must go on after any error
        outcomes = (Finding("check-failed", "error", f"{check.label}: {redact(f'{type(error).__name__}: {error}')}"),)
    return _result(check, outcomes, round((time.monotonic() - started) * 1000))


def _result(check: Check, outcomes: tuple[Outcome, ...], took_ms: int) -> Result:
    findings = tuple(each for each in outcomes if isinstance(each, Finding))
    skipped = [each.why for each in outcomes if isinstance(each, Skipped)]
    examined = [each.text for each in outcomes if isinstance(each, Examined)] or skipped or [each.message for each in findings]
    return Result(check, findings, took_ms, "; ".join(examined) or "no problems", bool(skipped))


async def _outcomes(check: Check, context: CheckContext, longest_s: float) -> tuple[Outcome, ...]:
    work = start_off_loop(lambda: tuple(check.run(context)))
    limit_s = longest_s
    await asyncio.wait({work}, timeout=longest_s)
    if not work.done() and context.is_prompting(check.id):
        limit_s += Deadlines().prompt_s
        await asyncio.wait({work}, timeout=limit_s - longest_s)
    if work.done():
        return work.result()
    hint = "see if another program or a keyring window is blocking it, then run {prog} doctor again"
    return (Finding("check-late", "error", f"{check.label}: no result within {limit_s:g} s.", hint=hint),)


def _plugin_checks(context: CheckContext) -> list[Check]:
    if context.config is None:
        return []
    try:
        return [Check(each.id, each.label, _blocking_check(each)) for each in context.app.plugins.doctor_checks()]
    except PorticoError:
        return []


def _blocking_check(check: plugins.DoctorCheck) -> Callable[[CheckContext], list[Outcome]]:
    def outcome(each: plugins.Finding) -> Outcome:
        return Examined(each.message) if each.level == "ok" else Finding(each.id, each.level, each.message, each.why, each.hint)

    async def run() -> list[Outcome]:
        return [outcome(each) for each in await check.run()]

    return lambda _context: signals.run(run())
