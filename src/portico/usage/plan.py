"""Plan usage: the accounts that may have a plan, the requests to their providers, and the text about the answers.

The accounts are a provider's key, then its profiles, each with its API base. All accounts are requested in parallel. A failure
becomes the report of its account.
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
    """The answer about the plan has an unknown form."""

    id = "reply-invalid"


class PlanReaderFailed(ConfigError):
    """The plugin's code that reads the plan failed."""

    id = "plugin-failed"


@dataclass(frozen=True, slots=True)
class PlanReport:
    """The report of one account. The state `told` has `windows`, `failed` has `error`, and the other states have `why`."""

    account: PlanAccount
    state: PlanState
    windows: tuple[PlanWindow, ...] = ()
    why: str | None = None
    error: PorticoError | None = None


def exit_code(reports: Iterable[PlanReport]) -> int:
    """Return 0 without failures; else 3 if the user must sign in, else the code of a failure."""
    codes = {report.error.exit_code for report in reports if report.error is not None}
    return next((code for code in (ExitCode.SIGN_IN_NEEDED, ExitCode.NETWORK, *sorted(codes)) if code in codes), ExitCode.OK)


def needs_plan_key(account: PlanAccount) -> PlanReport:
    """Return the report of a key that was not sent, because it cannot belong to a plan."""
    why = f"a pay-as-you-go key: plan usage needs the plan's Subscription Key (sk-cp-...){_in_variable(account)}"
    return PlanReport(account, "needs-plan-key", why=why)


def not_asked(account: PlanAccount) -> PlanReport:
    """Return the report of an account that was not requested, because its API base is not at the provider's own hosts."""
    why = f"its API base is not at a host of {account.spec.label}, so its credential is not sent"
    return PlanReport(account, "not-asked", why=why)


def rejected(account: PlanAccount, provider_error: ProviderError) -> PlanReport:
    """Return the report of a request that the provider rejected."""
    text = _error_text(provider_error)
    if provider_error.kind == "no-plan":
        return PlanReport(account, "no-plan", why=text)
    if provider_error.kind == "auth":
        message = f"{account.spec.label} rejected the credential of {account.label} for plan usage."
        return failed(account, CredentialRefused(message, why=text, hint=_both_causes(account)))
    return failed(account, ProviderFailed(_unread(account), why=text, hint=_RETRY))


def unsure(account: PlanAccount, provider_error: ProviderError) -> PlanReport:
    """Return the report of an account if the only answer was from an endpoint with unreliable errors."""
    why = f"{_error_text(provider_error)}; from this endpoint that proves nothing about the account, which may have a plan"
    return failed(account, ProviderFailed(_unread(account), why=why, hint=_RETRY))


def unreadable(account: PlanAccount, why: str) -> PlanReport:
    """Return the report of an account if the answer is not data about a plan."""
    return failed(account, PlanUnreadable(_unread(account), why=why, hint=_RETRY))


def failed(account: PlanAccount, error: PorticoError) -> PlanReport:
    """Return the report of a failed request."""
    return PlanReport(account, "failed", error=error)


def _unread(account: PlanAccount) -> str:
    return f"Could not read the plan usage of {account.label}."


def _error_text(provider_error: ProviderError) -> str:
    """Return the provider's message with its number."""
    adds_code = provider_error.code is not None and str(provider_error.code) not in provider_error.message
    return f"{provider_error} ({provider_error.code})" if adds_code else str(provider_error)


_RETRY: Final = "Try again in a moment."


def _both_causes(account: PlanAccount) -> str:
    """Return the hint with two causes, because the provider rejects a wrong region and a wrong kind of key with the same message.

    Sources: CodexBar#1615, jcode#189.
    """
    spec = account.spec
    regions = f"the request went to {account.region}"
    if account.profile_id is None:
        other_regions = [f"{spec.region_env}={name}" for name in spec.base_urls if name != account.region and spec.region_env]
        regions = "; ".join([regions, *(f"to change it, set {setting} or the config's baseUrl" for setting in other_regions)])
        key_cause = f"it is not the Subscription Key of a plan{_in_variable(account)}."
    else:
        key_cause = f"it is of a kind without a plan. Set it up again, in its own region: {account.sign_in_again}"
    if len(spec.base_urls) > 1:
        return f"Either the credential belongs to another region ({regions}), or {key_cause}"
    return f"Perhaps {key_cause}"


def _in_variable(account: PlanAccount) -> str:
    names = account.reader.env_keys
    return f" in {names[0]}" if names else ""


T = TypeVar("T")

TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 256 * 1024
_OK: Final = 200
_NOT_SERVED: Final = frozenset({404, 405, 410})


