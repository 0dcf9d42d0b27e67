"""Provider errors: the kinds of reasons why a provider did not answer, and the messages about them.

The kind is read from the status, then from the provider's own number, then from the words of the message (openclaw#20999 lists
words of providers). MiniMax's number is in `base_resp`, also with HTTP 200, or in brackets at the end of a message. A failure
of the network has a kind too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from portico.errors import LockBusy, NetworkError, PorticoError
from portico.models.credentials import CredentialRefused
from portico.models.error_reply import error_in, moment, read_error_reply, read_reset, read_wait
from portico.models.reference import UnknownModel, did_you_mean
from portico.net.errors import AnswerMissing, AnswerUnknown, CertificatesUnreadable, ProxyUnusable, RequestRefused, Unreachable
from portico.secret import redact

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from portico.interfaces.plugins import ProviderErrorKind
    from portico.models.error_reply import ErrorReply
    from portico.models.failover import Attempt, Failover
    from portico.models.loader import CallableModel
    from portico.secret import Secret

MESSAGE_LIMIT: Final = 8 * 1024
"""The maximum length of a provider's message. Some messages list a hundred faults of a tool's schema."""
_SHOWN_LIMIT: Final = 300
# How many characters after the limit are also searched for secrets, because a secret may begin before the limit.
_READ_AHEAD: Final = 4096
_CODE: Final = re.compile(r"\((\d{4})\)\s*$")
_KIND_OF_STATUS: Final[dict[int, ProviderErrorKind]] = {
    401: "auth",
    402: "billing",
    404: "unknown-model",
    408: "timeout",
    425: "server",
    429: "rate-limit",
}
_KIND_PATTERNS: Final[tuple[tuple[ProviderErrorKind, re.Pattern[str]], ...]] = (
    ("billing", re.compile(r"credit balance|insufficient.(?:balance|credits|funds|quota)|payment required", re.IGNORECASE)),
    ("rate-limit", re.compile(r"rate limit|too many requests|resource exhausted|overloaded", re.IGNORECASE)),
    ("unknown-model", re.compile(r"unknown model|model[^.]{0,80}(?:not found|does not exist)", re.IGNORECASE)),
)
# Values of an error's `type` and `code` that mean a required payment, with any status. OpenAI sends 429, although waiting does
# not help (https://platform.openai.com/docs/guides/error-codes).
_BILLING_CODES: Final = frozenset(
    {
        *("insufficient_quota", "billing_not_active", "billing_hard_limit_reached", "billing_error", "insufficient_balance"),
        "insufficient_balance_error",
    }
)
# The status that an error's `code` or `type` in a stream stands for, after HTTP 200. Other values mean that the server failed.
# Anthropic's types: https://platform.claude.com/docs/en/api/errors. OpenAI's codes: the `error` of a response object. A `code`
# that is itself the status: https://openrouter.ai/docs/api/reference/errors-and-debugging.
_STATUS_OF_WORD: Final = {
    "rate_limit_exceeded": 429,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "billing_error": 402,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "invalid_request_error": 400,
}
_ERROR_STATUS: Final = range(400, 600)
_SERVER_ERROR: Final = 500
_SUCCESS: Final = range(200, 300)
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
# MiniMax: "not authorized", "token not match group" (platform.minimax.io/docs/api-reference/errorcode), "cookie is missing, log
# in again" (CodexBar#1615) and "login fail" (openclaw#85218). MiniMax also sends it with HTTP 200.
_NOT_AUTHORIZED: Final = 1004
# RFC 9110 section 11.2: `name=value` in a challenge. A quoted string is matched as a whole.
_ATTRIBUTE: Final = re.compile(
    r"""(?<![\w!#$%&'*+.^`|~-])([\w!#$%&'*+.^`|~-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)(?:"|\\?$)|([\w!#$%&'*+.^`|~-]+))""",
    re.DOTALL,
)
# Values of an error's `type` and `code` for a bad token, in the spelling of RFC 6750 and others.
_TOKEN_FAULTS: Final = frozenset(
    {
        *("invalid_token", "expired_token", "token_expired", "token_invalid", "token_revoked", "invalid_access_token"),
        "access_token_expired",
    }
)
# The values above, and values that some servers (such as Anthropic's) also use for a good token.
_TOKEN_CODES: Final = _TOKEN_FAULTS | {"authentication_error", "authentication_failed", "unauthenticated", "not_authenticated"}
# Anthropic's `type` of every 403, also for a revoked token (anthropics/claude-code#9635). Only the message shows the cause.
_GENERIC_403_TYPES: Final = frozenset({"permission_error"})
# Words of a 403 about the account, the model, the country or the connection. They are stronger than a mention of the token
# ("your Token Plan", an `authentication_error` about a plan), but weaker than a value in `_TOKEN_FAULTS`.
_RIGHTS_PATTERN: Final = re.compile(
    r"scope|permi(?:ssion|tted)|privilege|not (?:allowed|authori[sz]ed) to|not have access|no access|model|\bplan\b|subscription"
    r"|region|country|territor|quota|balance|billing|payment|credits?\b|limit|policy|organi[sz]ation|blocked|suspended|deactivated"
    r"|two[ _-]factor|multi[ _-]factor|\b[2m]fa\b|\bproxy\b|\b[cx]srf\b|captcha",
    re.IGNORECASE,
)
# The word for a fault must be next to the word for a credential, because "token" and "authentication" have other meanings too
# ("Invalid CSRF token", "Token count required", "proxy authentication failed"). The pattern is for text in lower case, with
# each run of spaces, `_` and `-` replaced by one space.
_FAULTS: Final = r"(?:invalid|expired|revoked|unknown|bad|malformed)"
_KINDS: Final = (
    rf"(?:the|your|this|that|an?|or|and|supplied|provided|given|current|access|auth|authentication|authorization|bearer|oauth2?|api"
    rf"|jwt|login|user|session|security|incoming|id|{_FAULTS})"
)
_TOKEN_PATTERN: Final = re.compile(
    rf"\b{_FAULTS} (?:{_KINDS} ){{0,6}}(?:tokens?|credentials?)\b"
    r"(?! (?:count|limit|budget|length|usage|type|index|position|at)\b)"
    rf"|(?:^|[^\w ] ?|\b{_KINDS} )(?:tokens?|credentials?)\b[^\w ]? ?(?:signature |validation |verification )?"
    r"(?:(?:is|was|has|have|had|are|were|included|provided|supplied|given|sent|you|in)\b[^.]{0,60}\b)?"
    r"(?:invalid|expired|revoked|ended|failed|not valid|no longer valid|not found|not recogni[sz]ed)\b"
    r"|\blogin fail|\b(?:log|sign) ?in again|\breauthenticate|\bre authenticate|\bsession[^.]{0,40} expired|cookie is missing"
    r"|\A(?:authentication (?:is )?(?:required|failed)|unauthenticated|not authenticated)\W*\Z"
)
_SPACES: Final = re.compile(r"[\s_-]+")
# Links to a manual. The words in their path (".../models/auth") mean nothing.
_LINK: Final = re.compile(r"""\bhttps?://[^\s"'<>]+""", re.IGNORECASE)
# Members of a body that may contain a text for the user, in addition to `error`.
_MESSAGE_FIELDS: Final = ("message", "msg", "error_description", "detail", "title")
# The request itself is wrong: no other credential helps.
_FINAL_KINDS: Final = frozenset({"unknown-model", "content", "invalid-request"})
# These failures end without an action by the user.
_TEMPORARY_KINDS: Final = frozenset({"server", "timeout", "unreachable", "answer-unknown", "rate-limit", "plan-used-up"})
# Reasons on this machine why a request could not be sent.
_NOT_SENT: Final = (ProxyUnusable, CertificatesUnreadable, RequestRefused)
# How many seconds to wait until another process may have released a lock.
_LOCK_WAIT_S: Final = 1.0
# Words of a 403 about the key and about the account. Portico treats a 403 without such words as an error of the model, so that
# one model does not block the others (openclaw#3604). The text must have the same form as for `_TOKEN_PATTERN`.
_KEY_FAULT: Final = (
    r"(?:invalid|incorrect|wrong|expired|revoked|disabled|deactivated|suspended|blocked|unknown|missing|leaked|not valid)"
)
_KEY_PATTERN: Final = re.compile(
    rf"\b{_KEY_FAULT} (?:\w+ ){{0,3}}keys?\b"
    rf"|\bkeys?\b (?:(?:is|was|are|were|has|have|been|you|provided|supplied|reported|as) ){{0,5}}{_KEY_FAULT}\b"
)
_ACCOUNT_PATTERN: Final = re.compile(
    r"\b(?:account|organi[sz]ation|workspace|project|team|user|tenant|subscription)\b[^.]{0,40}"
    r"\b(?:suspended|deactivated|disabled|banned|blocked|terminated|restricted|closed|frozen|locked|deleted|inactive)\b"
)
_BILL_PATTERN: Final = re.compile(r"\bbilling\b|\bpayment\b|\bunpaid\b|\boverdue\b|\barrears\b|\bbalance\b")
_MODEL_PATTERN: Final = re.compile(r"\bmodels?\b")
_PLACE_PATTERN: Final = re.compile(r"\b(?:country|countries|region|territory|territories|location|jurisdiction)\b")


class RateLimited(NetworkError):
    """The rate limit of the provider is reached."""

    id = "rate-limited"


class PlanUsedUp(NetworkError):
    """A limit of the plan is used up."""

    id = "plan-used-up"


class PlanLacksModel(NetworkError):
    """The plan does not include the model."""

    id = "plan-lacks-model"


class ModelRefused(NetworkError):
    """The provider, or a proxy before it, rejects requests for the model from this account."""

    id = "model-refused"


class AccountRefused(NetworkError):
    """The provider rejects the account."""

    id = "account-refused"


class PaymentNeeded(NetworkError):
    """The provider requires a payment."""

    id = "billing"


class ProviderRefused(NetworkError):
    """The provider rejected the request itself."""

    id = "provider-refused"


class NoPlan(NetworkError):
    """The account has no active plan."""

    id = "no-plan"


class ProviderFailed(NetworkError):
    """The provider failed, or did not answer in time."""

    id = "provider-failed"


@dataclass(frozen=True, slots=True)
class ProviderError:
    """Why an attempt got no answer.

    `message` is safe to show and has at most `MESSAGE_LIMIT` characters; `str()` shows its start.

    `code` is the provider's own number. `reply` contains the fields that programs read; None without a response. `retry_after`
    (seconds) and `resets_at` (ms since the epoch) are the provider's times for the next try. `unknown`: the request was sent
    and no complete answer arrived, so the provider may have answered and billed it. `rejects_token`: the provider rejected the
    token itself, so a new token may work. `id` is the id of the error if `kind` is `local`.
    """

    kind: ProviderErrorKind
    message: str
    status: int | None = None
    code: int | None = None
    retry_after: float | None = None
    resets_at: int | None = None
    unknown: bool = False
    rejects_token: bool = False
    reply: ErrorReply | None = field(default=None, compare=False, repr=False)
    id: str = ""

    @property
    def may_succeed_elsewhere(self) -> bool:
        """Whether another credential or another model may answer the request."""
        return self.kind not in _FINAL_KINDS

    @property
    def temporary(self) -> bool:
        """Whether the same request may be answered later without anyone's action."""
        return self.kind in _TEMPORARY_KINDS or (self.kind == "local" and self.retry_after is not None)

    @property
    def label(self) -> str:
        """The error's name in headers, counters and the history: the kind, or the id of an error on this machine."""
        return self.id if self.kind == "local" else self.kind

    def __str__(self) -> str:
        return self.text(_SHOWN_LIMIT)

    def text(self, limit: int) -> str:
        """Return the status or the kind, and the message up to `limit` characters."""
        head = f"HTTP {self.status}" if self.status is not None else self.kind
        return f"{head}: {_shorten(self.message, limit)}" if self.message else head


class AttemptFailed(Exception):
    """A candidate did not answer. `error` is the failure to show if it did not come from the provider."""

    def __init__(self, provider_error: ProviderError, error: PorticoError | None = None) -> None:
        super().__init__(str(provider_error))
        self.provider_error = provider_error
        self.error = error


def read_provider_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    codes: Mapping[int, ProviderErrorKind],
    *known_secrets: Secret | None,
) -> ProviderError:
    """Classify an error response. `known_secrets` are redacted."""
    message, code = _read_message(body)
    answer = json_object(body) or {}
    effective_status = _effective_status(status, answer)
    is_token_rejected = rejects_token(status, headers, body, codes)
    if is_token_rejected and status != _UNAUTHORIZED:
        kind: ProviderErrorKind = "auth"
    elif status == _FORBIDDEN and code not in codes:
        kind = _kind_of_403(message, _error_words(answer))
    else:
        kind = _kind(effective_status, code, message, codes, _error_words(answer))
    return ProviderError(
        kind,
        shown(message, *known_secrets, limit=MESSAGE_LIMIT),
        status=status,
        code=code,
        retry_after=read_wait(headers, answer, message),
        resets_at=read_reset(answer, message),
        rejects_token=is_token_rejected,
        reply=read_error_reply(headers.items(), answer, *known_secrets),
    )


