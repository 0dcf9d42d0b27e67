"""The device flow: the user enters a code on the provider's page, on any device (RFC 8628). A dialect may poll by user code."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError, NoWayToSignIn, OAuthError, TimedOut
from portico.interfaces.authorization import Pending
from portico.net.errors import RedirectRefused
from portico.oauth.flow import DeviceCode, Finished, NoFlowServed, PollRetry, PollSlowed, StrayRequest
from portico.oauth.standard import challenge_of, one_time_value
from portico.oauth.start_address import StartServer
from portico.oauth.token_errors import NoAnswer, SignInTimedOut
from portico.urls import why_not_named_by
from portico.util.tasks import Deadline, background_tasks, first_of

if TYPE_CHECKING:
    from portico.interfaces.authorization import DeviceAuthorization, TokenSet
    from portico.oauth.flow import FlowContext
    from portico.oauth.start_address import StartAddress
    from portico.secret import Secret

_SLOW_DOWN_S: Final = 5.0
_MAX_BACKOFF_S: Final = 60.0
_POLL_TIMEOUT_S: Final = 30.0
# The last poll is sent this long before the code expires, so that it arrives in time.
_LAST_POLL_LEAD_S: Final = 1.0
# For a code with a short lifetime, this share of the lifetime.
_MAX_LEAD_SHARE: Final = 0.1
_LAST_POLL_TIMEOUT_S: Final = 10.0


class VerificationUriRefused(OAuthError):
    """The page where the user enters the code is not safe to open."""

    id = "verification-uri-refused"


async def device_flow(context: FlowContext) -> None:
    """Request a code, show it, poll until the user approves it, and pass the token set to `context.finish`.

    There is one last poll at the end of the code's lifetime or of the context's `timeout_s`, whichever comes first.

    Raises:
        NoWayToSignIn: `no-flow-served`: the server has no device endpoint.
        Denied, OAuthError, NetworkError: the request failed, or the user or the server refused; `start-address-used`. A failed
            poll is repeated.
        TimedOut: `sign-in-timed-out`.
    """
    server, dialect, on_event, clock = context.server, context.dialect, context.on_event, context.clock
    if not server.device_authorization_endpoint:
        raise NoFlowServed("This server has no device flow.", where=server.issuer)
    verifier, state = one_time_value(), one_time_value()
    build_request = partial(dialect.device_request, server, challenge=challenge_of(verifier), state=state.reveal())
    read_reply = partial(dialect.read_device_reply, state=state.reveal())
    device, _ = await context.exchange(build_request, read_reply, verifier, state)
    page_url = _checked_page_url(device, server.device_authorization_endpoint)
    deadline = Deadline(clock, min(context.timeout_s, (device.expires_at - clock.wall_ms()) / 1000))
    not_opened = await context.obstacle()
    polling = _Polling(context, device, verifier, deadline)
    async with AsyncExitStack() as stack, background_tasks() as start:
        listener: StartServer | None = None
        if context.opener is not None and not_opened is None:
            listener = StartServer(page_url, on_stray=lambda reason: on_event(StrayRequest(reason)))
            try:
                await stack.enter_async_context(listener)
            except NoWayToSignIn as error:
                listener, not_opened = None, error.message.rstrip(".")
        on_event(DeviceCode(device, listener is not None, not_opened))
        if listener is None:
            token_set = await polling.run()
        else:
            start(context.open_page(listener.url, listener.address))
            token_set = await _poll_unless_misused(polling, listener.address)
        await context.finish(token_set)
    on_event(Finished("device"))


async def _poll_unless_misused(polling: _Polling, address: StartAddress) -> TokenSet:
    token_sets: list[TokenSet] = []

    async def poll() -> None:
        token_sets.append(await polling.run())

    await first_of(poll(), address.misused.wait())
    for token_set in token_sets:
        await polling.context.check_start(token_set, address)
    address.raise_if_misused()
    return token_sets[0]


def _checked_page_url(device: DeviceAuthorization, endpoint: str) -> str:
    """Return the page to open. Check first that the device endpoint may name this URL."""
    for url in (device.verification_uri, device.verification_uri_complete):
        why = why_not_named_by(endpoint, url) if url is not None else None
        if why is not None:
            raise VerificationUriRefused(
                "The page for the code is not safe to open, so the code is not shown.",
                why=why,
                hint="Do not sign in there. Correct the endpoints in the provider's settings: `{prog} config edit`.",
            )
    return device.verification_uri_complete or device.verification_uri


@dataclass(slots=True)
class _Polling:
    """Polls for the tokens (RFC 8628 sections 3.4 and 3.5).

    The last poll is at the end of the code's lifetime, independent of the interval, so that a late approval is not lost.
    """

    context: FlowContext
    device: DeviceAuthorization
    verifier: Secret
    deadline: Deadline
    lead_s: float = field(init=False)
    polls: int = 0
    pages: int = 0
    unanswered: int = 0

    def __post_init__(self) -> None:
        self.lead_s = min(_LAST_POLL_LEAD_S, self.deadline.remaining() * _MAX_LEAD_SHARE)

    async def run(self) -> TokenSet:
        interval, lost_polls = self.device.interval, 0
        wait_s = interval
        while True:
            is_last = await self._wait_for_poll(wait_s, interval)
            try:
                result = await self._poll(is_last=is_last)
            except TimedOut as error:
                raise self._expired_error(error.why) if self.pages or self.unanswered else error from error
            except NetworkError as error:
                if isinstance(error, OAuthError) and not error.transient:
                    raise
                self._count_failure(error)
                if is_last:
                    raise self._expired_error(f"the last poll: {error}") from error
                lost_polls += 1
                self.context.on_event(PollRetry(error.id))
                wait_s = min(interval * 2**lost_polls, max(interval, _MAX_BACKOFF_S)) + _retry_after_s(error)
                continue
            if not isinstance(result, Pending):
                return result
            if is_last:
                raise self._expired_error()
            lost_polls = 0
            if result.slow_down:
                interval += _SLOW_DOWN_S
                self.context.on_event(PollSlowed(interval))
            wait_s = interval

    async def _poll(self, *, is_last: bool) -> Pending | TokenSet:
        self.polls += 1
        server, dialect = self.context.server, self.context.dialect
        build_request = partial(dialect.poll_request, server, self.device, verifier=self.verifier)
        # A poll that hangs must leave time for the last poll.
        timeout_s = _LAST_POLL_TIMEOUT_S if is_last else max(1.0, min(_POLL_TIMEOUT_S, self._remaining()))
        secrets = (self.verifier, self.device.device_code)
        result, reply = await self.context.exchange(build_request, dialect.read_poll_reply, *secrets, timeout_s=timeout_s)
        if isinstance(result, Pending):
            return result
        await self.context.check_id_token(result, reply)
        return result

    def _count_failure(self, error: NetworkError) -> None:
        if isinstance(error, (NoAnswer, RedirectRefused)):
            self.pages += 1
        else:
            self.unanswered += 1

    def _expired_error(self, last_error: str | None = None) -> TimedOut:
        """The error for an expired code. If polls failed, the user may have approved the code."""
        counts = [f"{self.pages} of {self.polls} polls were answered with a web page"] if self.pages else []
        counts += [f"{self.unanswered} of {self.polls} polls got no answer"] if self.unanswered else []
        message = "The code expired before Portico saw an approval." if counts else "The code was not approved in time."
        hint = "Run the command again to get a new code."
        if self.pages:
            hint = f"A captive portal or a proxy answers instead of the server: open any page in a browser first. {hint}"
        return SignInTimedOut(message, why="; ".join([*counts, *([last_error] if last_error else [])]) or None, hint=hint)

    async def _wait_for_poll(self, seconds: float, interval: float) -> bool:
        """Wait for the next poll. Return whether it is the last.

        Polls are never closer than the interval (RFC 8628 section 3.5). So a poll less than an interval before the last poll is
        skipped; `read_interval` limits the interval to a minute.
        """
        remaining = self._remaining()
        is_last = seconds + interval > remaining
        await self.context.clock.sleep(remaining if is_last else seconds)
        return is_last or self._remaining() <= 0

    def _remaining(self) -> float:
        """Seconds until the last poll, not below zero."""
        return max(0.0, self.deadline.remaining() - self.lead_s)


def _retry_after_s(error: NetworkError) -> float:
    return (error.retry_after or 0.0) if isinstance(error, OAuthError) else 0.0
