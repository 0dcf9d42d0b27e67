"""Plan usage: whose plan can be asked about, what its provider answered, and how that is shown.

The accounts are a provider's key, then its profiles, each with the URL that it may be sent to. There is one request for each
account, all at once, and the failure of one is the row of that account.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from portico.errors import ConfigError, ExitCode, NetworkError, PorticoError, UsageError
from portico.models.catalog import Provider, host_of
from portico.models.client import with_token
from portico.models.credentials import CredentialRefused, profile_credential
from portico.models.endpoints import base_url_of, declared_hosts
from portico.models.provider_errors import (
    AttemptFailed,
    ProviderFailed,
    is_error_body,
    json_object,
    read_provider_error,
)
from portico.net.errors import Unreachable
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from portico.auth.broker import TokenBroker
    from portico.interfaces.basics import Clock
    from portico.interfaces.plugins import PlanReader, PlanWindow, ProviderSpec, WindowState
    from portico.models.credentials import Credential
    from portico.models.loader import ModelLoader
    from portico.models.provider_errors import ProviderError
    from portico.net.client import HttpClient
    from portico.store.records import Profile

PlanState = Literal["told", "no-plan", "needs-plan-key", "not-asked", "failed"]


class PlanUnreadable(NetworkError):
    """The answer about the plan is in no form that is known."""

    id = "reply-invalid"


class PlanReaderFailed(ConfigError):
    """The plugin's code that reads the plan failed."""

    id = "plugin-failed"


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


def refused(account: PlanAccount, provider_error: ProviderError) -> PlanReport:
    """The row of an account that the provider refuses to tell of."""
    text = _error_text(provider_error)
    if provider_error.kind == "no-plan":
        return PlanReport(account, "no-plan", why=text)
    if provider_error.kind == "auth":
        message = f"{account.spec.label} refuses the credential of {account.label} for plan usage."
        return failed(account, CredentialRefused(message, why=text, hint=_both_causes(account)))
    return failed(account, ProviderFailed(f"{account.spec.label} does not tell of the plan.", why=text, hint=_RETRY))


def unsure(account: PlanAccount, provider_error: ProviderError) -> PlanReport:
    """The row of an account of which only an endpoint has answered whose refusals are no verdict."""
    why = f"{_error_text(provider_error)}; from this endpoint that proves nothing about the account, which may have a plan"
    message = f"The plan usage of {account.label} could not be read."
    return failed(account, ProviderFailed(message, why=why, hint=_RETRY))


def unreadable(account: PlanAccount, why: str) -> PlanReport:
    """The row of an account that something was told of which is no answer."""
    return failed(account, PlanUnreadable(f"{account.spec.label} does not tell of the plan.", why=why, hint=_RETRY))


def failed(account: PlanAccount, error: PorticoError) -> PlanReport:
    """The row of an account that could not be asked about."""
    return PlanReport(account, "failed", error=error)


def _error_text(provider_error: ProviderError) -> str:
    """The provider's own words, with its number."""
    adds_code = provider_error.code is not None and str(provider_error.code) not in provider_error.message
    return f"{provider_error} ({provider_error.code})" if adds_code else str(provider_error)


_RETRY: Final = "Try again in a moment."


def _both_causes(account: PlanAccount) -> str:
    """A credential of the other region and one of another kind are refused in the same words (CodexBar#1615, jcode#189)."""
    spec = account.spec
    regions = f"this one was asked: {account.region}"
    if account.profile_id is None:
        other_regions = [f"{spec.region_env}={name}" for name in spec.base_urls if name != account.region and spec.region_env]
        regions = "; ".join([regions, *(f"{setting}, or the config's baseUrl, names the other" for setting in other_regions)])
        key_cause = f"it is of another kind than the Subscription Key of a plan{_in_variable(account)}."
    else:
        key_cause = f"it is of a kind that has no plan. Set it up again, in its own region: {account.sign_in_again}"
    return f"Either it is of the other region ({regions}), or {key_cause}" if len(spec.base_urls) > 1 else f"Perhaps {key_cause}"


def _in_variable(account: PlanAccount) -> str:
    names = account.reader.env_keys
    return f" in {names[0]}" if names else ""