def _effective_status(status: int, answer: Mapping[str, Any]) -> int:
    """Return `status`. For a success status, return the status that the error's `code` or `type` stands for.

    This is never 401 or 403, because an event in an accepted stream means nothing about the token (`rejects_token`).
    """
    if status not in _SUCCESS or _envelope_number(answer) is not None:
        return status
    error = error_in(answer)
    code = error.get("code")
    if isinstance(code, int) and code in _ERROR_STATUS:
        return status if code in {_UNAUTHORIZED, _FORBIDDEN} else code
    words = (word for word in (code, error.get("type")) if isinstance(word, str))
    return next((_STATUS_OF_WORD[word] for word in words if word in _STATUS_OF_WORD), status)


def rejects_token(status: int, headers: Mapping[str, str], body: bytes, codes: Mapping[int, ProviderErrorKind]) -> bool:
    """Whether a response rejects the token itself, so that a refresh may help.

    A 401 rejects the token (RFC 9110 section 15.5.2). A 403 rejects it if its challenge or body mentions a bad token, but not
    if it mentions rights, a model, a plan or a country (RFC 6750 section 3.1 has `invalid_token` only with 401, but servers
    differ). A success status rejects it if MiniMax's `base_resp` contains 1004, or another number that `codes` maps to `auth`.
    """
    if status == _UNAUTHORIZED:
        return True
    if status in _SUCCESS:
        number = _envelope_number(json_object(body) or {})
        return number is not None and _is_credential_number(number, codes)
    return status == _FORBIDDEN and _names_token(headers, body, codes)


