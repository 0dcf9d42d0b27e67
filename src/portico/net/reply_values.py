"""Values of a server's reply, made fit to use: dates and seconds to wait (RFC 9110), and text that a terminal can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from portico.interfaces.basics import JsonValue

# Believed at most. A refresh waits an hour at most (`auth/backoff.py`), a cooldown of a model 8 days (`models/failover.py`).
_LONGEST_WAIT_S: Final = 365 * 86_400.0


def seconds_to_wait(value: str, date: str, now: float | None = None) -> float | None:
    """Seconds of a `Retry-After` (RFC 9110 section 10.2.3): a number of any length, or a date.

    A date counts from the server's own `Date`, since the clocks of two machines may differ; without one from `now` (seconds since
    the epoch), and where that is not given it says nothing. More than a year is a year.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value.lstrip("0")[:12] or "0"), _LONGEST_WAIT_S)
    then, told = http_date(value), http_date(date)
    since = now if told is None else told
    return None if then is None or since is None else min(max(0.0, then - since), _LONGEST_WAIT_S)


def http_date(value: str) -> float | None:
    """Seconds since the epoch of a date in any of HTTP's forms (RFC 9110 section 5.6.7); None where it is none.

    HTTP dates are in UTC, also those whose zone is missing or `-0000` (RFC 5322 section 3.3), which Python takes for local time.
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
