"""The gateway's error responses, and the headers that it forwards.

If no model answers, the client gets an error in the format of its protocol. Anthropic's format:
https://docs.claude.com/en/api/errors. OpenAI's: https://platform.openai.com/docs/guides/error-codes.

Headers are forwarded by an allowlist for each direction. So no cookie, origin, forwarding header, foreign credential, browser
policy or hop-by-hop header (RFC 9110 section 7.6.1) is forwarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portico.errors import ConfigError, LockBusy, NetworkError, SignInNeeded, StoreError, UsageError
from portico.gateway.request_body import TooManyValues
from portico.models.error_reply import HEADER_PREFIXES, HEADERS, ErrorReply
from portico.models.loader import ModelNotAllowed, NoDefaultModel
from portico.models.reference import ConfiguredModelUnknown, InvalidModelReference, UnknownModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico.errors import PorticoError
    from portico.interfaces.plugins import ApiKind, ProviderErrorKind
    from portico.models.provider_errors import ProviderError

_TO_PROVIDER: Final = frozenset({"accept", "accept-language", "openai-beta", "user-agent", "idempotency-key"})
_TO_PROVIDER_PREFIX: Final = "anthropic-"
_OWN_TO_PROVIDER: Final = {"content-type": "application/json", "accept-encoding": "identity"}
_BODY_HEADERS: Final = frozenset({"content-type", "content-encoding"})


def to_provider(received: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers of a client's request that go to the provider, names in lower case.

    The gateway asks for an uncompressed answer, so that it can read token counts while it forwards.
    """
    headers = {
        lowered: value
        for name, value in received
        if (lowered := name.lower()) in _TO_PROVIDER or lowered.startswith(_TO_PROVIDER_PREFIX)
    }
    headers.update(_OWN_TO_PROVIDER)
    return headers