def _names_token(headers: Mapping[str, str], body: bytes, codes: Mapping[int, ProviderErrorKind]) -> bool:
    challenge_errors = _challenge_errors(headers)
    if challenge_errors:
        return not _TOKEN_CODES.isdisjoint(challenge_errors)
    if body.lstrip().startswith(b"<"):
        return False  # a web page of a firewall or a proxy
    answer = json_object(body) or {}
    words = _error_words(answer) - _GENERIC_403_TYPES
    message, number = _read_message(body)
    values = [_message(answer), *(answer.get(name) for name in _MESSAGE_FIELDS)]
    texts = [*([text for text in values if isinstance(text, str)] or [message]), *words]
    texts = [_LINK.sub("", text) for text in texts]
    codes_alone = [word for word in words if " " not in word]  # `error` may be a sentence
    if any(_RIGHTS_PATTERN.search(text) for text in (texts if _TOKEN_FAULTS.isdisjoint(words) else codes_alone)):
        return False
    if not _TOKEN_CODES.isdisjoint(words):
        return True
    if number is not None and (number in codes or number == _NOT_AUTHORIZED):
        return _is_credential_number(number, codes)
    return any(_TOKEN_PATTERN.search(_SPACES.sub(" ", text.lower())) for text in texts)


def _challenge_errors(headers: Mapping[str, str]) -> set[str]:
    """Return the `error` of each challenge (RFC 6750 section 3), from one or several headers."""
    challenges = ", ".join(value for name, value in headers.items() if name.lower() == "www-authenticate")
    matches = (match.groups() for match in _ATTRIBUTE.finditer(challenges))
    return {(quoted or plain or "").lower() for name, quoted, plain in matches if name.lower() == "error"}


