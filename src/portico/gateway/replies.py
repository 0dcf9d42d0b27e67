"""The gateway's own error responses, and which headers pass it.

Where no model answers, the client gets an error in the words of its protocol. Anthropic's shape:
https://docs.claude.com/en/api/errors. OpenAI's: https://platform.openai.com/docs/guides/error-codes.

The headers that pass are named here, each in its direction. Whatever else either side sends stays with it. So no cookie,
origin, forwarding header, foreign credential, policy for browsers or hop-by-hop header (RFC 9110 section 7.6.1) can pass,
whatever name it has.
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
_SAID_TO_PROVIDER: Final = {"content-type": "application/json", "accept-encoding": "identity"}
_OF_BODY: Final = frozenset({"content-type", "content-encoding"})


def to_provider(received: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a client's request may say to the provider. The answer comes uncompressed, so that it can be metered as it passes."""
    passed = {
        lowered: value
        for name, value in received
        if (lowered := name.lower()) in _TO_PROVIDER or lowered.startswith(_TO_PROVIDER_PREFIX)
    }
    passed.update(_SAID_TO_PROVIDER)
    return passed


def to_client(received: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a provider's answer may say to the client; without values that no HTTP library is sure to send or to read."""
    return {
        lowered: value
        for name, value in received
        if ((lowered := name.lower()) in _OF_BODY or lowered in HEADERS or lowered.startswith(HEADER_PREFIXES))
        # Printable ASCII and tabs, as new header fields are to be (RFC 9110 section 5.5).
        and value.isascii()
        and value.replace("\t", " ").isprintable()
    }


# A missing sign-in is not 401, which a client would take for its own key's and may answer by signing out of its own account.
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
_OF_REFUSAL: Final[Mapping[ProviderErrorKind, int]] = {
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
# These have one status, whatever the provider's was.
_OF_KIND_ALONE: Final = frozenset({"plan-used-up", "rate-limit", "auth"})
# What a 5xx may stand for. Under another reason it does not pass: MiniMax says each of its numbers under HTTP 500 too, and
# clients send again what failed that way.
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
# What the SDKs of Anthropic and OpenAI, and Claude Code, send again by themselves unless `x-should-retry` says not to; and the
# longest `Retry-After` that they wait for, in ms (`_base_client.py`, `client.ts`). Beyond it they come back much too early.
_SENT_AGAIN: Final = frozenset({408, 409, _TOO_MANY})
_PATIENCE_MS: Final = 60_000


def status_of(error: PorticoError) -> int:
    """The HTTP status for an error of the gateway's own."""
    return next((status for kind, status in _OF_ERROR if isinstance(error, kind)), _SERVER)


def status_of_provider_error(kind: ProviderErrorKind, status: int | None) -> int:
    """The status for a provider's refusal: its own, unless that is about the gateway's credential, or would mislead."""
    if status is None or status in {401, 403} or kind in _OF_KIND_ALONE:
        return _OF_REFUSAL.get(kind, 502)
    own = range(400, 600) if kind in _FAILURES else range(400, 500)  # RFC 9110 section 15.5
    return status if status in own else _OF_REFUSAL.get(kind, 502)


def provider_error_headers(id: str, status: int, refusal: ProviderError, wait_ms: int | None) -> dict[str, str]:
    """The headers of the error that a provider's refusal becomes: the provider's own, and what this program knows better.

    `wait_ms` is after how many ms another try is worth it, as far as is known now. A client that obeys `x-should-retry`, as
    Anthropic's and OpenAI's SDKs do, sends nothing again where the answer is unknown, where only a person can change something,
    and where the wait is longer than an SDK waits: Claude Code would otherwise ask for minutes about a plan that is used up for
    hours. opencode does not read `x-should-retry`, and sleeps as long as `retry-after-ms` says, else `Retry-After`, for hours
    too; with 1 its five tries are over in a second.
    """
    headers = {} if refusal.reply is None else to_client(refusal.reply.headers)
    if wait_ms is not None:
        in_ms = 1 if is_long(wait_ms) else wait_ms
        headers |= {"retry-after": str(-(-wait_ms // 1000)), "retry-after-ms": str(in_ms)}
    useless = not refusal.temporary or is_long(wait_ms)
    if refusal.unknown or (useless and (status in _SENT_AGAIN or status >= _SERVER)):
        headers["x-should-retry"] = "false"
    return {**headers, "x-portico-error": id}


def is_long(wait_ms: int | None) -> bool:
    """Whether a wait is longer than clients wait by themselves."""
    return wait_ms is not None and wait_ms > _PATIENCE_MS


def error_body(
    api: ApiKind | None, status: int, id: str, message: str, reply: ErrorReply | None = None, *, resets_at: int | None = None
) -> dict[str, Any]:
    """The body of an error: Anthropic's for its protocol, else OpenAI's.

    `type`, `code` and `param` are the provider's own where `reply` has them. `id` is this program's own and stable: the `code` of
    every error without one of the provider's. `resets_at` (seconds since the epoch) is when a limit ends that is not worth
    waiting for. Codex, which speaks the Responses API, sleeps for the whole `Retry-After` of a 429 unless its type is
    `usage_limit_reached`, and shows that time (codex-rs).
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


def told(error: PorticoError, program: str = "portico") -> str:
    """What happened, why, and what to do, in the one line that clients show."""
    hint = error.hint_for(program)
    return f"{error} - {hint}" if hint else str(error)