T = TypeVar("T")

TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 256 * 1024
_OK: Final = 200
_NOT_SERVED: Final = frozenset({404, 405, 410})


class PlanClient:
    """Asks for one run of a command. A token that is refused is refreshed once, and once only however often it is asked again."""

    def __init__(self, http: HttpClient, broker: TokenBroker, clock: Clock) -> None:
        self._http = http
        self._broker = broker
        self._clock = clock
        self._refreshed: set[str] = set()

    async def ask_all(self, accounts: Iterable[PlanAccount], *, timeout_s: float = TIMEOUT_S) -> tuple[PlanReport, ...]:
        """A report for each account, in their order."""
        return tuple(await asyncio.gather(*(self.ask(account, timeout_s=timeout_s) for account in accounts)))

    async def ask(self, account: PlanAccount, *, timeout_s: float = TIMEOUT_S) -> PlanReport:
        """What the account's plan has left, within `timeout_s` seconds. Never raises for what the provider or the store does."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask_account(account, timeout_s)
        except TimeoutError:
            why = f"no answer within {timeout_s:g} s"
            return failed(account, Unreachable(f"{account.spec.label} did not tell of the plan.", why=why))
        except AttemptFailed as error:
            return refused(account, error.provider_error)
        except PorticoError as error:
            return failed(account, error)

    async def _ask_account(self, account: PlanAccount, timeout_s: float) -> PlanReport:
        urls = _call_reader(account, account.urls)
        if not urls:
            return not_asked(account)
        if account.profile_id is None:
            return await self._ask_urls(account, account.key or Secret(""), urls, timeout_s)
        return await with_token(
            self._broker,
            account.profile_id,
            lambda key: self._ask_urls(account, key, urls, timeout_s),
            may_refresh=lambda: self._may_refresh(account.profile_id),
        )

    def _may_refresh(self, profile_id: str | None) -> bool:
        """Whether no token of this profile has been refreshed for being rejected here."""
        if profile_id is None or profile_id in self._refreshed:
            return False
        self._refreshed.add(profile_id)
        return True

    async def _ask_urls(self, account: PlanAccount, key: Secret, urls: tuple[str, ...], timeout_s: float) -> PlanReport:
        """The answer of the first URL that gives one."""
        if not _call_reader(account, lambda: account.reader.can_have_plan(key)):
            return needs_plan_key(account)
        *first_urls, last_url = urls
        share_s = timeout_s / len(urls)
        for url in first_urls:
            try:
                async with asyncio.timeout(share_s):
                    response = await self._fetch(url, key, share_s * 0.7)
            except (TimeoutError, NetworkError):
                continue
            if not _is_not_served(account, url, response, key) and not _is_inconclusive(account, url, response, key):
                return self._report(account, response, key)
        response = await self._fetch(last_url, key, timeout_s * 0.7)
        if not response.is_page and _is_inconclusive(account, last_url, response, key):
            return unsure(account, _provider_error(account, response, key))
        return self._report(account, response, key)

    async def _fetch(self, url: str, key: Secret, forbidden_s: float) -> _PlanResponse:
        headers = {"accept": "application/json", "Authorization": f"Bearer {key.reveal()}"}
        async with await self._http.send(url, headers=headers) as response:
            if response.status == _OK:
                body, complete = await response.read(_MAX_BYTES)
            else:
                body, complete = await response.read_error(forbidden_s=forbidden_s), True
            return _PlanResponse(response.status, response.headers, body, complete)

    def _report(self, account: PlanAccount, response: _PlanResponse, key: Secret) -> PlanReport:
        """What the answer says of the account.

        Raises:
            AttemptFailed: the provider refuses to say.
        """
        if response.is_page:
            return unreadable(account, f"a web page and no data came back (HTTP {response.status})")
        if response.is_error(account):
            raise AttemptFailed(_provider_error(account, response, key))
        if not response.complete:
            return unreadable(account, f"what came back is longer than {_MAX_BYTES >> 10} KiB")
        fields = json_object(response.body)
        if fields is None:
            return unreadable(account, "what came back is no data that can be read")
        return PlanReport(account, "told", _call_reader(account, lambda: account.reader.read(fields, self._clock.wall_ms())))


@dataclass(frozen=True, slots=True)
class _PlanResponse:
    """What came back from one URL. `complete` False: the body is longer than is read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool

    @property
    def is_page(self) -> bool:
        return self.body.lstrip().startswith(b"<")

    def is_error(self, account: PlanAccount) -> bool:
        return self.status != _OK or is_error_body(self.body, account.spec.error_codes)