def to_client(received: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers of a provider's answer that go to the client, without values that some HTTP library may reject."""
    return {
        lowered: value
        for name, value in received
        if ((lowered := name.lower()) in _BODY_HEADERS or lowered in HEADERS or lowered.startswith(HEADER_PREFIXES))
        # Printable ASCII and tabs: the limit for new header fields (RFC 9110 section 5.5).
        and value.isascii()
        and value.replace("\t", " ").isprintable()
    }


# A missing sign-in is not 401: a client would think that its own key is invalid, and may sign out of its own account.
_OF_ERROR: Final[tuple[tuple[type[PorticoError], int], ...]] = (
    (TooManyValues, 413),
    (UnknownModel, 404),
    (ConfiguredModelUnknown, 404),
    (InvalidModelReference, 404),
    (ModelNotAllowed, 403),
    (NoDefaultModel, 400),
    (SignInNeeded, 403),
    (UsageError, 400),
    (NetworkError, 502),
    (ConfigError, 500),
    (StoreError, 500),
    (LockBusy, 503),
)
_OF_PROVIDER_ERROR: Final[Mapping[ProviderErrorKind, int]] = {
    "auth": 403,
    "account-refused": 403,
    "model-refused": 403,
    "billing": 402,
    "no-plan": 403,
    "plan-lacks-model": 403,
    "plan-used-up": 429,
    "rate-limit": 429,
    "timeout": 504,
    "unreachable": 502,
    "answer-unknown": 502,
    "server": 502,
    "unknown-model": 404,
    "invalid-request": 400,
    "content": 400,
}
# These kinds always have the same status, whatever status the provider sent.
_OF_KIND_ALONE: Final = frozenset({"plan-used-up", "rate-limit", "auth"})
# Only these kinds keep a provider's 5xx, because clients retry a 5xx. MiniMax can send each of its error numbers with HTTP 500.
_FAILURES: Final = frozenset({"server", "timeout"})
_ANTHROPIC: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI: Final = {401: "authentication_error", 403: "permission_error", 404: "invalid_request_error", 429: "rate_limit_error"}
_SERVER: Final = 500
_TOO_MANY: Final = 429
# The SDKs of Anthropic and OpenAI, and Claude Code, retry these statuses unless `x-should-retry` is false. `_PATIENCE_MS` is
# the longest `Retry-After` that they obey (`_base_client.py`, `client.ts`). If it is longer, they retry much too early.
_RETRIED: Final = frozenset({408, 409, _TOO_MANY})
_PATIENCE_MS: Final = 60_000


def status_of(error: PorticoError) -> int:
    """The HTTP status of a Portico error."""
    return next((status for kind, status in _OF_ERROR if isinstance(error, kind)), _SERVER)


def status_of_provider_error(kind: ProviderErrorKind, status: int | None) -> int:
    """The status for a provider error: usually the provider's own, but not if it would mislead the client."""
    if status is None or status in {401, 403} or kind in _OF_KIND_ALONE:
        return _OF_PROVIDER_ERROR.get(kind, 502)
    own = range(400, 600) if kind in _FAILURES else range(400, 500)  # RFC 9110 section 15.5
    return status if status in own else _OF_PROVIDER_ERROR.get(kind, 502)


def provider_error_headers(id: str, status: int, provider_error: ProviderError, wait_ms: int | None) -> dict[str, str]:
    """The headers of the response after a provider error: the provider's own headers, corrected if Portico knows more.

    `wait_ms` is the time in ms after which a retry may succeed, None if unknown. `x-should-retry: false` is sent in three
    cases: the answer is unknown, only the user can solve the problem, or the wait is longer than an SDK waits. Anthropic's and
    OpenAI's SDKs obey this header. Without it, Claude Code would retry for minutes although a plan is used up for hours.
    opencode ignores the header and sleeps as long as `retry-after-ms` or else `Retry-After` states, even for hours. If
    `retry-after-ms` is 1, the five retries of opencode take only a second.
    """
    headers = {} if provider_error.reply is None else to_client(provider_error.reply.headers)
    if wait_ms is not None:
        in_ms = 1 if is_long(wait_ms) else wait_ms
        headers |= {"retry-after": str(-(-wait_ms // 1000)), "retry-after-ms": str(in_ms)}
    useless = not provider_error.temporary or is_long(wait_ms)
    if provider_error.unknown or (useless and (status in _RETRIED or status >= _SERVER)):
        headers["x-should-retry"] = "false"
    return {**headers, "x-portico-error": id}


def is_long(wait_ms: int | None) -> bool:
    """Whether a wait is longer than SDKs wait."""
    return wait_ms is not None and wait_ms > _PATIENCE_MS


def error_body(
    api: ApiKind | None, status: int, id: str, message: str, reply: ErrorReply | None = None, *, resets_at: int | None = None
) -> dict[str, Any]:
    """The body of an error response: in Anthropic's format if the client uses Anthropic's protocol, else in OpenAI's format.

    `type`, `code` and `param` are the provider's own if `reply` has them; else `code` is `id`, Portico's stable error id.
    `resets_at` (seconds since the epoch) is set if a client should not wait until the limit ends. Codex, which uses the
    Responses API,
    sleeps for the whole `Retry-After` of a 429. But if the error's type is `usage_limit_reached`, it shows the time `resets_at`
    instead (codex-rs).
    """
    reply = reply or ErrorReply()
    if api == "anthropic-messages":
        kind = reply.type or _ANTHROPIC.get(status, "invalid_request_error" if status < _SERVER else "api_error")
        error: dict[str, object] = {"type": kind, "message": message, "code": reply.code or id}
        body: dict[str, Any] = {"type": "error", "error": error if reply.param is None else {**error, "param": reply.param}}
        return body if reply.request_id is None else {**body, "request_id": reply.request_id}
    kind = reply.type or _OPENAI.get(status, "invalid_request_error" if status < _SERVER else "server_error")
    error = {"message": message, "type": kind, "param": reply.param, "code": reply.code or id}
    if api == "openai-responses" and resets_at is not None and status == _TOO_MANY:
        error |= {"type": "usage_limit_reached", "resets_at": resets_at}
    return {"error": error}


def one_line(error: PorticoError) -> str:
    """What happened, why, and what to do. All in one line, because clients show only one line."""
    hint = error.hint_for("portico")
    return f"{error} - {hint}" if hint else str(error)
