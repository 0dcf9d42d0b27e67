"""Parse values of a server's response: dates and waiting times (RFC 9110), and text that a terminal can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from portico.interfaces.basics import JsonValue

# Longest accepted wait. A refresh waits an hour at most (`auth/backoff.py`), a cooldown of a model 8 days (`models/failover.py`).
_LONGEST_WAIT_S: Final = 365 * 86_400.0


def seconds_to_wait(value: str, date: str, now: float | None = None) -> float | None:
    """The seconds of a `Retry-After` header, a number or a date (RFC 9110 section 10.2.3); None if invalid. At most a year.

    A date is compared with the server's `date` header, because the clocks of two machines may differ. Without this header it is
    compared with `now` (seconds since the epoch).
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value.lstrip("0")[:12] or "0"), _LONGEST_WAIT_S)
    retry_at, server_now = http_date(value), http_date(date)
    start = now if server_now is None else server_now
    return None if retry_at is None or start is None else min(max(0.0, retry_at - start), _LONGEST_WAIT_S)


def http_date(value: str) -> float | None:
    """A date in any of HTTP's formats (RFC 9110 section 5.6.7) as seconds since the epoch; None if it is invalid.

    HTTP dates are in UTC. Python would read a date without a zone, or with `-0000` (RFC 5322 section 3.3), as local time.
    """
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        at = parsedate_to_datetime(value)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def plain_text(value: JsonValue, limit: int = 500) -> str | None:
    """`value` as text that a terminal can show: no control, format or bidirectional characters, at most `limit` long."""
    if not isinstance(value, str):
        return None
    text = "".join(character if character.isprintable() else " " for character in value[: limit * 4])
    text = " ".join(text.split())
    return (text if len(text) <= limit else text[: limit - 1] + "…") or None
