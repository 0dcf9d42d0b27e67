"""The fields and headers of a provider's error that programs read, and the time of the next try.

Anthropic's and OpenAI's SDKs, and the agents that use them, read these fields and headers. The SDKs then decide if and when to
repeat a request, and if it must be shortened first (anthropic-sdk-python and openai-python: `_base_client.py`,
`_exceptions.py`).

The time of the next try is in a header: `Retry-After` (RFC 9110 section 10.2.3), `retry-after-ms` (the SDKs of Anthropic and
OpenAI read it first); in a field: `resets_at` (epoch), `resets_in_seconds` (Codex), `retryDelay` (google.rpc.RetryInfo); or in
the message: "resets at 2026-05-15T15:00:00Z" (MiniMax-M2.7#36), "Please try again in 1m12.5s" (OpenAI), "resets in 3h 20m".
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from portico.secret import Hider, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portico.secret import Secret

HEADERS: Final = frozenset(
    {
        *("request-id", "x-request-id", "openai-processing-ms", "openai-version"),
        *("x-should-retry", "retry-after", "retry-after-ms"),
    }
)
"""The response headers that SDKs read, in lower case."""
HEADER_PREFIXES: Final = ("anthropic-ratelimit-", "x-ratelimit-")
"""The prefixes of further headers that SDKs read."""
_MAX_FIELD_LENGTH: Final = 256
_MAX_HEADER_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """The fields of a provider's error object (None if absent), and the headers for SDKs. Credentials in them are redacted.

    `type`, `code` and `param` are members of `error`; `request_id` (Anthropic's) is beside `error`. Header names are lower-case.
    """

    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    request_id: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def without_fields(self) -> ErrorReply:
        """Return the reply without its fields, for an error about the gateway's own credential."""
        return replace(self, type=None, code=None, param=None)


def error_in(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the error object of a body or event; empty if there is no error.

    The object is in `error`. In a stream of OpenAI's Responses an `error` event is itself the error object, and a
    `response.failed` event contains the object in `response`
    (https://platform.openai.com/docs/api-reference/responses-streaming).
    """
    error = answer.get("error")
    if isinstance(error, dict):
        return error
    response = answer.get("response")
    inner = response.get("error") if isinstance(response, dict) else None
    if isinstance(inner, dict):
        return inner
    if error is None and answer.get("type") == "error":
        return {name: value for name, value in answer.items() if name != "type"}
    return {}


def read_error_reply(headers: Iterable[tuple[str, str]], body: Mapping[str, object], *known_secrets: Secret | None) -> ErrorReply:
    """Read the fields for programs from `headers` and the JSON object `body`. `known_secrets` are redacted."""
    secrets = [secret for secret in known_secrets if secret is not None]
    hide = Hider(secrets)
    fields = error_in(body)

    def text(value: object) -> str | None:
        return redact(value, *secrets) if isinstance(value, str) and 0 < len(value) <= _MAX_FIELD_LENGTH else None

    code = fields.get("code")
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    sdk_headers = tuple(
        (lowered, hide(value))
        for name, value in headers
        if is_sdk_header(lowered := name.lower()) and hide(lowered) == lowered and len(value) <= _MAX_HEADER_LENGTH
    )
    return ErrorReply(
        text(fields.get("type")), text(code) or number, text(fields.get("param")), text(body.get("request_id")), sdk_headers
    )


def is_sdk_header(name: str) -> bool:
    """Whether SDKs read the header with this lower-case name."""
    return name in HEADERS or name.startswith(HEADER_PREFIXES)


_RESETS_AT_PATTERN: Final = re.compile(
    r"(?:resets?|available(?: again)?|try again|retry) (?:at|after|on) "
    r"(?:(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?) ?(Z|UTC|GMT|[+-]\d\d:?\d\d)|(\d{10}|\d{13})(?!\d))",
    re.IGNORECASE,
)
_UNIT: Final = r"(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
_SPAN: Final = rf"(?:\d{{1,9}}(?:\.\d{{1,9}})? ?{_UNIT}[ ,]{{0,2}}(?:and )?){{1,5}}"
_RESETS_IN_PATTERN: Final = re.compile(
    rf"(?:resets?|available(?: again)?|try again|retry) (?:in|after) ({_SPAN})",
    re.IGNORECASE,
)
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(milli|ms|[smhd])", re.IGNORECASE)
_SECONDS: Final = {"milli": 0.001, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
# Epoch seconds have ten digits until the year 2286, and milliseconds have thirteen.
_MIN_EPOCH_MS: Final = 10**12


def read_wait(headers: Mapping[str, str], body: Mapping[str, Any], message: str) -> float | None:
    """Return how many seconds the response asks to wait; None if it names no time."""
    from portico.net.reply_values import seconds_to_wait

    wait_ms = _number(next((value for name, value in headers.items() if name.lower() == "retry-after-ms"), None))
    if wait_ms is not None:
        return wait_ms / 1000
    header_wait = seconds_to_wait(headers.get("Retry-After", ""), headers.get("Date", ""))
    if header_wait is not None:
        return header_wait
    for fields in _error_objects(body):
        seconds = _number(fields.get("resets_in_seconds"))
        delay = fields.get("retryDelay")
        if seconds is None and isinstance(delay, str):
            seconds = _span(delay)
        if seconds is not None:
            return seconds
    match = _RESETS_IN_PATTERN.search(message)
    return _span(match[1]) if match is not None else None


def read_reset(body: Mapping[str, Any], message: str) -> int | None:
    """Return the time at which the response allows the next try (ms since the epoch); None if it names no valid time."""
    for fields in _error_objects(body):
        value = fields.get("resets_at")
        epoch = _number(value)
        if epoch is not None:
            return _epoch_ms(epoch)
        if isinstance(value, str) and (moment_ms := _moment_in(f"resets at {value}")) is not None:
            return moment_ms
    return _moment_in(message)


def _moment_in(message: str) -> int | None:
    match = _RESETS_AT_PATTERN.search(message)
    if match is None:
        return None
    date, zone, epoch = match.groups()
    if epoch is not None:
        return _epoch_ms(float(epoch))
    try:
        zone = "+00:00" if zone.upper() in {"Z", "UTC", "GMT"} else zone
        return round(datetime.fromisoformat(date.replace(" ", "T") + zone).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _epoch_ms(number: float) -> int:
    return round(number if number >= _MIN_EPOCH_MS else number * 1000)


def moment(wall_ms: int) -> str:
    """Format a time for a message: ISO 8601 in UTC, in whole seconds."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _error_objects(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the objects that may contain an error's fields: the error, the entries of its `details`, and the body."""
    error = error_in(body)
    yield error
    details = error.get("details")
    yield from (detail for detail in (details if isinstance(details, list) else []) if isinstance(detail, dict))
    yield body


def _number(value: object) -> float | None:
    """Return a number, also from text, if it is in the range of a time; otherwise None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < 1e14 and math.isfinite(number) else None  # noqa: PLR2004 - far beyond every ms of this age


def _span(text: str) -> float | None:
    """Return the seconds of a duration such as `1m12.5s`, `350ms` or `3 hours and 20 minutes`."""
    parts = _PART.findall(text)
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts) if parts else None
