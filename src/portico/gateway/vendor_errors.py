"""What the gateway says where no model answers, in the words of the protocol that the client speaks.

Anthropic's shape: https://docs.claude.com/en/api/errors. OpenAI's: https://platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portico.errors import ConfigError, LockBusy, NetworkError, SignInNeeded, StoreError, UsageError
from portico.gateway.headers import to_client
from portico.models.error_reply import ErrorReply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.contracts import ApiKind, RefusalKind
    from portico.errors import PorticoError
    from portico.models.refusal import Refusal

# A missing sign-in is not 401, which a client would take for its own key's and may answer by signing out of its own account.
_OF_ERROR: Final[tuple[tuple[type[PorticoError], int], ...]] = (
    (SignInNeeded, 403),
    (UsageError, 400),
    (NetworkError, 502),
    (ConfigError, 500),
    (StoreError, 500),
    (LockBusy, 503),
)
_OF_ID: Final = {
    "too-many-values": 413,
    "unknown-model": 404,
    "invalid-model-reference": 404,
    "model-not-allowed": 403,
    "no-default-model": 400,
}
_OF_REFUSAL: Final[Mapping[RefusalKind, int]] = {
    "auth": 403,
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
}
_NO_WAITING_HELPS: Final[frozenset[RefusalKind]] = frozenset({"billing", "no-plan", "plan-lacks-model"})
# Seconds: Anthropic's and OpenAI's SDKs wait as long as `retry-after` says up to here (`_base_client.py`).
_LONGEST_WAIT_S: Final = 60.0
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


def status_of(error: PorticoError) -> int:
    """The HTTP status for an error of the gateway's own."""
    if error.id in _OF_ID and not isinstance(error, SignInNeeded):
        return _OF_ID[error.id]
    return next((status for kind, status in _OF_ERROR if isinstance(error, kind)), _SERVER)


def status_of_refusal(kind: RefusalKind, status: int | None) -> int:
    """The status for a provider's refusal: its own, unless it is about the credential, which is not the client's."""
    if status is not None and status >= 400 and status not in {401, 403}:  # noqa: PLR2004 - RFC 9110 section 15.5
        return status
    return _OF_REFUSAL.get(kind, 502)


def error_body(api: ApiKind | None, status: int, id: str, message: str, reply: ErrorReply | None = None) -> dict[str, Any]:
    """The body of an error: Anthropic's for its protocol, else OpenAI's.

    `type`, `code` and `param` are the provider's own where `reply` has them. `id` is this program's own and stable: the `code` of
    every error without one of the provider's.
    """
    reply = reply or ErrorReply()
    if api == "anthropic-messages":
        kind = reply.type or _ANTHROPIC.get(status, "invalid_request_error" if status < _SERVER else "api_error")
        error = {"type": kind, "message": message, "code": reply.code or id}
        body: dict[str, Any] = {"type": "error", "error": error if reply.param is None else {**error, "param": reply.param}}
        return body if reply.request_id is None else {**body, "request_id": reply.request_id}
    kind = reply.type or _OPENAI.get(status, "invalid_request_error" if status < _SERVER else "server_error")
    return {"error": {"message": message, "type": kind, "param": reply.param, "code": reply.code or id}}


def refusal_headers(id: str, refusal: Refusal | None) -> dict[str, str]:
    """The headers of the error that a provider's refusal becomes: the provider's own, and what this program knows better.

    A client that obeys `x-should-retry`, as Anthropic's and OpenAI's SDKs do, does not send a request again that may have been
    answered and billed, nor one that waiting does not help.
    """
    headers = {} if refusal is None or refusal.reply is None else to_client(refusal.reply.headers)
    if refusal is not None and refusal.retry_after is not None:
        headers.setdefault("retry-after", str(max(1, round(refusal.retry_after))))
    if refusal is not None and (refusal.kind in _NO_WAITING_HELPS or _is_used_up_for_long(refusal)):
        headers.setdefault("x-should-retry", "false")
    if refusal is not None and refusal.unknown:
        headers["x-should-retry"] = "false"
    return {**headers, "x-portico-error": id}


def _is_used_up_for_long(refusal: Refusal) -> bool:
    """Whether a plan is used up, and for longer than a client waits between two tries, or nobody knows for how long."""
    return refusal.kind == "plan-used-up" and (refusal.retry_after is None or refusal.retry_after > _LONGEST_WAIT_S)


def told(error: PorticoError, program: str = "portico") -> str:
    """What happened, why, and what to do, in the one line that clients show."""
    hint = error.hint_for(program)
    return f"{error} - {hint}" if hint else str(error)
