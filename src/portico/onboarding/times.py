"""Times as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def in_words(at_ms: int | None, now_ms: int) -> str:
    """How long from now until `at_ms`, in its two largest units: `2h 5m`, `expired 3m ago`, `as long as the provider says`."""
    if at_ms is None:
        return "as long as the provider says"
    seconds = abs(at_ms - now_ms) // 1000
    return f"expired {_span(seconds)} ago" if at_ms <= now_ms else _span(seconds)


def iso(at_ms: int) -> str:
    """`at_ms` (wall ms) in ISO 8601, UTC, to the second."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _span(seconds: int) -> str:
    parts: list[str] = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count}{unit}")
        if len(parts) == 2:  # noqa: PLR2004 - two units are as exact as a person wants it
            break
    return " ".join(part for part in parts if not part.startswith("0")) or "0s"