def _provider_error(account: PlanAccount, response: _PlanResponse, key: Secret) -> ProviderError:
    return read_provider_error(response.status, response.headers, response.body, account.spec.error_codes, key)


def _is_not_served(account: PlanAccount, url: str, response: _PlanResponse, key: Secret) -> bool:
    """Whether the URL does not serve the data: it is not there, or a firewall before a host other than the API's has answered."""
    if response.status in _NOT_SERVED or response.is_page:
        return True
    is_website = host_of(url) != host_of(account.base_url)
    return is_website and response.status != _OK and _provider_error(account, response, key).code is None


def _is_inconclusive(account: PlanAccount, url: str, response: _PlanResponse, key: Secret) -> bool:
    """Whether the answer is a number that proves nothing about the credential or the plan where `url` says it."""
    return response.is_error(account) and _provider_error(account, response, key).code in _inconclusive_codes(account, url)


def _inconclusive_codes(account: PlanAccount, url: str) -> frozenset[int]:
    """The numbers that are no verdict on the credential or the plan where `url` answers them; a reader need not name any."""
    unsure_codes = getattr(account.reader, "unsure_codes", None)
    return frozenset() if unsure_codes is None else frozenset(_call_reader(account, lambda: unsure_codes(url)))


def _call_reader(account: PlanAccount, call: Callable[[], T]) -> T:
    """What the plugin's reader says. It may fail in any way, which is then the failure of this account alone.

    Raises:
        ConfigError: `plugin-failed`.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - see above
        message = f"The plan reader of {account.spec.id} failed."
        hint = "Update the plugin that brings it, or report this to its author: {prog} plugins list"
        raise PlanReaderFailed(message, why=type(error).__name__, hint=hint) from None


@dataclass(frozen=True, slots=True)
class PlanAccount:
    """One credential whose plan can be asked about. `label` names it for people: a profile's id, or where a key stands.

    `base_url` is where its API is, empty where nobody says. Either `profile_id` or `key` is set. `sign_in_again` is the command
    that replaces the profile; `{prog}` in it stands for the program name.
    """

    label: str
    spec: ProviderSpec
    reader: PlanReader
    region: str
    base_url: str
    profile_id: str | None = None
    key: Secret | None = None
    sign_in_again: str | None = None

    def urls(self) -> tuple[str, ...]:
        """Where to ask, in order; none where its API is at a host that the provider does not declare."""
        hosts = declared_hosts(self.spec)
        if host_of(self.base_url) not in hosts:
            return ()
        hosts = hosts.union(getattr(self.reader, "hosts", ()))
        return tuple(url for url in self.reader.urls(self.base_url) if host_of(url) in hosts)

    @property
    def subscribe_url(self) -> str | None:
        """Where a plan is bought, in the account's region."""
        links = self.spec.subscribe_urls
        return next((links[name] for name in (self.region, *links) if name in links), None)


def plan_accounts(
    loader: ModelLoader,
    readers: Mapping[str, PlanReader],
    profiles: Sequence[Profile],
    *,
    provider: str | None = None,
    profile: str | None = None,
) -> tuple[PlanAccount, ...]:
    """Every account with a plan to ask about, or those of `provider`, or the one of `profile`.

    Of the keys of a provider the first counts: those of its reader's variables in their order, then the config's. Each of its
    profiles is an account of its own.

    Raises:
        UsageError: `usage`: nothing is known of such a provider's plans.
    """
    profile_provider = next((each.provider for each in profiles if each.id == profile), None)
    for wanted in (provider, profile_provider):
        if wanted is not None and wanted not in readers:
            raise _no_reader(loader, readers, wanted)
    accounts = (account for id, reader in readers.items() for account in _provider_accounts(loader, id, reader, profiles))
    return tuple(account for account in accounts if provider in {None, account.spec.id} and profile in {None, account.profile_id})