def _error_words(answer: Mapping[str, Any]) -> set[str]:
    """Return the lower-case values of `error`, `type`, `code` and `status` in the body and in its error object."""
    values = [
        error_object.get(name) for error_object in (answer, error_in(answer)) for name in ("error", "type", "code", "status")
    ]
    return {value.lower() for value in values if isinstance(value, str)}


def _is_credential_number(number: int, codes: Mapping[int, ProviderErrorKind]) -> bool:
    return codes.get(number, "auth" if number == _NOT_AUTHORIZED else "server") == "auth"


def _envelope_number(answer: Mapping[str, Any]) -> int | None:
    """Return the number in MiniMax's `base_resp`."""
    envelope = answer.get("base_resp")
    number = envelope.get("status_code") if isinstance(envelope, dict) else None
    return number if isinstance(number, int) else None


def is_error_body(body: bytes, codes: Mapping[int, ProviderErrorKind]) -> bool:
    """Whether the body of an HTTP 200 is an error."""
    return is_error_object(json_object(body) or {}, codes)


def is_error_object(answer: Mapping[str, Any], codes: Mapping[int, ProviderErrorKind]) -> bool:
    """Whether the JSON object in the body of an HTTP 200 is an error."""
    number = _envelope_number(answer)
    return number is not None and number != 0 and (number in codes or number == _NOT_AUTHORIZED or "choices" not in answer)


