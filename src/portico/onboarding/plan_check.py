"""Whether the account that has just signed in has a plan: asked once, and never a reason for a sign-in to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import PorticoError

if TYPE_CHECKING:
    from portico.net.client import HttpClient
    from portico.onboarding.workbench import Workbench
    from portico.store.records import Profile
    from portico.usage.plan import PlanReport

TIMEOUT_S: Final = 4.0


async def plan_of(bench: Workbench, profile: Profile, http: HttpClient) -> PlanReport | None:
    """What the profile's plan has left; None where its provider has no plans that can be asked about."""
    from portico.usage.plan import PlanAsker, of_sign_in

    try:
        reader = bench.plugins.plan_readers().get(profile.provider)
        spec = next((spec for spec in bench.plugins.providers() if spec.id == profile.provider), None)
        if reader is None or spec is None:
            return None
        asker = PlanAsker(http, bench.broker(http), bench.clock)
        report = await asker.ask(of_sign_in(profile, spec, reader), timeout_s=TIMEOUT_S)
    except PorticoError as error:
        bench.out.detail(f"The plan was not asked about: {error}")
        return None
    if report.error is not None:
        bench.out.detail(f"The plan was not told: {report.error}")
    return report