class PlanClient:
    """Requests plan usage for one run of a command. Each profile's rejected token is refreshed at most once per run."""

    def __init__(self, http: HttpClient, broker: TokenBroker, clock: Clock) -> None:
        self._http = http
        self._broker = broker
        self._clock = clock
        self._refreshed: set[str] = set()

    async def ask_all(self, accounts: Iterable[PlanAccount], *, timeout_s: float = TIMEOUT_S) -> tuple[PlanReport, ...]:
        """Return a report for each account, in their order."""
        return tuple(await asyncio.gather(*(self.ask(account, timeout_s=timeout_s) for account in accounts)))

    async def ask(self, account: PlanAccount, *, timeout_s: float = TIMEOUT_S) -> PlanReport:
        """Return the account's report within `timeout_s` seconds. Errors of the provider and the store are part of the report."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask_account(account, timeout_s)
        except TimeoutError:
            why = f"no answer within {timeout_s:g} s"
            return failed(account, Unreachable(_unread(account), why=why))
        except AttemptFailed as error:
            return rejected(account, error.provider_error)
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
        """Whether this profile may be refreshed: once per run."""
        if profile_id is None or profile_id in self._refreshed:
            return False
        self._refreshed.add(profile_id)
        return True

    async def _ask_urls(self, account: PlanAccount, key: Secret, urls: tuple[str, ...], timeout_s: float) -> PlanReport:
        """Return the report from the first URL that answers."""
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
        """Return the report from a response.

        Raises:
            AttemptFailed: the provider rejected the request.
        """
        if response.is_page:
            return unreadable(account, f"the response is a web page (HTTP {response.status})")
        if response.is_error(account):
            raise AttemptFailed(_provider_error(account, response, key))
        if not response.complete:
            return unreadable(account, f"the response is longer than {_MAX_BYTES >> 10} KiB")
        fields = json_object(response.body)
        if fields is None:
            return unreadable(account, "the response is not a JSON object")
        return PlanReport(account, "told", _call_reader(account, lambda: account.reader.read(fields, self._clock.wall_ms())))


@dataclass(frozen=True, slots=True)
class _PlanResponse:
    """The response of one URL. `complete` False: the body is longer than the limit."""

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
    """Whether the URL does not serve plan usage: 404, or a firewall's answer at another host than the API's."""
    if response.status in _NOT_SERVED or response.is_page:
        return True
    is_website = host_of(url) != host_of(account.base_url)
    return is_website and response.status != _OK and _provider_error(account, response, key).code is None


def _is_inconclusive(account: PlanAccount, url: str, response: _PlanResponse, key: Secret) -> bool:
    """Whether the answer is an error number that proves nothing about the credential or the plan at this URL."""
    unsure_codes = getattr(account.reader, "unsure_codes", None)
    if unsure_codes is None or not response.is_error(account):
        return False
    return _provider_error(account, response, key).code in _call_reader(account, lambda: frozenset(unsure_codes(url)))


def _call_reader(account: PlanAccount, call: Callable[[], T]) -> T:
    """Call the plugin's reader. Any exception becomes the failure of this account only.

    Raises:
        ConfigError: `plugin-failed`.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - see above
        message = f"The plan reader of {account.spec.id} failed."
        hint = "Update its plugin, or report this to the author of the plugin: {prog} plugins list"
        raise PlanReaderFailed(message, why=type(error).__name__, hint=hint) from None


@dataclass(frozen=True, slots=True)
class PlanAccount:
    """One credential that may have a plan. `label` is its name in messages: a profile's id, or the variable or path of a key.

    `base_url` is the API base; empty if unknown. Either `profile_id` or `key` is set. `sign_in_again` is the command that
    replaces the profile; `{prog}` in it stands for the program name.
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
        """Return the URLs to request, in order. Empty if the provider does not declare the host of the API base."""
        hosts = declared_hosts(self.spec)
        if host_of(self.base_url) not in hosts:
            return ()
        hosts = hosts.union(getattr(self.reader, "hosts", ()))
        return tuple(url for url in self.reader.urls(self.base_url) if host_of(url) in hosts)

    @property
    def subscribe_url(self) -> str | None:
        """The page that sells a plan in the account's region."""
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
    """Return all accounts that may have a plan, or only those of `provider` or `profile`.

    Each profile is an account. Only the first key of a provider is an account: from the reader's variables in their order, then
    from the config.

    Raises:
        UsageError: `usage`: no plugin reads the provider's plans.
    """
    profile_provider = next((each.provider for each in profiles if each.id == profile), None)
    for wanted in (provider, profile_provider):
        if wanted is not None and wanted not in readers:
            raise _no_reader(loader, readers, wanted)
    accounts = (account for id, reader in readers.items() for account in _provider_accounts(loader, id, reader, profiles))
    return tuple(account for account in accounts if provider in {None, account.spec.id} and profile in {None, account.profile_id})


def profile_account(profile: Profile, spec: ProviderSpec, reader: PlanReader) -> PlanAccount:
    """Return the account of a signed-in profile."""
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
    message = f"Plans of provider {provider} are not supported."
    if plugin is not None:
        why = f'the plugin that supports them is off: "{plugin}"'
        return UsageError(message, why=why, hint=f"{{prog}} plugins enable {plugin}")
    return UsageError(message, hint=f"--provider {'|'.join(readers)}")


_STATES: Final[Mapping[WindowState, str]] = {
    "exhausted": "used up",
    "unlimited": "unlimited",
    "not-in-plan": "not in the plan",
    "unknown": "unknown",
}


def window_text(window: PlanWindow) -> str:
    """Return `89% left (1349 of 1500)`, `178% left (boost x2)`, `used up`, `unlimited`, `not in the plan` or `unknown`."""
    if window.percent_left is None or window.state in _STATES:
        return _STATES.get(window.state, "unknown")
    details = [f"{window.left} of {window.total}"] if window.left is not None else []
    details += [f"boost x{window.boost:g}"] if window.boost != 1 else []
    return f"{round(window.percent_left, 1):g}% left" + (f" ({', '.join(details)})" if details else "")


def plan_summary(report: PlanReport, program: str) -> str:
    """Return the plan in one line: the windows of its first kind of use, the page that sells a plan, or "not checked"."""
    if report.state == "no-plan":
        link = report.account.subscribe_url
        return "none: models do not answer without a plan." + (f" Subscribe: {link}" if link is not None else "")
    if not report.windows:
        return f"not checked; check again: {program} usage"
    first = report.windows[0].kind
    return "; ".join(
        f"{window.name} {window_text(window)}{'' if window.started else ', not started'}"
        for window in report.windows
        if window.kind == first
    )


def report_as_json(report: PlanReport, program: str) -> dict[str, object]:
    """Return one account for `--json`. `percentLeft` includes the boost; `resetsAt` is ms since the epoch."""
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