def unreachable(error: NetworkError) -> ProviderError:
    """Classify an error of the network, or an error of this machine before the request was sent."""
    if isinstance(error, _NOT_SENT):
        return local_error(error)
    if not isinstance(error, AnswerUnknown):
        return ProviderError("unreachable", shown(str(error)))
    kind: ProviderErrorKind = "timeout" if error.timed_out else "answer-unknown"
    return ProviderError(kind, shown(error.why or error.message), unknown=True)


def local_error(error: PorticoError) -> ProviderError:
    """Classify an error on this machine before a request was sent. It does not concern credential or model."""
    if isinstance(error, LockBusy):
        return ProviderError("local", shown(str(error)), id=error.id, retry_after=_LOCK_WAIT_S)
    is_temporary = isinstance(error, NetworkError) and not isinstance(error, _NOT_SENT)
    retry_after = getattr(error, "retry_after", None) or 0.0
    return ProviderError("local", shown(str(error)), id=error.id, retry_after=retry_after if is_temporary else None)


def shown(text: str, *known_secrets: Secret | None, limit: int = _SHOWN_LIMIT) -> str:
    """Return received text without control characters and credentials, at most `limit` characters."""
    safe = redact(text[: limit + _READ_AHEAD], *(secret for secret in known_secrets if secret is not None))
    return "".join(character if character.isprintable() else " " for character in safe[:limit]).strip()


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3].rstrip()}..."


def _kind(
    status: int, code: int | None, message: str, codes: Mapping[int, ProviderErrorKind], error_words: AbstractSet[str]
) -> ProviderErrorKind:
    if status != _UNAUTHORIZED and status < _SERVER_ERROR and not _BILLING_CODES.isdisjoint(error_words):
        return "billing"
    by_status = "server" if status >= _SERVER_ERROR or status in _SUCCESS else _KIND_OF_STATUS.get(status, "invalid-request")
    kind: ProviderErrorKind = codes.get(code, by_status) if code is not None else by_status
    kind_by_words = next((pattern_kind for pattern_kind, words in _KIND_PATTERNS if words.search(message)), None)
    if kind == "invalid-request":
        return kind_by_words or kind
    if kind == "unknown-model":
        return kind_by_words or (kind if "model" in message.lower() else "invalid-request")
    return "billing" if (kind, kind_by_words) == ("rate-limit", "billing") else kind


