"""What came of asking about one account's plan, and the exit code of asking about several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import ExitCode, NetworkError, SignInNeeded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.errors import PorticoError
    from portico.interfaces.plan_reader import PlanWindow
    from portico.models.refusal import Refusal
    from portico.usage.accounts import PlanAccount

PlanState = Literal["told", "no-plan", "needs-plan-key", "not-asked", "failed"]


@dataclass(frozen=True, slots=True)
class PlanReport:
    """One account's row. `windows` are there where it is `told`, `error` where it `failed`; `why` explains the rest."""

    account: PlanAccount
    state: PlanState
    windows: tuple[PlanWindow, ...] = ()
    why: str | None = None
    error: PorticoError | None = None


def exit_code(reports: Iterable[PlanReport]) -> int:
    """0 where every account was told of; else 3 where somebody has to sign in, else the code of what failed."""
    codes = {report.error.exit_code for report in reports if report.error is not None}
    return next((code for code in (ExitCode.SIGN_IN_NEEDED, ExitCode.NETWORK, *sorted(codes)) if code in codes), ExitCode.OK)


def needs_plan_key(account: PlanAccount) -> PlanReport:
    """The row of a key that no plan can have; it was not sent anywhere."""
    why = f"a pay-as-you-go key: plan usage needs the plan's Subscription Key (sk-cp-...){_in_variable(account)}"
    return PlanReport(account, "needs-plan-key", why=why)


def not_asked(account: PlanAccount) -> PlanReport:
    """The row of an account whose API is at a host that is not its provider's own."""
    why = f"its API base is not at {account.spec.label}'s own hosts, so that nobody else is sent its credential"
    return PlanReport(account, "not-asked", why=why)


def refused(account: PlanAccount, refusal: Refusal) -> PlanReport:
    """The row of an account that the provider refuses to tell of."""
    said = _said(refusal)
    if refusal.kind == "no-plan":
        return PlanReport(account, "no-plan", why=said)
    if refusal.kind == "auth":
        message = f"{account.spec.label} refuses the credential of {account.label} for plan usage."
        return failed(account, SignInNeeded("credential-refused", message, why=said, hint=_both_causes(account)))
    return failed(
        account, NetworkError("plan-not-told", f"{account.spec.label} does not tell of the plan.", why=said, hint=_RETRY)
    )


def unsure(account: PlanAccount, refusal: Refusal) -> PlanReport:
    """The row of an account of which only an endpoint has answered whose refusals are no verdict."""
    why = f"{_said(refusal)}; from this endpoint that proves nothing about the account, which may have a plan"
    message = f"The plan usage of {account.label} could not be read."
    return failed(account, NetworkError("plan-not-told", message, why=why, hint=_RETRY))


def unreadable(account: PlanAccount, why: str) -> PlanReport:
    """The row of an account that something was told of which is no answer."""
    return failed(
        account, NetworkError("plan-unreadable", f"{account.spec.label} does not tell of the plan.", why=why, hint=_RETRY)
    )


def failed(account: PlanAccount, error: PorticoError) -> PlanReport:
    """The row of an account that could not be asked about."""
    return PlanReport(account, "failed", error=error)


def _said(refusal: Refusal) -> str:
    """The provider's own words, with its number."""
    told = refusal.code is not None and str(refusal.code) not in refusal.message
    return f"{refusal} ({refusal.code})" if told else str(refusal)


_RETRY: Final = "Try again in a moment."


def _both_causes(account: PlanAccount) -> str:
    """A credential of the other region and one of another kind are refused in the same words (CodexBar#1615, jcode#189)."""
    spec = account.spec
    regions = f"this one was asked: {account.region}"
    if account.profile_id is None:
        others = [f"{spec.region_env}={name}" for name in spec.base_urls if name != account.region and spec.region_env]
        regions = "; ".join([regions, *(f"{setting}, or the config's baseUrl, names the other" for setting in others)])
        kind = f"it is of another kind than the Subscription Key of a plan{_in_variable(account)}."
    else:
        kind = f"it is of a kind that has no plan. Set it up again, in its own region: {account.sign_in_again}"
    return f"Either it is of the other region ({regions}), or {kind}" if len(spec.base_urls) > 1 else f"Perhaps {kind}"


def _in_variable(account: PlanAccount) -> str:
    names = account.reader.env_keys
    return f" in {names[0]}" if names else ""
