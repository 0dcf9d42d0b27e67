"""Other shapes of the usage reply: earlier versions that clients have seen, and an absurd reply."""

from __future__ import annotations

from typing import Final

Row = dict[str, object]

_DAY_MS: Final = 86_400_000
# The further rows of April 2026 (opencode-quota#172): media models have daily windows.
_MODALITIES: Final = (("speech-hd", 4000, 3900), ("image-01", 50, 50), ("music-cover", 0, 0))
_ABSURD: Final[Row] = {
    "model_name": "gen\x1b[31meral\n" + "x" * 500,
    "start_time": -1,
    "end_time": 10**30,
    "remains_time": "soon",
    "current_interval_total_count": 1e308,
    "current_interval_usage_count": -5,
    "current_interval_remaining_percent": 99_999,
    "current_interval_status": 77,
    "weekly_remains_time": 10**18,
    "current_weekly_total_count": True,
    "current_weekly_usage_count": [1, 2],
    "current_weekly_remaining_percent": "87",
    "current_weekly_status": {"a": 1},
    "weekly_boost_permille": -1000,
}


def reshape(shape: str | None, rows: list[Row]) -> list[object] | None:
    """`rows` in the shape of the knob `remains`."""
    if shape == "null":
        return None
    if shape == "no-week":  # mmx-cli 1.0.27 fails with "Invalid time value"
        return [{name: value for name, value in row.items() if "weekly" not in name} for row in rows]
    if shape == "no-percent":
        return [{name: value for name, value in row.items() if "percent" not in name} for row in rows]
    if shape == "modalities":
        return [{**rows[0], "model_name": "MiniMax-M*"}, *(_modality(rows[0], *modality) for modality in _MODALITIES)]
    return [_ABSURD, "a row", None, *rows[1:]] if shape == "absurd" else [*rows]


def _modality(template: Row, name: str, total: int, left: int) -> Row:
    start = template["start_time"]
    assert isinstance(start, int)  # noqa: S101 - the emulator's own row
    used = total - left
    return {
        "model_name": name,
        "start_time": start,
        "end_time": start + _DAY_MS,
        "remains_time": template["remains_time"],
        "current_interval_total_count": total,
        "current_interval_usage_count": used,
        "current_interval_remaining_percent": left * 100 // total if total else 100,
        "current_interval_status": 1,
    }