def profile_account(profile: Profile, spec: ProviderSpec, reader: PlanReader) -> PlanAccount:
    """The account of a profile that was made by signing in."""
    return _account(profile_credential(profile), Provider(spec.id, (), spec), spec, reader, profile.region)


def _provider_accounts(loader: ModelLoader, id: str, reader: PlanReader, profiles: Sequence[Profile]) -> Iterator[PlanAccount]:
    spec = loader.catalog.specs.get(id)
    if spec is None:
        return
    provider = loader.catalog.providers.get(id) or Provider(id, (), spec)
    region = loader.credentials.region_for(provider)
    key = loader.credentials.key_for(provider, reader.env_keys)
    if key is not None:
        yield _account(key, provider, spec, reader, region)
    preferred = loader.credentials.profiles_of(provider)
    own = [one for one in profiles if one.provider == id and not one.sign_out_unfinished]
    for profile in [*preferred, *(one for one in own if one not in preferred)]:
        yield _account(profile_credential(profile), provider, spec, reader, profile.region)


def _account(credential: Credential, provider: Provider, spec: ProviderSpec, reader: PlanReader, region: str) -> PlanAccount:
    base_url = credential.base_url or base_url_of(provider, region) or ""
    return PlanAccount(
        credential.profile_id or credential.source.removeprefix("environment variable ").removeprefix("config "),
        spec,
        reader,
        next((name for name, hosts in spec.hosts.items() if host_of(base_url) in hosts), region),
        base_url,
        credential.profile_id,
        credential.key,
        credential.sign_in_again,
    )


def _no_reader(loader: ModelLoader, readers: Mapping[str, PlanReader], provider: str) -> UsageError:
    plugin = loader.off_plugin(provider)
    message = f"Nothing is known of plans of provider {provider}."
    if plugin is not None:
        why = f'the plugin that brings it is off: "{plugin}"'
        return UsageError(message, why=why, hint=f"{{prog}} plugins enable {plugin}")
    return UsageError(message, hint=f"--provider {'|'.join(readers)}")


_STATES: Final[Mapping[WindowState, str]] = {
    "exhausted": "used up",
    "unlimited": "unlimited",
    "not-in-plan": "not in the plan",
    "unknown": "not told",
}


def window_text(window: PlanWindow) -> str:
    """`89% left (1349 of 1500)`, `178% left (boost x2)`, `used up`, `unlimited`, `not in the plan`, `not told`."""
    if window.percent_left is None or window.state in _STATES:
        return _STATES.get(window.state, "not told")
    details = [f"{window.left} of {window.total}"] if window.left is not None else []
    details += [f"boost x{window.boost:g}"] if window.boost != 1 else []
    return f"{round(window.percent_left, 1):g}% left" + (f" ({', '.join(details)})" if details else "")


def plan_summary(report: PlanReport, program: str) -> str:
    """The plan in one line: the windows of what it is first of all for, or where to buy one, or that it was not told."""
    if report.state == "no-plan":
        link = report.account.subscribe_url
        return "none, so that models will refuse to answer." + (f" Subscribe: {link}" if link is not None else "")
    if not report.windows:
        return f"not checked; `{program} usage` asks again"
    first = report.windows[0].kind
    return "; ".join(
        f"{window.name} {window_text(window)}{'' if window.started else ', not started'}"
        for window in report.windows
        if window.kind == first
    )


def report_as_json(report: PlanReport, program: str) -> dict[str, object]:
    """One account for `--json`: `percentLeft` has the boost in it, `resetsAt` is in ms since the epoch, null for a
    window that has not `started`.
    """
    account = report.account
    fields: dict[str, object] = {
        "account": account.label,
        "provider": account.spec.id,
        "profile": account.profile_id,
        "region": account.region,
        "state": report.state,
        "windows": [_window_as_json(window) for window in report.windows],
    }
    if report.state == "no-plan":
        fields["subscribeUrl"] = account.subscribe_url
    if report.error is not None:
        fields["error"] = report.error.as_json(program)
    return fields if report.why is None else {**fields, "why": report.why}


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
