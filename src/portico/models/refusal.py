"""Why a model did not answer: a provider's status, headers and body, or the network's failure, in terms that decide what is next.

Read from the status, then from the provider's own number (MiniMax puts one into `base_resp`, also under HTTP 200, or in brackets
at the end of a message), then from the words (openclaw#20999 lists those that providers use).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from portico.errors import NetworkError
from portico.secret import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.contracts import RefusalKind
    from portico.secret import Secret

BODY_LIMIT: Final = 64 * 1024
_SHOWN_LIMIT: Final = 300
_CODE: Final = re.compile(r"\((\d{4})\)\s*$")
_RESETS: Final = re.compile(r"resets at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d))")
_BY_STATUS: Final[dict[int, RefusalKind]] = {
    401: "auth",
    402: "billing",
    403: "auth",
    404: "unknown-model",
    408: "timeout",
    425: "server",
    429: "rate-limit",
}
_BY_WORDS: Final[tuple[tuple[RefusalKind, re.Pattern[str]], ...]] = (
    (
        "billing",
        re.compile(r"credit balance|insufficient.(?:balance|credits|funds|quota)|payment required", re.IGNORECASE),
    ),
    ("rate-limit", re.compile(r"rate limit|too many requests|resource exhausted|overloaded", re.IGNORECASE)),
    ("unknown-model", re.compile(r"unknown model|model[^.]{0,80}(?:not found|does not exist)", re.IGNORECASE)),
)
_SERVER_ERROR: Final = 500
_SUCCESS: Final = range(200, 300)
# The request's own fault: no other credential and no other model would answer it.
_FINAL: Final = frozenset({"unknown-model", "content", "invalid-request"})


class AnswerUnknown(NetworkError):
    """The request was sent and no whole answer came, so the provider may have answered it, and may bill it.

    Such a POST must not be sent to the same provider again (RFC 9110 section 9.2.2).
    """

    def __init__(self, why: str | None, *, timed_out: bool = False) -> None:
        super().__init__("answer-unknown", "The connection broke after the request was sent.", why=why)
        self.timed_out = timed_out


class AnswerCut(NetworkError):
    """An answer broke off after its head. `timed_out`: nothing more of it came for too long."""

    def __init__(self, why: str | None, *, timed_out: bool = False) -> None:
        super().__init__("answer-cut", "The answer broke off.", why=why)
        self.timed_out = timed_out


def after_head(error: NetworkError) -> AnswerUnknown:
    """What it means that an answer breaks off before anything of it could be passed on."""
    return AnswerUnknown(error.why, timed_out=isinstance(error, AnswerCut) and error.timed_out)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one attempt brought no answer. `message` is safe to show; `code` is the provider's own number.

    `retry_after` is in seconds, `resets_at` wall ms: when it is worth another try, where the provider tells. `unknown`: the
    request was sent and no whole answer came, so the provider may have answered it, and may bill it.
    """

    kind: RefusalKind
    message: str
    status: int | None = None
    code: int | None = None
    retry_after: float | None = None
    resets_at: int | None = None
    unknown: bool = False

    @property
    def elsewhere(self) -> bool:
        """Whether another credential or another model may answer what this one did not."""
        return self.kind not in _FINAL

    def __str__(self) -> str:
        head = f"HTTP {self.status}" if self.status is not None else self.kind
        return f"{head}: {self.message}" if self.message else head


def read_refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    codes: Mapping[int, RefusalKind],
    *known: Secret | None,
) -> Refusal:
    """What an answer with this status and body, at most `BODY_LIMIT` bytes of it, means. `known` are never shown."""
    message, code = _said(body)
    kind = _kind(status, code, message, codes)
    resets = _RESETS.search(message)
    return Refusal(
        kind,
        shown(message, *known),
        status=status,
        code=code,
        retry_after=_retry_after(headers),
        resets_at=None if resets is None else round(datetime.fromisoformat(resets[1]).timestamp() * 1000),
    )


def refused_inside(body: bytes, codes: Mapping[int, RefusalKind]) -> bool:
    """Whether a body that came with HTTP 200 is an error all the same."""
    return refused_in(_object(body), codes)


def refused_in(answer: Mapping[str, Any], codes: Mapping[int, RefusalKind]) -> bool:
    """As `refused_inside`, of the object in the body."""
    told = answer.get("base_resp")
    number = told.get("status_code") if isinstance(told, dict) else None
    return isinstance(number, int) and number != 0 and (number in codes or "choices" not in answer)


def unreachable(error: NetworkError) -> Refusal:
    """What a failure on the way to a provider means."""
    if not isinstance(error, AnswerUnknown):
        return Refusal("unreachable", shown(str(error)))
    kind: RefusalKind = "timeout" if error.timed_out else "answer-unknown"
    return Refusal(kind, shown(error.why or error.message), unknown=True)


def shown(text: str, *known: Secret | None) -> str:
    """Received text, fit for a terminal: no control characters, no credential, at most 300 characters."""
    safe = redact(text, *(secret for secret in known if secret is not None))
    return "".join(each if each.isprintable() else " " for each in safe[:_SHOWN_LIMIT]).strip()


def _kind(status: int, code: int | None, message: str, codes: Mapping[int, RefusalKind]) -> RefusalKind:
    by_status = "server" if status >= _SERVER_ERROR or status in _SUCCESS else _BY_STATUS.get(status, "invalid-request")
    kind: RefusalKind = codes.get(code, by_status) if code is not None else by_status
    worded = next((meant for meant, words in _BY_WORDS if words.search(message)), None)
    if kind == "invalid-request":
        return worded or kind
    if kind == "unknown-model":
        return worded or (kind if "model" in message.lower() else "invalid-request")
    return "billing" if (kind, worded) == ("rate-limit", "billing") else kind


def _said(body: bytes) -> tuple[str, int | None]:
    """The provider's own words and number: `base_resp` (MiniMax), `error.message` (Anthropic, OpenAI), else the body's start."""
    answer = _object(body)
    told = answer.get("base_resp")
    if isinstance(told, dict) and isinstance(told.get("status_code"), int):
        return str(told.get("status_msg", "")), told["status_code"]
    error = answer.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        message = body[: _SHOWN_LIMIT * 4].decode(errors="replace")
    code = _CODE.search(message)
    return message, int(code[1]) if code else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    from portico.oauth.token_errors import seconds_to_wait

    return seconds_to_wait(headers.get("Retry-After", ""), headers.get("Date", ""))
