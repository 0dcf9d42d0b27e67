"""What was found, in an archive for a bug report: nothing in it is a secret, and only its owner can read it."""

from __future__ import annotations

import io
import json
import platform
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.auth.freshness import health_now
from portico.errors import PorticoError
from portico.paths import FILE_MODE
from portico.secret import redact
from portico.util.files import file_error, read_end, write_in_place
from portico.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.app import App
    from portico.doctor.examination import Result

_LOG_BYTES: Final = 64 << 10


def write_bundle(place: str, app: App, results: Sequence[Result]) -> None:
    """Write the archive: the findings, versions, the sign-ins without their tokens, and the end of the gateway's log.

    The configuration is not in it: what it holds is the user's to show.

    Raises:
        StoreError: it cannot be written.
    """
    parts = {
        "findings.json": json.dumps([_result_json(result) for result in results], indent=2),
        "versions.json": json.dumps(_versions(), indent=2),
        "sign-ins.json": json.dumps(_sign_ins(app), indent=2),
        "gateway.log": _log(app.paths.gateway_log),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in parts.items():
            data = redact(text).encode()
            entry = tarfile.TarInfo(f"portico-report/{name}")
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    path = Path(place)
    # Not `write_private`: the folder is the user's own, and its mode is not ours to change.
    try:
        write_in_place(path, packed.getvalue(), mode=FILE_MODE)
    except OSError as error:
        advice = "name another file: {prog} doctor --bundle FILE"
        raise file_error(f"cannot write {path}", error, advice=advice) from error


def _result_json(result: Result) -> dict[str, object]:
    findings = [{"id": each.id, "level": each.level, "message": each.message, "why": each.why} for each in result.findings]
    return {
        "check": result.check.id,
        "status": result.status,
        "saw": result.examined,
        "tookMs": result.took_ms,
        "found": findings,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import distributions

    own = {"portico": __version__, "python": sys.version.split()[0], "system": platform.platform()}
    return {**own, **{each.name: each.version for each in distributions()}}


def _sign_ins(app: App) -> list[dict[str, object]]:
    try:
        profiles = app.token_store.profiles()
    except PorticoError:
        return []
    words = [health_now(each, app.clock).status for each in profiles]
    return [
        {"provider": each.provider, "region": each.region, "store": each.store, "health": word}
        for each, word in zip(profiles, words, strict=True)
    ]


def _log(path: Path) -> str:
    try:
        return read_end(path, _LOG_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read: {error.strerror}"