def _kind_of_403(message: str, words: set[str]) -> ProviderErrorKind:
    """Classify a 403 without a number that does not reject the token: by key, bill, account, else model."""
    if message.lstrip().startswith("<"):
        return "model-refused"  # a web page of a firewall or a proxy
    text = _SPACES.sub(" ", _LINK.sub("", ". ".join([message, *sorted(words)])).lower())
    if _KEY_PATTERN.search(text):
        return "auth"
    if _BILL_PATTERN.search(text) or _KIND_PATTERNS[0][1].search(text):
        return "billing"
    if _ACCOUNT_PATTERN.search(text):
        return "account-refused"
    return "account-refused" if _PLACE_PATTERN.search(text) and not _MODEL_PATTERN.search(text) else "model-refused"


def _read_message(body: bytes) -> tuple[str, int | None]:
    """Return the provider's message and number; else the start of the body and the number at the body's end."""
    answer = json_object(body) or {}
    message, number = _message(answer), _envelope_number(answer)
    if message is None:
        is_page = body.lstrip()[:1] in {b"", b"<"}
        message = body[: _SHOWN_LIMIT if is_page else MESSAGE_LIMIT].decode(errors="replace")
    code = _CODE.search(message) if number is None else None
    return message, int(code[1]) if code else number


def _message(answer: Mapping[str, Any]) -> str | None:
    """Return the message in `base_resp` (MiniMax) or `error.message` (Anthropic, OpenAI)."""
    if _envelope_number(answer) is not None:
        return str(answer["base_resp"].get("status_msg", ""))
    message = error_in(answer).get("message") or answer.get("error")
    return message if isinstance(message, str) else None


