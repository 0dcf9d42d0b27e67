"""Asking providers what is left: one request for each account, all at once, and a failure of one is its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from portico.errors import ConfigError, NetworkError, PorticoError
from portico.models.catalog import host_of
from portico.models.client import with_token
from portico.models.refusal import AttemptFailed, json_object, read_refusal, refused_inside
from portico.secret import Secret
from portico.usage.report import PlanReport, failed, needs_plan_key, not_asked, refused, unreadable, unsure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from portico.auth.broker import TokenBroker
    from portico.interfaces.basics import Clock
    from portico.models.refusal import Refusal
    from portico.net.client import HttpClient
    from portico.usage.accounts import PlanAccount

T = TypeVar("T")

TIMEOUT_S: Final = 10.0
_LONGEST: Final = 256 * 1024
_OK: Final = 200
_NOT_SERVED: Final = frozenset({404, 405, 410})


class PlanAsker:
    """Asks for one run of a command. A token that is refused is refreshed once, and once only however often it is asked again."""

    def __init__(self, http: HttpClient, broker: TokenBroker, clock: Clock) -> None:
        self._http = http
        self._broker = broker
        self._clock = clock
        self._renewed: set[str] = set()

    async def ask_all(self, accounts: Iterable[PlanAccount], *, timeout_s: float = TIMEOUT_S) -> tuple[PlanReport, ...]:
        """A report for each account, in their order."""
        return tuple(await asyncio.gather(*(self.ask(account, timeout_s=timeout_s) for account in accounts)))

    async def ask(self, account: PlanAccount, *, timeout_s: float = TIMEOUT_S) -> PlanReport:
        """What the account's plan has left, within `timeout_s` seconds. Never raises for what the provider or the store does."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._asked(account, timeout_s)
        except TimeoutError:
            why = f"no answer within {timeout_s:g} s"
            return failed(account, NetworkError("network", f"{account.spec.label} did not tell of the plan.", why=why))
        except AttemptFailed as error:
            return refused(account, error.refusal)
        except PorticoError as error:
            return failed(account, error)

    async def _asked(self, account: PlanAccount, timeout_s: float) -> PlanReport:
        urls = _of_reader(account, account.urls)
        if not urls:
            return not_asked(account)
        if account.profile_id is None:
            return await self._told(account, account.key or Secret(""), urls, timeout_s)
        return await with_token(
            self._broker,
            account.profile_id,
            lambda key: self._told(account, key, urls, timeout_s),
            may_refresh=lambda: self._first_time(account.profile_id),
        )

    def _first_time(self, profile_id: str | None) -> bool:
        """Whether no token of this profile has been refreshed for being rejected here."""
        if profile_id is None or profile_id in self._renewed:
            return False
        self._renewed.add(profile_id)
        return True

    async def _told(self, account: PlanAccount, key: Secret, urls: tuple[str, ...], timeout_s: float) -> PlanReport:
        """The answer of the first URL that gives one."""
        if not _of_reader(account, lambda: account.reader.can_have_plan(key)):
            return needs_plan_key(account)
        *others, last = urls
        share_s = timeout_s / len(urls)
        for url in others:
            try:
                async with asyncio.timeout(share_s):
                    answer = await self._fetch(url, key, share_s * 0.7)
            except (TimeoutError, NetworkError):
                continue
            if not _is_elsewhere(account, url, answer, key) and not _is_unsure(account, url, answer, key):
                return self._verdict(account, answer, key)
        answer = await self._fetch(last, key, timeout_s * 0.7)
        if not answer.is_page and _is_unsure(account, last, answer, key):
            return unsure(account, _refusal(account, answer, key))
        return self._verdict(account, answer, key)

    async def _fetch(self, url: str, key: Secret, forbidden_s: float) -> _Answer:
        headers = {"accept": "application/json", "Authorization": f"Bearer {key.reveal()}"}
        async with await self._http.send(url, headers=headers) as response:
            if response.status == _OK:
                body, complete = await response.read(_LONGEST)
            else:
                body, complete = await response.read_error(forbidden_s=forbidden_s), True
            return _Answer(response.status, response.headers, body, complete)

    def _verdict(self, account: PlanAccount, answer: _Answer, key: Secret) -> PlanReport:
        """What the answer says of the account.

        Raises:
            AttemptFailed: the provider refuses to say.
        """
        if answer.is_page:
            return unreadable(account, f"a web page and no data came back (HTTP {answer.status})")
        if answer.is_refusal(account):
            raise AttemptFailed(_refusal(account, answer, key))
        if not answer.complete:
            return unreadable(account, f"what came back is longer than {_LONGEST >> 10} KiB")
        fields = json_object(answer.body)
        if fields is None:
            return unreadable(account, "what came back is no data that can be read")
        return PlanReport(account, "told", _of_reader(account, lambda: account.reader.read(fields, self._clock.wall_ms())))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back from one URL. `complete` False: the body is longer than is read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool

    @property
    def is_page(self) -> bool:
        return self.body.lstrip().startswith(b"<")

    def is_refusal(self, account: PlanAccount) -> bool:
        return self.status != _OK or refused_inside(self.body, account.spec.error_codes)


def _refusal(account: PlanAccount, answer: _Answer, key: Secret) -> Refusal:
    return read_refusal(answer.status, answer.headers, answer.body, account.spec.error_codes, key)


def _is_elsewhere(account: PlanAccount, url: str, answer: _Answer, key: Secret) -> bool:
    """Whether the URL does not serve the data: it is not there, or a firewall before a host other than the API's has answered."""
    if answer.status in _NOT_SERVED or answer.is_page:
        return True
    is_website = host_of(url) != host_of(account.base_url)
    return is_website and answer.status != _OK and _refusal(account, answer, key).code is None


def _is_unsure(account: PlanAccount, url: str, answer: _Answer, key: Secret) -> bool:
    """Whether the answer is a number that proves nothing about the credential or the plan where `url` says it."""
    return answer.is_refusal(account) and _refusal(account, answer, key).code in _unsure_codes(account, url)


def _unsure_codes(account: PlanAccount, url: str) -> frozenset[int]:
    """The numbers that are no verdict on the credential or the plan where `url` answers them; a reader need not name any."""
    unsure = getattr(account.reader, "unsure_codes", None)
    return frozenset() if unsure is None else frozenset(_of_reader(account, lambda: unsure(url)))


def _of_reader(account: PlanAccount, call: Callable[[], T]) -> T:
    """What the plugin's reader says. It may fail in any way, which is then the failure of this account alone.

    Raises:
        ConfigError: `plan-reader-failed`.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - see above
        message = f"The plan reader of {account.spec.id} failed."
        hint = "Update the plugin that brings it, or report this to its author: {prog} plugins list"
        raise ConfigError("plan-reader-failed", message, why=type(error).__name__, hint=hint) from None