def json_object(data: bytes | str) -> dict[str, Any] | None:
    """Parse `data` as a JSON object; None if it is not a JSON object."""
    try:
        # `json.loads` would try to detect UTF-16 first; JSON between systems is UTF-8 (RFC 8259 section 8.1).
        text = (data if isinstance(data, str) else data.decode("utf-8", "surrogatepass").removeprefix("\ufeff")).strip(_BLANKS)
        value, end = _decoded(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and end == len(text) else None


_BLANKS: Final = " \t\n\r"
_decoded: Final = json.JSONDecoder().raw_decode


def is_json(data: bytes) -> bool:
    """Whether `data` is a complete JSON text."""
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


_OTHER_REGION: Final = "the provider rejects accounts of its other regions in the same way"
_NOT_FOUND: Final = 404
_WRONG_ADDRESS_HINT: Final = (
    "The provider serves no API at this address. Check baseUrl and api of the provider in your config: {prog} doctor"
)


def model_error(model: CallableModel, provider_error: ProviderError) -> PorticoError:
    """Return the error to show for a provider error of `model`."""
    name, provider_text = model.reference.provider, _provider_text(provider_error)
    if provider_error.kind == "unknown-model" and not model.listed:
        near = did_you_mean(model.near) or "{prog} models list --all"
        return UnknownModel(f"Unknown model: {model.reference}", why=f"{name} answers {provider_text}", hint=near)
    if provider_error.kind == "unknown-model":
        message = f"{name} does not serve {model.reference.model}."
        return UnknownModel(message, why=f"{name} answers {provider_text}", hint=_newer_model_hint(model))
    if provider_error.kind == "auth":
        message = f"{name} rejected the credential from {model.source}."
        return CredentialRefused(message, why=provider_text, hint=_credential_hint(model))
    if provider_error.kind == "no-plan":
        link = f"Subscribe: {model.subscribe_url}" if model.subscribe_url is not None else None
        return NoPlan(f"The account at {name} has no active plan.", why=provider_text, hint=link)
    if provider_error.kind == "invalid-request" and provider_error.status == _NOT_FOUND:
        return ProviderRefused(f"{name} rejected the request.", why=provider_text, hint=_WRONG_ADDRESS_HINT)
    kind = "answer-unknown" if provider_error.unknown else provider_error.kind
    error_text = _ERROR_TEXTS.get(kind, _REJECTED)
    message = error_text.message.format(name=name, model=model.reference.model)
    hint = _newer_model_hint(model) if kind == "plan-lacks-model" else error_text.hint
    return error_text.kind(message, why=provider_text, hint=hint)


def no_answer_error(failover: Failover) -> PorticoError:
    """Return the error if no candidate answers: the reason, all outcomes, and the end of the first cooldown."""
    reason = failover.reason
    assert reason is not None  # noqa: S101 - there is at least one candidate, and each failure leaves a reason
    assert reason.provider_error is not None  # noqa: S101 - only an answer has no provider error
    error = reason.error.copy() if reason.error is not None else model_error(reason.model, reason.provider_error)
    failed = [attempt for attempt in failover.attempts if attempt.outcome != "answered"]
    if len(failed) > 1:
        share = MESSAGE_LIMIT // len(failed)
        summary = "; ".join(f"{one.model.reference} ({one.model.source}): {_attempt_result(one, share)}" for one in failed)
        error.why = f"none of {len(failed)} candidates answered: {summary}"
    if failover.not_callable is not None:
        note = f"asked instead of {failover.not_callable}, which cannot be called"
        error.why = f"{error.why}; {note}" if error.why else note
    if (back_at := failover.back_at) is not None and all(attempt.outcome == "passed over" for attempt in failed):
        explanation = "it was not asked again: in cooldown until" if len(failed) == 1 else "the first cooldown ends at"
        error.why = f"{error.why}; {explanation} {moment(back_at)}"
    return error


def _attempt_result(attempt: Attempt, limit: int) -> str:
    """Return why a candidate did not answer, with at most `limit` characters of the provider's message."""
    if attempt.outcome == "failed" and attempt.provider_error is not None:
        return attempt.provider_error.text(limit)
    return attempt.why


@dataclass(frozen=True, slots=True)
class _ErrorText:
    """The message for one kind of provider error, with placeholders for the provider's `name` and the `model`."""

    kind: type[NetworkError]
    message: str
    hint: str | None = None


_ERROR_TEXTS: Final = {
    "rate-limit": _ErrorText(
        RateLimited,
        "The rate limit of {name} is reached.",
        hint="Wait a minute and try again, or use another model: {prog} models list",
    ),
    "plan-used-up": _ErrorText(PlanUsedUp, "The plan at {name} is used up for now.", hint="When the limits reset: {prog} usage"),
    "plan-lacks-model": _ErrorText(PlanLacksModel, "The plan at {name} does not include {model}."),
    "model-refused": _ErrorText(
        ModelRefused,
        "{name} rejected the request for {model}.",
        hint="The provider's message says why. Other models: {prog} models list",
    ),
    "account-refused": _ErrorText(
        AccountRefused,
        "{name} rejected this account.",
        hint="Check the account on the provider's website, or use another account: {prog} auth list",
    ),
    "billing": _ErrorText(
        PaymentNeeded,
        "{name} requires a payment.",
        hint="Pay on the provider's website, or use another model: {prog} models list",
    ),
    "server": _ErrorText(ProviderFailed, "{name} failed.", hint="Try again in a moment."),
    "timeout": _ErrorText(ProviderFailed, "{name} did not answer in time.", hint="Try again in a moment."),
    "unreachable": _ErrorText(Unreachable, "Could not reach {name}.", hint="Check the connection: {prog} doctor"),
    "answer-unknown": _ErrorText(
        AnswerMissing,
        "{name} may have answered the request, but its answer did not arrive.",
        hint="The request was not sent again, because the provider may bill it twice. Send it again if that does not matter.",
    ),
}
_REJECTED: Final = _ErrorText(ProviderRefused, "{name} rejected the request.")


def _provider_text(provider_error: ProviderError) -> str:
    if provider_error.status is None:
        return provider_error.message
    return f"{provider_error.status}: {provider_error.message}" if provider_error.message else f"HTTP {provider_error.status}"


def _newer_model_hint(model: CallableModel) -> str:
    """Return the command that makes the model's successor the default."""
    if model.spec.successor is None:
        return "Choose another: {prog} models list --all"
    return f"Use a current model: {{prog}} models set {model.reference.provider}/{model.spec.successor}"


def _credential_hint(model: CallableModel) -> str:
    if model.sign_in_again is None and model.has_regions:
        return f"Check {model.source} and its region: {_OTHER_REGION}."
    if model.sign_in_again is None:
        return f"Check {model.source}."
    if model.has_regions:
        return f"Sign in again, with the account's own region ({_OTHER_REGION}): {model.sign_in_again}"
    return f"Sign in again: {model.sign_in_again}"
